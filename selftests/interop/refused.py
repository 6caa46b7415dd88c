# SPDX-License-Identifier: MIT
"""What the packages refuse, weir refuses, with a reason and without dying.

Each file is first given to the package: were it to accept one, the case would prove nothing.
"""

import json
import random
import struct

import gguf
from safetensors import deserialize

from report import expect_equal
from theirs import save_gguf


def entry(dtype, shape, first, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, end]}


def st(header, data=b""):
    """A safetensors file with this header, an object or bytes."""
    if not isinstance(header, bytes):
        header = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(header)) + header + data


A = '"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}'

ST_CASES = {
    "no bytes": b"",
    "half a length": b"\1\2\3",
    "a header beyond the end": struct.pack("<Q", 1000) + b"{}",
    "a length of 2^63": struct.pack("<Q", 1 << 63) + b"{}",
    "a length of 2^64 - 1": struct.pack("<Q", (1 << 64) - 1) + b"{}",
    "a length above 100 MB": struct.pack("<Q", 100_000_001) + b"{}",
    "no JSON": st(b"what is this?"),
    "no UTF-8": st(b'{"\xff\xfe":1}'),
    "an array": st(b"[]"),
    "junk after the JSON": st(("{" + A + "}{}").encode(), b"1234"),
    "NUL after the JSON": st(("{" + A + "}\0\0").encode(), b"1234"),
    "missing data": st({"a": entry("U8", [4], 0, 4)}, b"123"),
    "data left over": st({"a": entry("U8", [4], 0, 4)}, b"12345"),
    "an overlap": st({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 2, 6)}, b"123456"),
    "a hole": st({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 6, 10)}, b"1234567890"),
    "a hole at the start": st({"a": entry("U8", [4], 4, 8)}, b"12345678"),
    "offsets backwards": st({"a": entry("U8", [4], 4, 0)}, b"1234"),
    "offsets beyond the end": st({"a": entry("U8", [400], 0, 400)}, b"1234"),
    "an offset of 2^64": st(b'{"a":{"dtype":"U8","shape":[4],'
                            b'"data_offsets":[0,18446744073709551616]}}', b"1234"),
    "three offsets": st({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4, 5]}}, b"1234"),
    "an unknown type": st({"a": entry("Q9", [4], 0, 4)}, b"1234"),
    "no type": st({"a": {"shape": [4], "data_offsets": [0, 4]}}, b"1234"),
    "a shape of another size": st({"a": entry("U8", [5], 0, 4)}, b"1234"),
    "a shape that wraps": st({"a": entry("F32", [1 << 62, 1 << 62], 0, 4)}, b"1234"),
    "a negative dimension": st({"a": entry("U8", [-4], 0, 4)}, b"1234"),
    "a fraction as dimension": st({"a": entry("U8", [4.0], 0, 4)}, b"1234"),
    "half a byte": st({"a": entry("F4", [3], 0, 2)}, b"12"),
    "a name twice": st(("{" + A + "," + A.replace("[0,4]", "[4,8]") + "}").encode(), b"12345678"),
    "metadata twice": st(('{"__metadata__":{"a":"1"},"__metadata__":{"a":"2"},' + A + "}").encode(),
                         b"1234"),
    "metadata that is no object": st(('{"__metadata__":[],' + A + "}").encode(), b"1234"),
    "metadata that is no text": st(('{"__metadata__":{"a":1},' + A + "}").encode(), b"1234"),
    "an empty tensor inside another": st({"a": entry("U8", [4], 0, 4), "e": entry("U8", [0], 2, 2)},
                                         b"1234"),
    "an abyss of arrays": st(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
}


def check_st(weir, name, data):
    try:
        deserialize(data)
    except Exception:
        pass
    else:
        raise AssertionError("the package accepts it")
    path = weir.path("refused.safetensors")
    with open(path, "wb") as f:
        f.write(data)
    weir.need("inspect")
    error = weir.error("inspect", path)
    expect_equal(error["file"], path, "the file that the error names")


def gguf_file(weir):
    """A good file to spoil."""
    path = weir.path("good.gguf")
    save_gguf(path, {"first": ("F32", (64,), 1), "other": ("Q8_0", (2, 64), 2)})
    with open(path, "rb") as f:
        return f.read()


