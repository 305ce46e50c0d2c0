"""Golden draws of common/base/rand: SplitMix64 keying and xoshiro256** in plain Python.

Run: /usr/bin/python3 tests/golden/rand.py    It prints what test_rand.c expects.
"""

MASK = (1 << 64) - 1


def mix(state):
    state = (state + 0x9E3779B97F4A7C15) & MASK
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return state, z ^ (z >> 31)


def key(numbers):
    seed = len(numbers)
    for number in numbers:
        _, seed = mix(seed ^ number)
    out = []
    for _ in range(4):
        seed, z = mix(seed)
        out.append(z)
    return out


def rotate(x, k):
    return ((x << k) | (x >> (64 - k))) & MASK


def draw(s):
    out = (rotate((s[1] * 5) & MASK, 7) * 9) & MASK
    t = (s[1] << 17) & MASK
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= t
    s[3] = rotate(s[3], 45)
    return out


if __name__ == "__main__":
    for numbers in ([], [0], [1, 2, 3, 4], [MASK]):
        s = key(numbers)
        print(numbers, ", ".join("0x%016XU" % draw(s) for _ in range(4)))
