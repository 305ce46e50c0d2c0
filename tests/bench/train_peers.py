"""PyTorch and JAX training the same network, each as fast as we know to make it; a worker of `train`.

    train_peers.py VARIANT DATA WEIGHTS

DATA holds the plain IDX files, WEIGHTS a folder with the initial parameters in `weights` (float32,
tensor after tensor). Commands on standard input, one answer line each:
    start BATCH 0 0       initial weights, everything compiled and warm → ready
    train BATCH FIRST N   on from where it is: N images from FIRST on → CPU seconds, mean loss
    infer BATCH FIRST N   → CPU seconds, mean logit
VARIANT:
    torch-channels_last   eager, channels-last memory, fused SGD, pool before ReLU
    torch-contiguous      the same with contiguous memory
    torch-compile         torch.compile of forward and loss, channels-last, fused SGD
    jax                   NHWC, max-pool as reshape and max, jit with donated buffers
"""

import os
import sys
import time

import numpy

LR = 0.05
SHAPES = [(32, 1, 5, 5), (32,), (64, 32, 5, 5), (64,), (512, 3136), (512,), (10, 512), (10,)]
IMAGES = 32000  # read of the 60,000


def load(folder):
    with open(f"{folder}/train-images-idx3-ubyte", "rb") as file:
        images = numpy.frombuffer(file.read(16 + IMAGES * 784), numpy.uint8, offset=16)
    with open(f"{folder}/train-labels-idx1-ubyte", "rb") as file:
        labels = numpy.frombuffer(file.read(8 + IMAGES), numpy.uint8, offset=8)
    return (images.reshape(-1, 28, 28).astype(numpy.float32) / numpy.float32(255),
            labels.astype(numpy.int64))


def load_weights(path):
    flat = numpy.fromfile(f"{path}/weights", numpy.float32)
    tensors, at = [], 0
    for shape in SHAPES:
        size = int(numpy.prod(shape))
        tensors.append(flat[at:at + size].reshape(shape).copy())
        at += size
    return tensors


class Torch:
    def __init__(self, variant, folder, weights):
        import torch
        import torch.nn.functional as functional
        torch.set_num_threads(1)
        if os.environ.get("CONFED_PEERS_ISA") == "avx2":
            import torch._inductor.config
            torch._inductor.config.cpp.simdlen = 256
        self.torch = torch
        self.format = (torch.contiguous_format if variant == "torch-contiguous"
                       else torch.channels_last)
        self.weights = [torch.from_numpy(w) for w in load_weights(weights)]
        images, labels = load(folder)
        self.images = torch.from_numpy(images).unsqueeze(1)
        self.labels = torch.from_numpy(labels)

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.conv1 = torch.nn.Conv2d(1, 32, 5, padding=2)
                self.conv2 = torch.nn.Conv2d(32, 64, 5, padding=2)
                self.fc1 = torch.nn.Linear(3136, 512)
                self.fc2 = torch.nn.Linear(512, 10)

            def forward(self, x):  # ReLU after the pool: the same values, a quarter of the work
                x = functional.relu(functional.max_pool2d(self.conv1(x), 2))
                x = functional.relu(functional.max_pool2d(self.conv2(x), 2))
                return self.fc2(functional.relu(self.fc1(x.flatten(1))))

        self.net = Net().to(memory_format=self.format)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=LR, fused=True)

        def loss(x, y):
            return functional.cross_entropy(self.net(x), y)
        self.loss = torch.compile(loss) if variant == "torch-compile" else loss
        self.forward = torch.compile(self.net) if variant == "torch-compile" else self.net

    def start(self, batch, _first, _n):
        for x, y in self.batches(batch, 0, 3 * batch):
            self.step(x, y)
            with self.torch.inference_mode():
                self.forward(x)
        with self.torch.no_grad():
            for parameter, value in zip(self.net.parameters(), self.weights):
                parameter.copy_(value)

    def batches(self, batch, first, n):
        return [(self.images[i:i + batch].contiguous(memory_format=self.format),
                 self.labels[i:i + batch]) for i in range(first, first + n - batch + 1, batch)]

    def step(self, x, y):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(x, y)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def train(self, batch, first, n):
        work = self.batches(batch, first, n)
        begin = time.process_time()
        losses = [self.step(x, y) for x, y in work]
        seconds = time.process_time() - begin
        return seconds, float(self.torch.stack(losses).mean())

    def infer(self, batch, first, n):
        work = self.batches(batch, first, n)
        with self.torch.inference_mode():
            begin = time.process_time()
            logits = [self.forward(x) for x, _ in work]
            seconds = time.process_time() - begin
            return seconds, float(self.torch.cat(logits).mean())


