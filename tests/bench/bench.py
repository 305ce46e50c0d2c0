"""What the benchmarks share: the federation of the system tests, MNIST, and the last line."""

import json
import os
import pathlib
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/system"))

CHECK = os.environ.get("CONFED_BENCH_CHECK") == "1"  # a short run, to see that it works
BUILD = pathlib.Path(os.environ.get("CONFED_BUILD", ROOT / "build/release"))
BIN = BUILD / "bin"
MNIST = os.environ.get("CONFED_MNIST", "")


def mnist():
    """MNIST's folder; without it the benchmark ends, and says so."""
    if not MNIST:
        print("SKIP: MNIST cannot be had here")
        sys.exit(0)
    return pathlib.Path(MNIST)


def report(figure, value, unit, against, other, reach, holds, ratio=None):
    """The last line. `holds` is None where a short run says nothing about the reach."""
    if ratio is None and other:
        ratio = round(value / other, 4)
    print(json.dumps({"figure": figure, "value": value, "unit": unit, "against": against,
                      "other": other, "ratio": ratio, "reach": reach,
                      "holds": None if CHECK else holds}))


def median(values):
    return statistics.median(values)
