"""What the benchmarks share: the federation of the system tests, MNIST, and the last line."""

import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/system"))

CHECK = os.environ.get("CONFED_BENCH_CHECK") == "1"  # a short run, to see that it works
BUILD = pathlib.Path(os.environ.get("CONFED_BUILD", ROOT / "build/release"))
BIN = BUILD / "bin"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "confed"
MNIST = os.environ.get("CONFED_MNIST", "")


def mnist():
    """MNIST's folder; without it the benchmark ends, and says so."""
    if not MNIST:
        print("SKIP: MNIST cannot be had here")
        sys.exit(0)
    return pathlib.Path(MNIST)


def build(folder, name, libraries, *words, packages=()):
    """NAME.c of this folder as a program in `folder`, with libraries of the build that is measured;
    further words for the compiler, and what pkg-config says of `packages`."""
    program = folder / name
    flags = []
    if packages:
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", *packages], text=True,
                               capture_output=True, check=True).stdout.split()
    subprocess.run([os.environ.get("CC", "cc"), "-std=c17", "-O2", "-Wall", "-Werror",
                    "-D_DEFAULT_SOURCE", f"-I{ROOT}", ROOT / f"tests/bench/{name}.c",
                    *[BUILD / library for library in libraries], *flags, *words, "-lm",
                    "-lpthread", "-o", program], check=True)
    return program


def venv(name, *packages):
    """A virtual environment with these packages, made where it is missing; None: it cannot be had,
    or this is a short run."""
    folder = CACHE / name
    if CHECK:
        return None
    if not (folder / "complete").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        if subprocess.run(["/usr/bin/python3", "-m", "venv", folder], check=False).returncode or \
           subprocess.run([folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check",
                           *packages], check=False).returncode:
            return None
        (folder / "complete").touch()
    return folder


def report(figure, value, unit, against, other, reach, holds, ratio=None):
    """The last line. `holds` is None where a short run says nothing about the reach."""
    if ratio is None and other:
        ratio = round(value / other, 4)
    print(json.dumps({"figure": figure, "value": value, "unit": unit, "against": against,
                      "other": other, "ratio": ratio, "reach": reach,
                      "holds": None if CHECK else holds}))


def median(values):
    return statistics.median(values)
