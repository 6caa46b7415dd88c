#!/bin/sh
# SPDX-License-Identifier: MIT
# Make the model of the demo and the benchmarks, once, and print its folder: the shapes of
# Qwen3-VL-2B with fewer layers, about 1.3 GB. O is the build folder.
set -eu

O=${O:-build}
dir=$O/demo/qwen3-vl-2b
# The embedding is 622 MB, each of six layers 101 MB, and a vision block 25 MB.
if [ ! -f "$dir/config.json" ]; then
	mkdir -p "$O/demo"
	"$O/weir" mkmodel --model qwen3-vl-2b --layers 6 --vision-blocks 1 "$dir" >&2
fi
echo "$dir"
