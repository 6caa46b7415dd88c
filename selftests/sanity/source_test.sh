#!/bin/sh
# SPDX-License-Identifier: MIT
# check-format, check-size and cppcheck fire on a source that is not as it should be.
. "$(dirname "$0")/tap.sh"

format() {
	(cd "$copy" && tools/build/check-format)
}

size() {
	(cd "$copy" && tools/build/check-size)
}

cpp() {
	(cd "$copy" && tools/build/run-cppcheck "$tap_tmp/cpp" "$@")
}

small() { # two sources are enough; the tree as it is stands at the beginning
	rm -rf "$copy"
	mkdir -p "$copy/tools" "$copy/lib/base"
	cp -r "$WR_TEST_SRCDIR/tools/build" "$copy/tools/build"
	cp "$WR_TEST_SRCDIR/.clang-format" "$copy"
	cp "$WR_TEST_SRCDIR"/lib/base/util.h "$copy/lib/base"
}

lines() { # N
	i=0
	while [ $i -lt "$1" ]; do
		printf '\tx++;\n'
		i=$((i + 1))
	done
}

licence='/* SPDX-License-Identifier: MIT */'

fresh
passes 'sizes of the tree as it is' size

small
passes 'two sources as they are' format

printf '%s\nint  x;\n' "$licence" >"$copy/lib/base/planted.c"
fires 'a source that is formatted otherwise' 'lib/base/planted.c is formatted otherwise' format

small
printf 'int x;\n' >"$copy/lib/base/planted.c"
fires 'a source without a licence' 'lib/base/planted.c does not begin with its SPDX' format

small
find "$copy" -name '*.[ch]' -delete
fires 'a list of sources that is empty' 'nothing to check' format

small
(cd "$copy" && git init -q . && git add . && printf '%s\nint  x;\n' "$licence" >lib/base/planted.c)
passes 'a file that is not tracked is not looked at' format
(cd "$copy" && git add lib/base/planted.c)
fires 'a tracked one is' 'planted.c is formatted otherwise' format

small
{
	echo 'void f(void)'
	echo '{'
	lines 81
	echo '}'
} >"$copy/lib/base/planted.c"
fires 'a function of 81 lines' 'planted.c:2: a body of 81 lines' size

small
{
	echo 'void f(void)'
	echo '{'
	lines 80
	echo '}'
} >"$copy/lib/base/planted.c"
passes 'a function of 80 lines' size

lines 801 >"$copy/lib/base/planted.c"
fires 'a file of 801 lines' 'planted.c: 801 lines, 800 are the most' size

rm -rf "$copy"
mkdir -p "$copy/tools"
cp -r "$WR_TEST_SRCDIR/tools/build" "$copy/tools/build"
find "$copy" -name '*.[ch]' -delete
fires 'a tree without functions' 'nothing to check' size

small
: >"$copy/config.h"
mkdir -p "$tap_tmp/cpp"
: >"$tap_tmp/cpp/config.h"
if command -v cppcheck >/dev/null; then
	printf 'int f(void);\nint f(void)\n{\n\tint a[2] = {0, 1};\n\treturn a[2];\n}\n' >"$copy/lib/base/planted.c"
	fires 'cppcheck sees a read behind an array' 'arrayIndexOutOfBounds' cpp lib/base/planted.c
	fires 'cppcheck on no sources' 'nothing to check' cpp
else
	skip 'cppcheck sees a read behind an array' 'no cppcheck'
	skip 'cppcheck on no sources' 'no cppcheck'
fi

finish
