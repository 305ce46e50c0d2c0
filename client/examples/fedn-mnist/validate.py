"""validate.py IN OUT: loss and accuracy on the test set, as JSON."""

import json
import sys

import data
import model


def main():
    source, target = sys.argv[1:3]
    loss, accuracy = model.score(model.load(source), *data.test_set())
    with open(target, "w", encoding="utf-8") as file:
        json.dump({"test_loss": loss, "test_accuracy": accuracy}, file)


if __name__ == "__main__":
    main()
