#!/bin/sh
# SPDX-License-Identifier: MIT
# Every benchmark that needs a model, on the demo's. O is the build folder.
set -eu

O=${O:-build}
model=$(O="$O" sh tools/demo/model.sh)
for bench in load ladder stream; do
	printf '\n== weir bench %s\n' "$bench"
	"$O/weir" bench "$bench" "$model"
done
