#!/bin/sh
# SPDX-License-Identifier: MIT
# check-symbols fires when library, map and headers differ in any direction.
. "$(dirname "$0")/tap.sh"

so=$(ls "$WR_TEST_BUILD"/libweir.so.*.*.*)

symbols() {
	(cd "$copy" && tools/build/check-symbols "${1:-$so}" "${2:-$WR_TEST_BUILD/libweir.a}")
}

object() { # TEXT: $tap_tmp/planted.o
	printf '%s\n' "$1" >"$tap_tmp/planted.c"
	"$WR_TEST_CC" -fPIC -c -o "$tap_tmp/planted.o" "$tap_tmp/planted.c"
}

archive() { # TEXT: the archive with one more object
	object "$1"
	cp "$WR_TEST_BUILD/libweir.a" "$tap_tmp/planted.a"
	ar rc "$tap_tmp/planted.a" "$tap_tmp/planted.o"
}

fresh
passes 'the tree as it is' symbols

sed -i 's/^\tweir_version;/&\n\tweir_planted;/' "$copy/lib/weir.map"
fires 'a name in the map that nobody exports' 'weir_planted is in lib/weir.map but not exported' symbols
fires 'a name in the map that no header declares' 'weir_planted is in lib/weir.map but no header' symbols

fresh
sed -i '/^\tweir_version;/d' "$copy/lib/weir.map"
fires 'an export that the map lacks' 'weir_version is exported but not in lib/weir.map' symbols
fires 'a declaration that the map lacks' 'weir_version is WEIR_API but not in lib/weir.map' symbols

fresh
sed -i 's/^\tweir_version;/&\n&/' "$copy/lib/weir.map"
fires 'a name that stands twice' 'weir_version stands twice' symbols

fresh
sed -i 's/^WEIR_API const char \*weir_version/const char *weir_version/' "$copy/include/weir/base.h"
fires 'a header that lost its mark' 'weir_version is in lib/weir.map but no header' symbols

fresh
sed -i 's/^WEIR_API const char \*weir_version/WEIR_API WEIR_MUST_CHECK int\n\tweir_planted(int a,\n\t\t int b);\n&/' "$copy/include/weir/base.h"
fires 'a declaration over several lines' 'weir_planted is WEIR_API but not in lib/weir.map' symbols

fresh
archive 'int stray; int stray = 1;'
fires 'a global without our prefix' 'stray is global in planted.a without our prefix' symbols "$so" "$tap_tmp/planted.a"

archive 'void weir_hidden(void); __attribute__((visibility("hidden"))) void weir_hidden(void) { }'
fires 'a public name that is not exported' 'weir_hidden is global in planted.a but not exported' \
	symbols "$so" "$tap_tmp/planted.a"

object 'int weir_extra; int weir_extra = 1;'
"$WR_TEST_CC" -shared -o "$tap_tmp/planted.so" "$tap_tmp/planted.o" -Wl,--whole-archive "$WR_TEST_BUILD/libweir.a" \
	-Wl,--no-whole-archive
fires 'an export that the version script did not stop' 'weir_extra is exported but not in lib/weir.map' \
	symbols "$tap_tmp/planted.so"

echo 'static int nothing;' >"$tap_tmp/empty.c"
"$WR_TEST_CC" -shared -fPIC -o "$tap_tmp/empty.so" "$tap_tmp/empty.c"
fires 'a library that exports nothing' 'nothing to check' symbols "$tap_tmp/empty.so"

finish
