"""Confed's built-in model as a PyTorch module.

    import cnn
    net = cnn.load("model.npz")          # what `confed model download` wrote
    net(images)                          # (n, 1, 28, 28) in [0, 1] -> (n, 10) logits
    cnn.save("update.npz", net)          # for `confed model upload`

The file's members 0.npy ... 7.npy are the values of net.state_dict(), in its order: conv1.weight
(32,1,5,5), conv1.bias, conv2.weight (64,32,5,5), conv2.bias, fc1.weight (512,3136), fc1.bias,
fc2.weight (10,512), fc2.bias; float32.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Cnn(nn.Module):
    """28x28x1 -> conv 5x5x32 -> pool -> conv 5x5x64 -> pool -> 512 -> 10 (McMahan et al., 2017)."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 64, 5, padding=2)
        self.fc1 = nn.Linear(3136, 512)
        self.fc2 = nn.Linear(512, 10)

    def forward(self, images):
        values = functional.max_pool2d(functional.relu(self.conv1(images)), 2)
        values = functional.max_pool2d(functional.relu(self.conv2(values)), 2)
        values = functional.relu(self.fc1(torch.flatten(values, 1)))
        return self.fc2(values)


def load(path):
    net = Cnn()
    state = net.state_dict()
    with np.load(path, allow_pickle=False) as archive:
        if len(archive.files) != len(state):
            raise ValueError(f"{path}: {len(archive.files)} tensors, want {len(state)}")
        values = {name: torch.from_numpy(archive[str(i)]) for i, name in enumerate(state)}
    net.load_state_dict(values)  # checks the shapes
    return net


def save(path, net):
    values = net.state_dict().values()
    with open(path, "wb") as file:
        np.savez(file, **{str(i): value.detach().cpu().numpy() for i, value in enumerate(values)})
