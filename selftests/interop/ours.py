# SPDX-License-Identifier: MIT
"""What `weir mkmodel` writes, read by the packages."""

import glob
import json
import os

import gguf
import numpy as np
import xxhash
from safetensors import deserialize, safe_open

from report import expect_equal
from weirbin import Tensor

MODELS = ("qwen3-vl-2b", "qwen3-vl-8b", "qwen3-vl-30b-a3b")
TINY = ("--layers", "2", "--vision-blocks", "4", "--vocab", "512", "--shrink", "16")
# Small enough for several shards of the tiny models.
SHARDS = ("--shard-bytes", "400KB")
GGUF_TYPES = ("f32", "f16", "bf16", "q8_0")


def read_safetensors(directory):
    """{name: (dtype, shape, bytes)} of all files of a directory, by the package."""
    tensors = {}
    for path in sorted(glob.glob(os.path.join(directory, "*.safetensors"))):
        with open(path, "rb") as f:
            for name, t in deserialize(f.read()):
                assert name not in tensors, f"{name} is in two files"
                tensors[name] = (t["dtype"], tuple(t["shape"]), bytes(t["data"]))
    return tensors


def as_float(bf16_bytes, shape):
    wide = np.frombuffer(bf16_bytes, np.uint16).astype(np.uint32) << 16
    return wide.view(np.float32).reshape(shape)


def check_safetensors(weir, directory):
    paths = sorted(glob.glob(os.path.join(directory, "*.safetensors")))
    for path in paths:
        with safe_open(path, framework="np") as f:
            expect_equal(f.metadata(), {"format": "pt"}, "metadata")
            offset_order = list(f.offset_keys())
        expect_equal(offset_order, sorted(offset_order), "order of the data")
    tensors = read_safetensors(directory)
    for name, (dtype, shape, data) in tensors.items():
        expect_equal(dtype, "BF16", name)
        values = as_float(data, shape)
        assert np.isfinite(values).all(), f"{name} is not finite"
        if len(shape) == 1 and "norm" in name and name.endswith("weight"):
            assert abs(values - 1).max() < 0.1, f"{name} is not near 1"
        else:
            assert abs(values).max() < 0.1, f"{name} is not small"
    spread = np.std(as_float(tensors[EMBED][2], tensors[EMBED][1]))
    assert 0.0195 < spread < 0.0205, f"standard deviation {spread}"


EMBED = "model.language_model.embed_tokens.weight"


def check_index(directory):
    with open(os.path.join(directory, "model.safetensors.index.json")) as f:
        text = f.read()
    index = json.loads(text)
    expect_equal(json.dumps(index, indent=2, sort_keys=True) + "\n", text, "layout of the index")
    seen = {}
    for path in glob.glob(os.path.join(directory, "*.safetensors")):
        with safe_open(path, framework="np") as f:
            for name in f.keys():
                seen[name] = os.path.basename(path)
    expect_equal(seen, index["weight_map"], "weight_map")
    total = sum(len(data) for _, _, data in read_safetensors(directory).values())
    expect_equal(index["metadata"]["total_size"], total, "total_size")
    assert len(set(seen.values())) > 1, "the model was not split"


def check_config(directory):
    with open(os.path.join(directory, "config.json")) as f:
        config = json.load(f)
    text, vision = config["text_config"], config["vision_config"]
    tensors = read_safetensors(directory)
    shape = {name: t[1] for name, t in tensors.items()}
    expect_equal(shape[EMBED], (text["vocab_size"], text["hidden_size"]), "embedding")
    layers = {n.split(".")[3] for n in shape if ".layers." in n}
    blocks = {n.split(".")[3] for n in shape if ".blocks." in n}
    mergers = {n.split(".")[3] for n in shape if ".deepstack_merger_list." in n}
    expect_equal(len(layers), text["num_hidden_layers"], "layers")
    expect_equal(len(blocks), vision["depth"], "vision blocks")
    expect_equal(len(mergers), len(vision["deepstack_visual_indexes"]), "deepstack mergers")
    assert max(vision["deepstack_visual_indexes"]) < vision["depth"], "deepstack beyond the depth"
    expect_equal(shape["model.language_model.layers.0.self_attn.q_proj.weight"][0],
                 text["num_attention_heads"] * text["head_dim"], "heads")
    expect_equal("lm_head.weight" in shape, not config["tie_word_embeddings"], "lm_head")


def conversion(tensors, config):
    """{GGUF name: float array} that llama.cpp's conversion makes of a checkpoint."""
    arch = gguf.MODEL_ARCH.QWEN3VLMOE if "moe" in config["model_type"] else gguf.MODEL_ARCH.QWEN3VL
    depth = max(config["text_config"]["num_hidden_layers"], config["vision_config"]["depth"])
    text_map = gguf.get_tensor_name_map(arch, depth)
    vision_map = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, depth)
    deepstack = config["vision_config"]["deepstack_visual_indexes"]
    result = {}
    for name, (_, shape, data) in tensors.items():
        for new_name, values in convert_one(name, as_float(data, shape), deepstack):
            names = vision_map if "visual." in name else text_map
            mapped = names.get_name(new_name, try_suffixes=(".weight", ".bias"))
            result[mapped or new_name] = values
    return result


