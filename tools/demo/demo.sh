#!/bin/sh
# SPDX-License-Identifier: MIT
# The main job, seen by a stranger: a model that does not fit its memory, streamed pass after
# pass next to a mapping under the same limit and to what fio reads. O is the build folder.
set -eu

O=${O:-build}
weir=$O/weir
svg=$O/demo/passes.svg

say() {
	printf '\n== %s\n' "$*"
}

say "a checkpoint with the shapes of Qwen3-VL-2B, kept for the next run"
model=$(O="$O" sh tools/demo/model.sh)
ls -l "$model"

say "what this machine gives"
"$weir" doctor "$model"

say "what the model holds"
"$weir" inspect "$model"

say "five passes with 60 % of the memory they would need"
"$weir" bench demo "$model" --budget 60% --passes 5 --compute gemv --svg "$svg"

say "again with other numbers: $weir stream $model --budget 400MiB --passes 5 --compute gemv"
