#!/bin/sh
# SPDX-License-Identifier: MIT
# Each model here holds over its whole state space, and each fault seeded in it is found.
#
# A model names its faults in its head comment, one a line: " *   MUTANT_X  what it does".
. "$(dirname "$0")/../sanity/tap.sh"

search() { # MODEL [MUTANT]: 0 when the whole space was searched and nothing found
	work=$tmp_model/${2:-right}
	rm -rf "$work"
	mkdir -p "$work"
	(
		cd "$work" || exit 1
		spin ${2:+-D"$2"} -a "$1" && gcc -O2 -w -DSAFETY -o pan pan.c || exit 1
		./pan -m1000000 >out 2>&1
		rm -f pan pan.[bchmpt]
		cat out
		grep -q 'errors: 0$' out && ! grep -qE 'max search depth too small|Search not completed' out
	)
}

tmp_model=$tap_tmp/model
for model in "$WR_TEST_SRCDIR"/selftests/spin/*.pml; do
	name=$(basename "$model" .pml)
	if ! command -v spin >/dev/null || ! command -v gcc >/dev/null; then
		skip "$name" 'spin or gcc is not installed'
		continue
	fi
	passes "$name holds in every interleaving" search "$model"
	for mutant in $(sed -n 's/^ \*  *\(MUTANT_[A-Z_]*\) .*/\1/p' "$model"); do
		fires "$name with $mutant is caught" 'assertion violated|invalid end state' search "$model" "$mutant"
	done
done
[ "$tap_count" -gt 0 ] || { echo '# there is no model'; tap_failed=1; }
finish
