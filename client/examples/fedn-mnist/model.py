"""Confed's built-in model in NumPy: the MNIST CNN of McMahan et al., AISTATS 2017, section 3.

28x28x1 -> conv 5x5x32 same, ReLU, max-pool 2 -> conv 5x5x64 same, ReLU, max-pool 2
        -> fully connected 512, ReLU -> 10 logits

A model file is an NPZ with the members 0.npy ... 7.npy: the tensors of SHAPES, in this order, float32.
"""

import sys

import numpy as np

SHAPES = [
    ("conv1.weight", (32, 1, 5, 5)),
    ("conv1.bias", (32,)),
    ("conv2.weight", (64, 32, 5, 5)),
    ("conv2.bias", (64,)),
    ("fc1.weight", (512, 3136)),
    ("fc1.bias", (512,)),
    ("fc2.weight", (10, 512)),
    ("fc2.bias", (10,)),
]


def load(path):
    with np.load(path, allow_pickle=False) as archive:
        model = [archive[str(i)].astype(np.float32) for i in range(len(archive.files))]
    found, wanted = [value.shape for value in model], [shape for _, shape in SHAPES]
    if found != wanted:
        raise ValueError(f"{path}: tensors of {found}, want {wanted}")
    return model


def save(path, model):
    with open(path, "wb") as file:  # np.savez would add .npz to the name
        np.savez(file, **{str(i): value.astype(np.float32) for i, value in enumerate(model)})


def initial(seed):
    """Uniform in +-1/sqrt(fan_in), as PyTorch does it."""
    generator = np.random.default_rng(seed)
    model = []
    for name, shape in SHAPES:
        if name.endswith("weight"):
            bound = 1 / np.sqrt(np.prod(shape[1:]))
        model.append(generator.uniform(-bound, bound, shape).astype(np.float32))
    return model


def _windows(images):
    """(n, c, h, w) -> (n * h * w, c * 25): the 5x5 surroundings of each pixel, zeros outside."""
    n, channels, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(2, 3))
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * height * width, channels * 25)


def _fold(windows, shape):
    """The transpose of _windows(): add each window's values back to the pixels they came from."""
    n, channels, height, width = shape
    windows = windows.reshape(n, height, width, channels, 5, 5)
    padded = np.zeros((n, channels, height + 4, width + 4), np.float32)
    for row in range(5):
        for column in range(5):
            padded[:, :, row:row + height, column:column + width] += \
                windows[:, :, :, :, row, column].transpose(0, 3, 1, 2)
    return padded[:, :, 2:-2, 2:-2]


def _pool(values):
    """ReLU and 2x2 max-pool of (n, c, h, w); and which of the four each maximum was."""
    n, channels, height, width = values.shape
    blocks = values.reshape(n, channels, height // 2, 2, width // 2, 2)
    blocks = blocks.transpose(0, 1, 2, 4, 3, 5).reshape(n, channels, height // 2, width // 2, 4)
    chosen = blocks.argmax(axis=-1)
    pooled = np.take_along_axis(blocks, chosen[..., None], axis=-1)[..., 0]
    return np.maximum(pooled, 0), chosen


def _unpool(gradient, pooled, chosen):
    n, channels, height, width = gradient.shape
    blocks = np.zeros((n, channels, height, width, 4), np.float32)
    np.put_along_axis(blocks, chosen[..., None], (gradient * (pooled > 0))[..., None], axis=-1)
    blocks = blocks.reshape(n, channels, height, width, 2, 2).transpose(0, 1, 2, 4, 3, 5)
    return blocks.reshape(n, channels, height * 2, width * 2)


def _convolve(windows, weight, bias, n, side):
    out = windows @ weight.reshape(len(weight), -1).T + bias
    return out.reshape(n, side, side, len(weight)).transpose(0, 3, 1, 2)


def forward(model, images):
    """(n, 784) -> (n, 10) logits, and what backward() needs."""
    n = len(images)
    windows1 = _windows(images.reshape(n, 1, 28, 28))
    pooled1, chosen1 = _pool(_convolve(windows1, model[0], model[1], n, 28))
    windows2 = _windows(pooled1)
    pooled2, chosen2 = _pool(_convolve(windows2, model[2], model[3], n, 14))
    flat = pooled2.reshape(n, 3136)
    hidden = np.maximum(flat @ model[4].T + model[5], 0)
    logits = hidden @ model[6].T + model[7]
    return logits, (windows1, pooled1, chosen1, windows2, pooled2, chosen2, flat, hidden)


def cross_entropy(logits, labels):
    """The mean loss, and its gradient by the logits."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    total = exponentials.sum(axis=1)
    picked = np.arange(len(labels))
    loss = float((np.log(total) - shifted[picked, labels]).mean())
    gradient = exponentials / total[:, None]
    gradient[picked, labels] -= 1
    return loss, gradient / len(labels)


def backward(model, cache, gradient):
    """The gradients of all tensors, in order."""
    windows1, pooled1, chosen1, windows2, pooled2, chosen2, flat, hidden = cache
    d_hidden = (gradient @ model[6]) * (hidden > 0)
    d_conv2 = _unpool((d_hidden @ model[4]).reshape(pooled2.shape), pooled2, chosen2)
    d_conv2 = d_conv2.transpose(0, 2, 3, 1).reshape(-1, 64)
    d_pooled1 = _fold(d_conv2 @ model[2].reshape(64, -1), pooled1.shape)
    d_conv1 = _unpool(d_pooled1, pooled1, chosen1).transpose(0, 2, 3, 1).reshape(-1, 32)
    return [
        (d_conv1.T @ windows1).reshape(32, 1, 5, 5), d_conv1.sum(axis=0),
        (d_conv2.T @ windows2).reshape(64, 32, 5, 5), d_conv2.sum(axis=0),
        d_hidden.T @ flat, d_hidden.sum(axis=0),
        gradient.T @ hidden, gradient.sum(axis=0),
    ]


def step(model, images, labels, lr):
    """One step of SGD, in place. Returns the mean loss before it."""
    logits, cache = forward(model, images)
    loss, gradient = cross_entropy(logits, labels)
    for value, slope in zip(model, backward(model, cache, gradient.astype(np.float32))):
        value -= np.float32(lr) * slope
    return loss


def score(model, images, labels, batch=64):
    """Mean loss and accuracy."""
    loss, right = 0.0, 0
    for begin in range(0, len(labels), batch):
        logits, _ = forward(model, images[begin:begin + batch])
        part = labels[begin:begin + batch]
        loss += cross_entropy(logits, part)[0] * len(part)
        right += int((logits.argmax(axis=1) == part).sum())
    return loss / len(labels), right / len(labels)


if __name__ == "__main__":
    save(sys.argv[1] if len(sys.argv) > 1 else "seed.npz", initial(1))
