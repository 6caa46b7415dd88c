# SPDX-License-Identifier: MIT
"""What the packages write, read by weir."""

import random
import struct

import gguf
import numpy as np
import xxhash
from safetensors import TensorSpec, deserialize, serialize

from report import expect_equal
from weirbin import Tensor

# The name given to the package, the name in the file, bits of an element.
ST_DTYPES = (
    ("bool", "BOOL", 8), ("uint8", "U8", 8), ("int8", "I8", 8),
    ("float8_e4m3fn", "F8_E4M3", 8), ("float8_e5m2", "F8_E5M2", 8),
    ("float8_e8m0fnu", "F8_E8M0", 8), ("float8_e4m3fnuz", "F8_E4M3FNUZ", 8),
    ("float8_e5m2fnuz", "F8_E5M2FNUZ", 8), ("uint16", "U16", 16), ("int16", "I16", 16),
    ("float16", "F16", 16), ("bfloat16", "BF16", 16), ("uint32", "U32", 32),
    ("int32", "I32", 32), ("float32", "F32", 32), ("uint64", "U64", 64),
    ("int64", "I64", 64), ("float64", "F64", 64), ("complex64", "C64", 64),
)

# Those that the installed package does not know yet are left out.
GGUF_DTYPES = ("F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64", "Q4_0", "Q4_1", "Q5_0",
               "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_K", "IQ2_XXS",
               "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S", "IQ1_M", "IQ4_NL", "IQ4_XS",
               "TQ1_0", "TQ2_0", "MXFP4", "NVFP4", "Q1_0")


def bytes_of(shape, bits, seed):
    count = 1
    for n in shape:
        count *= n
    return random.Random(seed).randbytes(count * bits // 8)


def save(path, tensors, metadata=None):
    """Writes {name: (package's dtype, shape, bytes)} with safetensors."""
    specs, keep = {}, []
    for name, (dtype, shape, data) in tensors.items():
        array = np.frombuffer(data or b"\0", np.uint8)
        keep.append(array)
        specs[name] = TensorSpec(dtype=dtype, shape=list(shape), data_ptr=array.ctypes.data,
                                 data_len=len(data))
    with open(path, "wb") as f:
        f.write(serialize(specs, metadata))


def check_st(weir, name, tensors, metadata=None):
    path = weir.path(name + ".safetensors")
    save(path, tensors, metadata)
    check_st_file(weir, path)


def check_st_file(weir, path):
    """weir says of a file what the package says."""
    with open(path, "rb") as f:
        wanted = {name: Tensor(t["dtype"], tuple(t["shape"]),
                               xxhash.xxh3_64_hexdigest(bytes(t["data"])))
                  for name, t in deserialize(f.read())}
    expect_equal(weir.tensors(path), wanted, path)


def check_every_dtype(weir):
    check_st(weir, "dtypes", {f"{i}.{name}": (dtype, (3, 8), bytes_of((3, 8), bits, i))
                              for i, (dtype, name, bits) in enumerate(ST_DTYPES)})


def check_empty(weir):
    check_st(weir, "empty", {
        "a": ("float32", (0,), b""), "b": ("int64", (4, 0, 2), b""),
        "c": ("uint8", (3,), b"xyz"), "d": ("bfloat16", (0, 0), b"")})


def check_scalars(weir):
    check_st(weir, "scalars", {"s": ("float32", (), bytes_of((), 32, 1)),
                               "t": ("bool", (), b"\1"), "u": ("int64", (1, 1), bytes(8))})


def check_metadata(weir):
    check_st(weir, "metadata", {"w": ("float16", (5,), bytes_of((5,), 16, 2))},
             {"format": "pt", "note": 'quote " backslash \\ snow \u2603 nul \u0000', "": ""})


def check_names(weir):
    names = ("", " ", "a.b.c", "\u00fc\u4e2d\U0001f40d", "tab\tnewline\n", "x" * 1000, "__meta__")
    check_st(weir, "names", {n: ("uint8", (i,), bytes_of((i,), 8, i))
                             for i, n in enumerate(names, 1)})


def check_no_tensors(weir):
    check_st(weir, "none", {})


def check_large(weir):
    """Beyond any buffer of a reader, and of odd sizes."""
    check_st(weir, "large", {f"layers.{i}.w": ("uint8", (n,), bytes_of((n,), 8, i))
                             for i, n in enumerate((9 << 20, 1, (1 << 20) + 1, 4095, 4097, 7))})


def header_file(path, header, data):
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(header)) + header + data)


def check_other_order(weir):
    """Headers of older writers: entries in any order, unaligned, spaces and escapes in the JSON."""
    path = weir.path("order.safetensors")
    header = (b'{ "b" : {"data_offsets":[4,7],"shape":[3],"dtype":"U8"},\n'
              b'\t"\\u0061":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
              b'"c":{"dtype":"I16","shape":[1,1],"data_offsets":[7,9]},'
              b'"__metadata__":{"k":"v"}}')
    header_file(path, header, b"0123456" + b"78")
    check_st_file(weir, path)


