"""Small data for the tests: images in MNIST's format that a network can learn from."""

import pathlib
import struct

import numpy


def small_mnist(folder, n_train=256, n_test=64, seed=7):
    """IDX files of digits-to-be: each class is a fixed pattern with noise."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    generator = numpy.random.default_rng(seed)
    patterns = generator.integers(0, 256, size=(10, 28, 28))
    for part, n in (("train", n_train), ("t10k", n_test)):
        labels = generator.integers(0, 10, size=n).astype(numpy.uint8)
        noise = generator.integers(-40, 41, size=(n, 28, 28))
        images = numpy.clip(patterns[labels] + noise, 0, 255).astype(numpy.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 2051, n, 28, 28) + images.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 2049, n) + labels.tobytes())
    return folder