def replaced(data, old, new):
    assert data.count(old) == 1 and len(old) == len(new), "the file is not what it was"
    return data.replace(old, new)


def gguf_cases(good):
    name = struct.pack("<Q", 5) + b"first"
    other = struct.pack("<Q", 5) + b"other"
    at = good.index(name) + len(name)  # dimensions, their sizes, type, offset

    def at_first(offset, fmt, value):
        spoilt = bytearray(good)
        struct.pack_into(fmt, spoilt, at + offset, value)
        return bytes(spoilt)

    return {
        "no bytes": b"",
        "only the magic": good[:4],
        "another magic": b"GGML" + good[4:],
        "version 99": good[:4] + struct.pack("<I", 99) + good[8:],
        "an end within the keys": good[:40],
        "an end within the tensors' names": good[:at],
        "an end within the data": good[:-64],
        "more tensors than there are": good[:8] + struct.pack("<Q", 1 << 40) + good[16:],
        "more keys than there are": good[:16] + struct.pack("<Q", 1 << 40) + good[24:],
        "a name twice": replaced(good, other, name),
        "a name beyond the end": replaced(good, name, struct.pack("<Q", 1 << 40) + b"first"),
        "an unknown type": at_first(12, "<I", 9999),
        "an offset beyond the end": at_first(16, "<Q", 1 << 40),
        "a dimension beyond the end": at_first(4, "<Q", 1 << 40),
    }


def check_gguf(weir, name, data):
    path = weir.path("refused.gguf")
    with open(path, "wb") as f:
        f.write(data)
    try:
        gguf.GGUFReader(path)
    except Exception:
        pass
    else:
        raise AssertionError("the package accepts it")
    weir.need("inspect")
    expect_equal(weir.error("inspect", path)["file"], path, "the file that the error names")


def spoil(data, first, end, rng):
    """A copy of @data with one to three faults in bytes [@first, @end)."""
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(first, min(end, len(spoilt)))
        kind = rng.randrange(4)
        if kind == 0:
            spoilt[at] = rng.choice(b'0123456789[]{},:"aBFU \\\0-')
        elif kind == 1:
            spoilt[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del spoilt[at]
        else:
            spoilt.insert(at, rng.choice(b'0123456789[]{},:" \0\xff'))
    return bytes(spoilt)


def check_spoilt(weir, suffix, good, first, end, read):
    """Of many spoilt copies weir takes none that the package does not take."""
    weir.need("inspect")
    rng = random.Random(suffix)
    path = weir.path("spoilt" + suffix)
    refused = 0
    for _ in range(NR_SPOILT):
        data = spoil(good, first, end, rng)
        with open(path, "wb") as f:
            f.write(data)
        status, _, err = weir.run("inspect", path, "--json")
        assert status in (0, 1), f"exit {status} for {data!r}: {err}"
        try:
            read(path)
        except UnicodeDecodeError:
            pass  # the text of a key: weir does not look at what it has no use for
        except Exception:
            refused += 1
            assert status == 1, f"only weir accepts {data!r}"
    assert refused > NR_SPOILT // 4, f"only {refused} of {NR_SPOILT} copies were refused"


NR_SPOILT = 400


def read_st(path):
    with open(path, "rb") as f:
        deserialize(f.read())


def check_spoilt_st(weir):
    good = st({"__metadata__": {"format": "pt"}, "a": entry("BF16", [2, 3], 0, 12),
               "b": entry("U8", [5], 12, 17), "e": entry("F32", [0], 17, 17),
               "s": entry("I64", [], 17, 25)}, bytes(range(25)))
    check_spoilt(weir, ".safetensors", good, 8, len(good) - 25, read_st)


def check_spoilt_gguf(weir):
    good = gguf_file(weir)
    check_spoilt(weir, ".gguf", good, 0, good.index(b"other") + 40, gguf.GGUFReader)


def run(weir, report):
    for name, data in ST_CASES.items():
        report.check(f"safetensors with {name} is refused", check_st, weir, name, data)
    for name, data in gguf_cases(gguf_file(weir)).items():
        report.check(f"GGUF with {name} is refused", check_gguf, weir, name, data)
    report.check("safetensors spoilt at random and refused is refused", check_spoilt_st, weir)
    report.check("GGUF spoilt at random and refused is refused", check_spoilt_gguf, weir)