def random_blocks(dtype, shape, seed):
    """Random bytes of a type's blocks as the writer takes them; shape in elements."""
    block, size = gguf.GGML_QUANT_SIZES[dtype]
    row = shape[-1] // block * size
    count = int(np.prod(shape[:-1], dtype=np.int64)) * row
    data = np.frombuffer(random.Random(seed).randbytes(count), np.uint8)
    return data.reshape(*shape[:-1], row)


def save_gguf(path, tensors, setup=None, **options):
    """Writes {name: (dtype, shape, seed)} with gguf; returns what weir should say."""
    writer = gguf.GGUFWriter(path, "llama", **options)
    if setup:
        setup(writer)
    wanted = {}
    for name, (dtype_name, shape, seed) in tensors.items():
        dtype = gguf.GGMLQuantizationType[dtype_name]
        data = random_blocks(dtype, shape, seed)
        writer.add_tensor(name, data, raw_shape=data.shape, raw_dtype=dtype)
        wanted[name] = Tensor(dtype_name, tuple(shape), xxhash.xxh3_64_hexdigest(data.tobytes()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return wanted


def check_gguf(weir, name, tensors, setup=None):
    path = weir.path(name + ".gguf")
    wanted = save_gguf(path, tensors, setup)
    expect_equal(weir.tensors(path), wanted, path)


def check_gguf_dtypes(weir):
    check_gguf(weir, "dtypes", {f"blk.{i}.{name}": (name, (3, 512), i)
                                for i, name in enumerate(GGUF_DTYPES)
                                if name in gguf.GGMLQuantizationType.__members__})


def check_gguf_shapes(weir):
    check_gguf(weir, "shapes", {"one": ("F32", (1,), 1), "four": ("F16", (2, 3, 4, 5), 2),
                                "odd": ("I8", (7,), 3), "cube": ("Q4_K", (2, 2, 256), 4),
                                "last": ("F32", (13,), 5)})


def many_keys(writer):
    writer.add_uint8("k.u8", 1)
    writer.add_int8("k.i8", -1)
    writer.add_uint16("k.u16", 2)
    writer.add_int16("k.i16", -2)
    writer.add_uint32("k.u32", 3)
    writer.add_int32("k.i32", -3)
    writer.add_float32("k.f32", 0.5)
    writer.add_uint64("k.u64", 1 << 60)
    writer.add_int64("k.i64", -(1 << 60))
    writer.add_float64("k.f64", 0.25)
    writer.add_bool("k.bool", True)
    writer.add_string("k.string", "snow \u2603")
    writer.add_array("k.numbers", list(range(1000)))
    writer.add_array("k.strings", [f"token {i}" for i in range(5000)])
    writer.add_array("k.nested", [[1, 2], [3]])


def check_gguf_keys(weir):
    check_gguf(weir, "keys", {"w": ("Q6_K", (4, 256), 1)}, many_keys)


def check_gguf_alignment(weir):
    check_gguf(weir, "alignment", {"a": ("F32", (3,), 1), "b": ("Q8_0", (2, 32), 2),
                                   "c": ("F16", (9,), 3)},
               lambda writer: writer.add_custom_alignment(256))


def check_gguf_version_2(weir):
    """Version 2 differs in nothing that a reader of little-endian files sees."""
    path = weir.path("version2.gguf")
    wanted = save_gguf(path, {"w": ("Q4_0", (2, 64), 1)})
    with open(path, "r+b") as f:
        f.seek(4)
        f.write(struct.pack("<I", 2))
    assert len(gguf.GGUFReader(path).tensors) == 1
    expect_equal(weir.tensors(path), wanted, path)


def check_gguf_split(weir):
    """Several files, as llama.cpp's and gguf's own splitting names them."""
    tensors = {f"blk.{i}.ffn_up.weight": ("F16", (64, 64), i) for i in range(7)}
    path = weir.path("split.gguf")
    wanted = save_gguf(path, tensors, split_max_tensors=3)
    first = weir.path("split-00001-of-00003.gguf")
    expect_equal(weir.tensors(first), wanted, first)


def run(weir, report):
    for check in (check_every_dtype, check_empty, check_scalars, check_metadata, check_names,
                  check_no_tensors, check_large, check_other_order, check_gguf_dtypes,
                  check_gguf_shapes, check_gguf_keys, check_gguf_alignment, check_gguf_version_2,
                  check_gguf_split):
        what = check.__name__.removeprefix("check_").replace("_", " ")
        report.check(f"weir reads what the packages write: {what}", check, weir)
