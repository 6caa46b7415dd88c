#!/bin/sh
# SPDX-License-Identifier: MIT
# check-headers fires on a header that leans on another, on what C99 or C++ refuses, on names used twice.
. "$(dirname "$0")/tap.sh"

headers() {
	(cd "$copy" && CC=$WR_TEST_CC CXX=$WR_TEST_CXX tools/build/check-headers "$WR_TEST_BUILD")
}

# The faults are planted in a tree of three headers: every header of ours at each fault would take long.
small() {
	rm -rf "$copy"
	mkdir -p "$copy/include/weir" "$copy/lib/base" "$copy/tools"
	cp -r "$WR_TEST_SRCDIR/tools/build" "$copy/tools/build"
	cp "$WR_TEST_SRCDIR/include/weir/base.h" "$WR_TEST_SRCDIR/include/weir/log.h" "$copy/include/weir"
	cp "$WR_TEST_SRCDIR/lib/base/util.h" "$copy/lib/base"
}

public() { # TEXT: a public header with enough comment
	{
		echo '/* SPDX-License-Identifier: MIT */'
		echo '/*'
		for i in 1 2 3 4 5 6 7 8 9 10; do echo " * $i"; done
		echo ' */'
		echo '#include <weir/base.h>'
		printf '%s\n' "$1"
	} >"$copy/include/weir/planted.h"
}

small
passes 'three headers as they are' headers

small
public 'struct weir_planted { struct timespec when; };'
fires 'a public header that leans on another' 'include/weir/planted.h as C99 does not compile alone' headers

small
public 'struct weir_planted { int a; struct { int b; }; };'
fires 'a public header that needs C11' 'include/weir/planted.h as C99 does not compile alone' headers

small
public 'int weir_planted(int class);'
fires 'a public header that C++ refuses' 'include/weir/planted.h as C\+\+11 does not compile alone' headers

small
public '#if WEIR_MISSPELT
int x;
#endif'
fires 'a misspelt macro in a condition' 'planted.h as C99 does not compile alone' headers

small
{
	echo '/* little text */'
	for i in 1 2 3; do echo "int weir_planted_$i(void);"; done
} >"$copy/include/weir/planted.h"
fires 'a public header with little text' 'planted.h: 25 % of its lines are comment' headers

small
echo 'static inline size_t wr_planted(void) { return 0; }' >"$copy/lib/base/planted.h"
fires 'a private header that leans on another' 'lib/base/planted.h does not compile alone' headers

small
echo '/* the name of a public header */' >"$copy/lib/base/base.h"
fires 'a private header with a public name' 'more than one header is called base.h' headers

small
printf '#ifndef WEIR_BASE_H\n#define WEIR_BASE_H\n#endif\n' >"$copy/lib/base/planted.h"
fires 'a guard that is used twice' 'more than one header is guarded by WEIR_BASE_H' headers

small
rm "$copy"/include/weir/*.h
fires 'no public header at all' 'nothing to check' headers

finish
