"""The client's images, from MNIST's IDX files. As a program: check that they are there."""

import gzip
import os
import pathlib
import struct
import sys

import numpy as np


def _read(name, magic):
    folder = os.environ.get("CONFED_MNIST")
    if not folder:
        raise SystemExit("CONFED_MNIST must name the folder with MNIST's four files")
    path = pathlib.Path(folder) / name
    raw = path.read_bytes() if path.exists() else gzip.decompress(
        path.with_name(name + ".gz").read_bytes())
    n_sizes = magic & 0xff
    found, *sizes = struct.unpack_from(f">I{n_sizes}I", raw)
    if found != magic:
        raise SystemExit(f"{path}: offset 0: magic number {found:08x}, want {magic:08x}")
    start = 4 + 4 * n_sizes
    if len(raw) - start != int(np.prod(sizes)):
        raise SystemExit(f"{path}: offset {start}: {len(raw) - start} bytes, want {np.prod(sizes)}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(sizes)


def _set(part):
    images = _read(f"{part}-images-idx3-ubyte", 0x803).reshape(-1, 784)
    labels = _read(f"{part}-labels-idx1-ubyte", 0x801)
    return images, labels


def _as_input(images, labels):
    return images.astype(np.float32) / np.float32(255), labels.astype(np.int64)


def train_set():
    index, n_shards = (int(word) for word in os.environ.get("CONFED_SHARD", "0/1").split("/"))
    images, labels = _set("train")
    limit = int(os.environ.get("CONFED_LIMIT", len(labels)))
    return _as_input(images[index % n_shards::n_shards][:limit],
                     labels[index % n_shards::n_shards][:limit])


def test_set():
    return _as_input(*_set("t10k"))


if __name__ == "__main__":
    print(f"{len(train_set()[1])} images to train on", file=sys.stderr)