class Jax:
    def __init__(self, _variant, folder, weights):
        import jax
        import jax.numpy as jnp
        self.jax = jax
        c1, b1, c2, b2, f1, b3, f2, b4 = load_weights(weights)
        # NHWC: kernels as (row, column, in, out), fc1's inputs as (row, column, channel).
        f1 = f1.reshape(512, 64, 7, 7).transpose(2, 3, 1, 0).reshape(3136, 512)
        self.weights = [numpy.ascontiguousarray(w) for w in (
            c1.transpose(2, 3, 1, 0), b1, c2.transpose(2, 3, 1, 0), b2, f1, b3, f2.T, b4)]
        self.images, self.labels = load(folder)

        def conv(x, w):
            return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME",
                                                dimension_numbers=("NHWC", "HWIO", "NHWC"))

        def pool(x):
            n, h, w, c = x.shape
            return x.reshape(n, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))

        def forward(p, x):
            x = jax.nn.relu(pool(conv(x, p[0])) + p[1])
            x = jax.nn.relu(pool(conv(x, p[2])) + p[3])
            x = jax.nn.relu(x.reshape(x.shape[0], 3136) @ p[4] + p[5])
            return x @ p[6] + p[7]

        def loss(p, x, y):
            logits = jax.nn.log_softmax(forward(p, x))
            return -jnp.take_along_axis(logits, y[:, None], axis=1).mean()

        def step(p, x, y):
            value, grads = jax.value_and_grad(loss)(p, x, y)
            return [w - LR * g for w, g in zip(p, grads)], value
        self.step = jax.jit(step, donate_argnums=0)
        self.forward = jax.jit(forward)

    def start(self, batch, _first, _n):
        params = [self.jax.device_put(w) for w in self.weights]
        for x, y in self.batches(batch, 0, 3 * batch):
            self.forward(params, x).block_until_ready()
            params, _ = self.step(params, x, y)
        self.jax.block_until_ready(params)
        self.params = [self.jax.device_put(w) for w in self.weights]
        self.jax.block_until_ready(self.params)

    def batches(self, batch, first, n):
        return [(self.jax.device_put(self.images[i:i + batch, :, :, None]),
                 self.jax.device_put(self.labels[i:i + batch].astype(numpy.int32)))
                for i in range(first, first + n - batch + 1, batch)]

    def train(self, batch, first, n):
        work = self.batches(batch, first, n)
        losses = []
        begin = time.process_time()
        for x, y in work:
            self.params, value = self.step(self.params, x, y)
            losses.append(value)
        self.jax.block_until_ready((self.params, losses))
        seconds = time.process_time() - begin
        return seconds, float(numpy.mean([float(v) for v in losses]))

    def infer(self, batch, first, n):
        work = self.batches(batch, first, n)
        begin = time.process_time()
        logits = [self.forward(self.params, x) for x, _ in work]
        self.jax.block_until_ready(logits)
        seconds = time.process_time() - begin
        return seconds, float(numpy.mean([numpy.asarray(v) for v in logits]))


def main():
    variant, folder, weights = sys.argv[1:]
    peer = (Jax if variant == "jax" else Torch)(variant, folder, weights)
    print("ready", flush=True)
    for line in sys.stdin:
        command, *numbers = line.split()
        answer = getattr(peer, command)(*map(int, numbers))
        print(*(answer or ["ready"]), flush=True)


if __name__ == "__main__":
    main()
