"""Golden numbers of common/model/exact, computed by NumPy: one IEEE double operation a step.

Run: /usr/bin/python3 tests/golden/exact.py > tests/golden/exact.inc
"""

import math

import numpy as np

rng = np.random.default_rng(20261125)
N = 24

base = rng.normal(size=N).astype(np.float32).astype(np.float64)
base[0] = -0.0
base[1] = 0.0
base[2] = np.float64(np.float32(1e-42))  # a subnormal float
base[3] = 7.75
base[4] = -3.5
updates = [
    (base + rng.normal(size=N) * 10.0 ** rng.integers(-9, 1, size=N)).astype(np.float32)
    for _ in range(3)
]
updates[0][1] = np.float32(-0.0)
updates[1][5] = np.float32(base[5])
updates = [u.astype(np.float64) for u in updates]
examples = [600.0, 1.0, 59400.0]
asked = 5

limit = min(51, 62 - math.ceil(math.log2(asked)))
exponent = math.ceil(math.log2(max(1.0, np.abs(base).max())))
scale = limit - 26 - exponent
total = [0] * N
for x, n in zip(updates, examples):
    difference = x - base
    weighted = np.float64(n) * difference
    q = np.rint(weighted * np.float64(2.0**scale))
    assert np.abs(q).max() <= 2.0**limit
    total = [t + int(v) for t, v in zip(total, q)]
divisor = np.float64(2.0**scale) * np.float64(sum(examples))
result = base + np.array([float(t) for t in total]) / divisor
result = np.where(np.array(total) == 0, base, result)


def rows(values):
    return "".join("    %s,\n" % v for v in values)


def doubles(values):
    return rows(float(v).hex() if v != 0 or not np.signbit(v) else "-0.0" for v in values)


print("/* Made by tests/golden/exact.py with NumPy %s. */" % np.__version__)
print("#define GOLDEN_N %d" % N)
print("#define GOLDEN_LIMIT %d" % limit)
print("#define GOLDEN_SCALE %d" % scale)
print("static const double golden_base[] = {\n%s};" % doubles(base))
print("static const double golden_examples[] = {\n%s};" % doubles(examples))
print("static const double golden_updates[][GOLDEN_N] = {")
for u in updates:
    print("    {\n%s    }," % doubles(u))
print("};")
print("static const int64_t golden_sum[] = {\n%s};" % rows("%dLL" % t for t in total))
print("static const double golden_result[] = {\n%s};" % doubles(result))
