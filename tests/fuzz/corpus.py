#!/usr/bin/python3
"""Makes the corpora that stand in tests/fuzz/corpus: small, whole inputs of each kind.

Run: /usr/bin/python3 tests/fuzz/corpus.py [FOLDER], with Debian's python3-numpy and python3-xxhash
"""

import gzip
import io
import os
import struct
import sys
import zipfile

import numpy as np
import xxhash

FOLDER = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "corpus")


def write(kind, name, data):
    folder = os.path.join(FOLDER, kind)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


def npy(array):
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asanyarray(array))
    return out.getvalue()


def archive(arrays, method):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for i, a in enumerate(arrays):
            z.writestr(zipfile.ZipInfo("%d.npy" % i), npy(a), compress_type=method)
    return out.getvalue()


arrays = [np.arange(6, dtype="f4").reshape(2, 3), np.array([1, -2], ">i8"), np.float16(0.5)]
write("npz", "stored", archive(arrays, zipfile.ZIP_STORED))
write("npz", "deflated", archive(arrays, zipfile.ZIP_DEFLATED))
write("npz", "zeros", archive([np.zeros(5000, "f4")], zipfile.ZIP_DEFLATED))
write("npz", "fortran", archive([np.asfortranarray(arrays[0])], zipfile.ZIP_STORED))
zipfile.ZIP64_LIMIT = 64
write("npz", "zip64", archive(arrays, zipfile.ZIP_STORED))
for i, a in enumerate(arrays + [np.array([True]), np.array(["text"]), np.zeros((0, 3))]):
    write("npy_header", "a%d" % i, npy(a)[:128])

write("conf_yaml", "plain", b"# comment\nhttp: 127.0.0.1:8092\nspool:\n  sync: update\nsize: 64 MiB\n")
write("conf_yaml", "quoted", b'a: "x\\x41\\n"\nb: \'it\'\'s\'\nc: &x 1\nd: *x\n? e\n: f\n')
write("conf_yaml", "itself", b"&x\n&d: *x\n")  # once an endless recursion
write("conf_yaml", "wrong", b"- list\n- {a: [1, 2]}\n---\nb: !!int 3\n")


def text(value):
    return struct.pack("<H", len(value)) + value.encode()


def partial(entries, sums):
    header = text("7") + text("comb") + struct.pack("<Q", 2) + bytes(range(32))
    header += struct.pack("<QQQ", len(sums), sum(e[2] for e in entries), 2)
    header += struct.pack("<qq", 22, -3) + struct.pack("<Q", len(entries))
    for client, update, examples in entries:
        header += text(client) + text(update) + struct.pack("<Q", examples)
    data = b"CONFEDP3" + struct.pack("<Q", len(header)) + header
    if entries:
        width = max((value ^ value >> 63).bit_length() for value in sums) // 8 + 1 if any(sums) else 0
        data += bytes([width])  # of the only block
        data += b"".join(value.to_bytes(width, "little", signed=True) for value in sums)
    return data + xxhash.xxh3_128_digest(data)


write("partial", "three", partial([("a", "u1", 5), ("b", "u2", 6), ("c", "u3", 7)], [1, -2, 2**62]))
write("partial", "narrow", partial([("a", "u1", 5)], [1, -200, 7]))
write("partial", "zero", partial([("a", "u1", 5)], [0, 0, 0]))
write("partial", "none", partial([], [1, 2]))


def varint(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def part(message):
    return struct.pack("<H", len(message)) + message


client = field(1, "c1") + field(2, 1) + field(3, "name") + field(4, "::1")
entry = field(1, "c1") + field(2, "u1") + field(3, 60000)
refused = field(1, "c2") + field(2, "u2") + field(3, 1) + field(4, "late") + field(5, 1)
rounds = field(1, "7") + field(2, 3) + field(3, 2) + field(4, entry) + field(5, refused)
head = field(3, "comb") + field(4, "boot") + field(5, "n") + field(6, "h:1") + field(7, 2) + field(9, 10)
hello = [field(1, field(1, 0) + head + field(11, rounds)),
         field(1, field(1, 1) + field(2, 1) + head + field(10, client))]
ups = [field(2, client), field(3, field(1, "7") + field(2, 3) + field(3, entry)),
       field(4, field(1, "7") + field(2, refused)), field(5, field(1, 9) + field(2, 2) + field(3, "{}"))]
write("link_up", "hello", b"".join(part(m) for m in hello))
write("link_up", "all", b"".join(part(m) for m in hello + ups))
plan = (field(1, "s") + field(2, "7") + field(3, 2) + field(4, "m") + field(5, bytes(32)) + field(6, 100)
        + field(7, b"\x2c\x05") + field(8, 51) + field(9, 10**9) + field(10, "{}") + field(11, "c1")
        + field(11, "c2") + field(12, 5000) + field(13, 1) + field(14, bytes(16)))
validate = (field(1, "s") + field(2, "7") + field(3, "m") + field(4, bytes(32)) + field(5, 10)
            + field(6, "c1") + field(7, 10) + field(8, "{}") + field(9, bytes(16)))
downs = [field(1, field(1, "boot") + field(2, 10000) + field(3, "0.1")), field(2, field(1, "no")), field(3, plan),
         field(4, field(1, "7") + field(2, 2)), field(5, field(1, "7") + field(2, 1) + field(3, "m")),
         field(6, validate), field(7, field(1, 5))]
for i, m in enumerate(downs):
    write("link_down", "m%d" % (i + 1), m)
for i in range(12):
    write("rpc_unpack", "k%d" % i, bytes([i]) + (ups[i % 4] if i % 2 else field(1, field(1, 2) + field(2, "x")) + field(3, "data")))

labels = struct.pack(">II", 0x801, 5) + bytes([1, 2, 3, 4, 9])
images = struct.pack(">IIII", 0x803, 3, 1, 2) + b"aAbBcC"
for name, whole in (("labels", labels), ("images", images)):
    write("idx", name, whole)
    write("idx", name + "-gzipped", gzip.compress(whole, mtime=0))

write("s3_xml", "error", b"<Error><Code>NoSuchKey</Code><Message>a &amp; b</Message></Error>")
write("s3_xml", "list", b"<?xml version='1.0'?><ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>p/a</Key>"
      b"<Size>1</Size></Contents><NextContinuationToken>t</NextContinuationToken></ListBucketResult>")
write("s3_xml", "doctype", b"<!DOCTYPE a [<!ENTITY b 'cc'>]><a>&b;</a>")
write("s3_xml", "deep", b"<a>" * 20)
