"""train.py IN OUT: SGD on the client's images. Settings in IN-metadata, results in OUT-metadata."""

import json
import os
import sys

import numpy as np

import data
import model


def settings(path):
    found = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            found = json.load(file) or {}
    return (int(found.get("epochs", 1)), int(found.get("batch", 10)), float(found.get("lr", 0.05)))


def main():
    source, target = sys.argv[1:3]
    epochs, batch, lr = settings(source + "-metadata")
    weights = model.load(source)
    images, labels = data.train_set()
    generator = np.random.default_rng(1)
    loss = 0.0
    for _ in range(epochs):
        order = generator.permutation(len(labels))
        losses = []
        for begin in range(0, len(order), batch):
            rows = order[begin:begin + batch]
            losses.append(model.step(weights, images[rows], labels[rows], lr) * len(rows))
        loss = sum(losses) / len(order)
    model.save(target, weights)
    with open(target + "-metadata", "w", encoding="utf-8") as file:
        json.dump({"num_examples": len(labels), "train_loss": loss, "epochs": epochs,
                   "batch": batch, "lr": lr}, file)


if __name__ == "__main__":
    main()
