"""Model files for tests/unit/common/model/test_npz_read.c, good ones and hostile ones.

Run: /usr/bin/python3 tests/golden/npz.py FOLDER

Writes FOLDER/NAME.npz, and for a good one FOLDER/NAME.f8 with all values in member order, C order,
as little-endian doubles. Prints a line for each: "good NAME" or "FAULT NAME" (enum fed_model_fault
without its prefix), so that the test knows what to expect.
"""

import io
import struct
import sys
import zipfile
import zlib

import numpy as np

FOLDER = sys.argv[1]


def npy(array, version=None):
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asanyarray(array), version=version)
    return out.getvalue()


def header(text, data=b""):
    """An NPY array with a header of our own."""
    text = text.encode("latin1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text + data


def archive(members, method=zipfile.ZIP_STORED, comment=b"", out=None):
    out = out or io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, data in members:
            z.writestr(zipfile.ZipInfo(name), data, compress_type=method)
        z.comment = comment
    return out.getvalue() if isinstance(out, io.BytesIO) else out


def write(kind, name, data):
    with open("%s/%s.npz" % (FOLDER, name), "wb") as f:
        f.write(data)
    print(kind, name)


def good(name, arrays, data=None):
    values = [np.ascontiguousarray(a).astype("<f8").ravel() for a in arrays]
    with open("%s/%s.f8" % (FOLDER, name), "wb") as f:
        f.write(np.concatenate(values).astype("<f8").tobytes() if values else b"")
    if data is None:
        data = archive([("%d.npy" % i, npy(a)) for i, a in enumerate(arrays)])
    write("good", name, data)


def savez(arrays, save=np.savez):
    out = io.BytesIO()
    save(out, **{str(i): a for i, a in enumerate(arrays)})
    return out.getvalue()


class Pipe(io.RawIOBase):
    """Cannot seek: zipfile writes data descriptors."""

    def __init__(self):
        super().__init__()
        self.data = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.data += bytes(data)
        return len(data)


rng = np.random.default_rng(7)
layer = rng.normal(size=(3, 4, 5)).astype("f4")
model = [layer, rng.normal(size=7).astype("f4"), np.float32(0.25)]

good("savez", model, savez(model))
good("compressed", model, savez(model, np.savez_compressed))
good("small", [np.array([1.5, -2.0], "f4"), np.array(3, "i8")])
kinds = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
for order in "<>":
    arrays = []
    for kind in kinds:
        a = rng.integers(-90, 90, size=(5, 3)) if kind[0] != "u" else rng.integers(0, 90, size=(5, 3))
        arrays.append((a / 8 if kind[0] == "f" else a).astype(order + kind))
    good("dtypes_" + ("little" if order == "<" else "big"), arrays, savez(arrays))
    fortran = [np.asfortranarray(a) for a in arrays]
    fortran.append(np.asfortranarray(rng.normal(size=(4, 3, 2, 5)).astype(order + "f4")))
    fortran.append(np.asfortranarray(rng.normal(size=(100, 70)).astype(order + "f8")))
    good("fortran_" + ("little" if order == "<" else "big"), fortran, savez(fortran))
edge = [
    np.array([6e-8, -6e-8, 65504, 0.0, -0.0], "f2"),
    np.array([1e-45, -1e-45, 3.4028235e38, -0.0], "f4"),
    np.array([5e-324, -0.0, 1.7976931348623157e308], "f8"),
    np.array([2**53, -(2**53)], "i8"),
    np.array([2**53, 0], "u8"),
    np.zeros((0, 4), "f4"),
    np.zeros((2, 0, 3), "f8"),
]
good("edge", edge)
# Zeros deflate to almost nothing: the last block ends in the middle of zlib's last match.
zeros = [np.zeros(4096 + k, "f4") for k in range(0, 160, 3)] + [np.zeros(100000, "f8")]
good("zeros", zeros, savez(zeros, np.savez_compressed))
reverse = [("%d.npy" % i, npy(a)) for i, a in enumerate(model)][::-1]
good("reverse", model, archive(reverse))
good("comment", model, archive(reverse, comment=b"PK\x05\x06 a comment that looks like an end" * 20))
good("version2", model, archive([("%d.npy" % i, npy(a, (2, 0))) for i, a in enumerate(model)]))
good("version3", model, archive([("%d.npy" % i, npy(a, (3, 0))) for i, a in enumerate(model)]))
for method, name in ((zipfile.ZIP_STORED, "stored"), (zipfile.ZIP_DEFLATED, "deflated")):
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", method) as z:
        for i, a in enumerate(model):
            with z.open("%d.npy" % i, "w") as f:
                f.write(npy(a))
    good("descriptor_" + name, model, bytes(pipe.data))
limit, zipfile.ZIP64_LIMIT = zipfile.ZIP64_LIMIT, 64
good("zip64", model, archive([("%d.npy" % i, npy(a)) for i, a in enumerate(model)]))
good(
    "zip64_deflated",
    model,
    archive([("%d.npy" % i, npy(a)) for i, a in enumerate(model)], zipfile.ZIP_DEFLATED),
)
zipfile.ZIP64_LIMIT = limit
many = [np.full(1, i, "i4") for i in range(1500)]
good("many", many)

# -- hostile ones ----------------------------------------------------------------------------------

plain = archive([("0.npy", npy(np.arange(6, dtype="f4"))), ("1.npy", npy(np.arange(3, dtype="f4")))])


def bad(fault, name, data):
    write(fault, name, data)


def patched(data, at, new):
    assert at >= 0
    return data[:at] + new + data[at + len(new) :]


def one(data, name="0.npy", method=zipfile.ZIP_STORED):
    return archive([(name, data)], method)


central = plain.index(b"PK\x01\x02")
second = plain.index(b"PK\x01\x02", central + 4)
end = plain.rindex(b"PK\x05\x06")
local2 = plain.index(b"PK\x03\x04", 4)

for name, array in (
    ("object", np.array([None, 1], dtype=object)),
    ("bool", np.array([True])),
    ("complex", np.array([1j])),
    ("text", np.array(["abc"])),
    ("bytes", np.array([b"abc"])),
    ("record", np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")])),
    ("date", np.array(["2026-11-25"], dtype="M8[D]")),
):
    bad("DTYPE", "dtype_" + name, one(npy(array)))
bad("NOT_FINITE", "nan", one(npy(np.array([1, np.nan], "f4"))))
bad("NOT_FINITE", "nan_big", one(npy(np.array([1, np.nan], ">f8"))))
bad("NOT_FINITE", "infinity", one(npy(np.array([1, -np.inf], "f2"))))
bad("OUT_OF_RANGE", "int64", one(npy(np.array([2**53 + 1], "i8"))))
bad("OUT_OF_RANGE", "uint64", one(npy(np.array([2**64 - 1], "u8"))))
bad("CHECKSUM", "crc_stored", patched(plain, plain.index(b"\x00\x00\x80\x3f"), b"\x01"))
bad("CHECKSUM", "crc_directory", patched(plain, central + 16, b"\0\0\0\0"))
bad("MALFORMED", "empty_file", b"")
bad("MALFORMED", "no_zip", b"x" * 5000)
bad("MALFORMED", "empty_zip", archive([]))
bad("MALFORMED", "missing", archive([("0.npy", npy(model[1])), ("2.npy", npy(model[1]))]))
bad("MALFORMED", "twice", patched(plain, second + 46, b"0"))
for i, name in enumerate(
    ("../0.npy", "/0.npy", "a/0.npy", "00.npy", "0.NPY", "0.npy/", "-1.npy", "0", ".npy", "0.npz",
     "4096.npy", "99999999999999999999.npy", " 0.npy", "arr_0.npy", "\u0660.npy")
):
    bad("MALFORMED", "name_%d" % i, one(npy(model[1]), name))
bad("MALFORMED", "name_bytes", patched(one(npy(model[1]), "xxxxx"), one(npy(model[1]), "xxxxx")
                                       .rindex(b"xxxxx"), b"\xff\xfe\n\x1b\x80"))
bad("MALFORMED", "name_nul", one(npy(model[1]), "0.npyx").replace(b"0.npyx", b"0.npy\0"))
bad("MALFORMED", "extra_member", archive([("0.npy", npy(model[1])), ("readme.txt", b"hello")]))
bad("MALFORMED", "encrypted", patched(plain, central + 8, b"\x01"))
bad("MALFORMED", "bzip2", one(npy(np.zeros(100)), method=zipfile.ZIP_BZIP2))
bad("MALFORMED", "lzma", one(npy(np.zeros(100)), method=zipfile.ZIP_LZMA))
bad("MALFORMED", "overlap_same", patched(plain, second + 42, struct.pack("<I", 0)))
bad("MALFORMED", "other_local_name", patched(plain, local2 + 30, b"7"))
bad("MALFORMED", "no_local", patched(plain, local2, b"XX"))
bad("MALFORMED", "other_local_method", patched(plain, local2 + 8, b"\x08"))
bad("MALFORMED", "count_too_small", patched(plain, end + 10, struct.pack("<H", 1)))
bad("MALFORMED", "count_too_large", patched(plain, end + 10, struct.pack("<H", 3)))
bad("MALFORMED", "count_huge", patched(plain, end + 10, struct.pack("<H", 65534)))
bad("MALFORMED", "no_zip64", patched(plain, end + 10, struct.pack("<H", 65535)))
bad("MALFORMED", "directory_beyond", patched(plain, end + 16, struct.pack("<I", len(plain))))
bad("MALFORMED", "local_beyond", patched(plain, second + 42, struct.pack("<I", 0x7FFFFFFF)))
bad("MALFORMED", "size_beyond", patched(plain, second + 20, struct.pack("<II", 1 << 20, 1 << 20)))
bad("MALFORMED", "size_differs", patched(plain, second + 20, struct.pack("<I", 5)))
bad("MALFORMED", "short_array", one(npy(np.arange(6, dtype="f4"))[:-4]))
bad("MALFORMED", "long_array", one(npy(np.arange(6, dtype="f4")) + b"more"))
bad("MALFORMED", "no_npy", one(b"not an array at all, but long enough"))
bad("MALFORMED", "eval", one(header("__import__('os').system('touch /tmp/pwned')", b"\0" * 8)))
bad("TOO_LARGE", "huge_shape", one(header(
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1048576, 1048576), }", b"\0" * 8)))
bad("TOO_LARGE", "limit", one(npy(np.zeros(2000001, "u1")), method=zipfile.ZIP_DEFLATED))
bad("TOO_LARGE", "limit_in_all", archive(
    [("%d.npy" % i, npy(np.zeros(700000, "u1"))) for i in range(3)], zipfile.ZIP_DEFLATED))
# A bomb: a few bytes that say they are many. The CRC would be right, if ever reached.
small = zlib.compress(bytes(1000), 9)[2:-4]
bomb = one(npy(np.zeros(1000, "f8")), method=zipfile.ZIP_DEFLATED)
at = bomb.index(b"PK\x01\x02")
bad("TOO_LARGE", "bomb_ratio", patched(bomb, at + 24, struct.pack("<I", 15 << 20)))
stored = struct.unpack("<I", bomb[at + 20 : at + 24])[0]
bad("MALFORMED", "deflated_cut", patched(bomb, at + 20, struct.pack("<I", stored - 2)))
noise = one(npy(rng.normal(size=1000)), method=zipfile.ZIP_DEFLATED)
start = 30 + 5
at = noise.index(b"PK\x01\x02")
bad("MALFORMED", "deflated_noise", patched(noise, start + 300, b"\xff" * 200))
longer = one(npy(np.zeros(1000, "f4")) + bytes(4000), method=zipfile.ZIP_DEFLATED)
at = longer.index(b"PK\x01\x02")
right = npy(np.zeros(1000, "f4"))
longer = patched(longer, at + 24, struct.pack("<I", len(right)))
longer = patched(longer, at + 16, struct.pack("<I", zlib.crc32(right)))
bad("MALFORMED", "deflated_goes_on", longer)