def convert_one(name, values, deepstack):
    """What becomes of one tensor before its name is mapped; conversion/qwen3vl.py says so."""
    name = name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")
    if name.endswith("experts.gate_up_proj"):
        half = values.shape[2] // 2
        base = name.removesuffix("gate_up_proj")
        yield base + "gate_proj.weight", values[:, :, :half].transpose(0, 2, 1)
        yield base + "up_proj.weight", values[:, :, half:].transpose(0, 2, 1)
    elif name.endswith("experts.down_proj"):
        yield name + ".weight", values.transpose(0, 2, 1)
    elif name == "visual.patch_embed.proj.weight":
        yield "v.patch_embd.weight", values[:, :, 0]
        yield "v.patch_embd.weight.1", values[:, :, 1]
    elif name == "visual.patch_embed.proj.bias":
        yield "v.patch_embd.bias", values
    elif name.startswith("visual.merger.linear_fc"):
        number, tail = name.removeprefix("visual.merger.linear_fc").split(".")
        yield f"mm.{(int(number) - 1) * 2}.{tail}", values
    elif name.startswith("visual.merger.norm."):
        yield "v.post_ln." + name.split(".")[-1], values
    elif name.startswith("visual.deepstack_merger_list."):
        _, _, j, layer, tail = name.split(".")
        layer = layer.replace("linear_", "")
        yield f"v.deepstack.{deepstack[int(j)]}.{layer}.{tail}", values
    else:
        yield name, values


def check_gguf(directory, source):
    """Every tensor of the GGUF files is the checkpoint's, in the type it was given."""
    with open(os.path.join(source, "config.json")) as f:
        wanted = conversion(read_safetensors(source), json.load(f))
    seen = set()
    for path in glob.glob(os.path.join(directory, "*.gguf")):
        for t in gguf.GGUFReader(path).tensors:
            values = wanted[t.name]
            expect_equal(tuple(int(n) for n in t.shape), values.shape[::-1], f"shape of {t.name}")
            data = np.ascontiguousarray(values)
            if t.tensor_type == gguf.GGMLQuantizationType.F16:
                data = data.astype(np.float16)
                assert (data.astype(np.float32) == values).all(), "F16 is not exact"
            elif t.tensor_type != gguf.GGMLQuantizationType.F32:
                data = gguf.quantize(data, t.tensor_type)
            assert t.data.tobytes() == data.tobytes(), f"{t.name} has other bytes"
            seen.add(t.name)
    expect_equal(seen, set(wanted), "names")


def check_keys(directory, arch):
    readers = {os.path.basename(p).startswith("mmproj-"): gguf.GGUFReader(p)
               for p in glob.glob(os.path.join(directory, "*.gguf"))}

    def key(mmproj, name):
        field = readers[mmproj].get_field(name)
        assert field, f"there is no {name}"
        return field.contents()

    expect_equal(key(False, "general.architecture"), arch, "architecture")
    expect_equal(key(False, arch + ".block_count"), 2, "block_count")
    expect_equal(key(False, arch + ".rope.dimension_sections"), [24, 20, 20, 0], "sections")
    expect_equal(key(False, arch + ".rope.freq_base"), 5e6, "freq_base")
    expect_equal(key(False, arch + ".n_deepstack_layers"), 3, "deepstack layers")
    expect_equal(key(False, "tokenizer.ggml.pre"), "qwen2", "tokenizer")
    expect_equal(key(True, "general.architecture"), "clip", "architecture")
    expect_equal(key(True, "general.type"), "mmproj", "type")
    expect_equal(key(True, "clip.projector_type"), "qwen3vl_merger", "projector")
    expect_equal(key(True, "clip.vision.is_deepstack_layers"), [False, True, True, True],
                 "deepstack layers")


def check_weir_reads(weir, path, tensors):
    wanted = {name: Tensor(dtype, shape, xxhash.xxh3_64_hexdigest(data))
              for name, (dtype, shape, data) in tensors.items()}
    expect_equal(weir.tensors(path), wanted, path)


def read_gguf(directory):
    return {t.name: (t.tensor_type.name, tuple(int(n) for n in reversed(t.shape)),
                     t.data.tobytes())
            for path in glob.glob(os.path.join(directory, "*.gguf"))
            for t in gguf.GGUFReader(path).tensors}


def run_gguf(weir, report, model, source):
    arch = "qwen3vlmoe" if "a3b" in model else "qwen3vl"
    for kind in GGUF_TYPES:
        name = f"{model}-{kind}"
        directory = weir.path(name)
        weir.mkmodel(name, "--model", model, *TINY, "--format", "gguf", "--gguf-type", kind)
        report.check(f"gguf reads the tensors of {name}", check_gguf, directory, source)
        report.check(f"gguf reads the keys of {name}", check_keys, directory, arch)
        report.check(f"weir and gguf agree on {name}",
                     lambda d: check_weir_reads(weir, d, read_gguf(d)), directory)


def run(weir, report):
    weir.need("mkmodel")
    for model in MODELS:
        weir.mkmodel(model, "--model", model, *TINY)
        directory = weir.path(model)
        report.check(f"safetensors reads {model}", check_safetensors, weir, directory)
        report.check(f"config.json describes {model}", check_config, directory)
        report.check(f"weir and safetensors agree on {model}",
                     lambda d: check_weir_reads(weir, d, read_safetensors(d)), directory)
        split = model + "-split"
        weir.mkmodel(split, "--model", model, *TINY, *SHARDS)
        report.check(f"safetensors reads the shards of {split}", check_index, weir.path(split))
        report.check(f"weir and safetensors agree on {split}",
                     lambda d: check_weir_reads(weir, d, read_safetensors(d)), weir.path(split))
        run_gguf(weir, report, model, directory)
