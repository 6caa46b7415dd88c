#!/bin/sh
# SPDX-License-Identifier: MIT
# check-arrows fires on each kind of wrong arrow, and not on the tree as it is.
. "$(dirname "$0")/tap.sh"

arrows() {
	(cd "$copy" && tools/build/check-arrows "$tap_tmp/obj")
}

start() { # a fresh tree and its objects; the objects of a module with planted sources are added by plant
	fresh
	rm -rf "$tap_tmp/obj"
	cp -r "$WR_TEST_BUILD/obj" "$tap_tmp/obj"
}

plant() { # FILE.c TEXT: the source and its object
	mkdir -p "$(dirname "$copy/$1")" "$(dirname "$tap_tmp/obj/$1")"
	printf '%s\n' "$2" >"$copy/$1"
	(cd "$copy" && "$WR_TEST_CC" -D_GNU_SOURCE -Iinclude -Ilib -fPIC -fvisibility=hidden -c -o "$tap_tmp/obj/${1%.c}.o" "$1")
}

start
passes 'the tree as it is' arrows

start
plant lib/aaa/aaa.c 'int wr_aaa_f(void); int wr_aaa_f(void) { return 0; }'
fires 'a module without a line' 'lib/aaa is not in lib/deps.mk' arrows

start
echo 'deps_nowhere := base' >>"$copy/lib/deps.mk"
fires 'a line without a module' 'names nowhere, which has no sources' arrows

start
plant lib/aaa/aaa.c 'int x;'
sed -i '/^deps_base/i deps_aaa := base' "$copy/lib/deps.mk"
fires 'a line that names a module below it' 'aaa names base, which is not on a line above' arrows

start
plant lib/aaa/aaa.c '#include "base/util.h"'
echo 'deps_aaa :=' >>"$copy/lib/deps.mk"
fires 'an include that turns back' 'aaa.c includes base/util.h: aaa does not name base' arrows

start
plant lib/aaa/aaa.c '#include <weir/base.h>'
echo 'deps_aaa :=' >>"$copy/lib/deps.mk"
fires 'a public include that turns back' 'aaa.c includes weir/base.h: aaa does not name base' arrows

start
plant lib/aaa/aaa.c 'const char *weir_strerror(int); int wr_aaa_f(void); int wr_aaa_f(void) { return !weir_strerror(0); }'
echo 'deps_aaa :=' >>"$copy/lib/deps.mk"
fires 'a call that no include shows' 'aaa.o calls weir_strerror: aaa does not name base' arrows

start
plant lib/aaa/aaa.c 'void wr_aaa_g(void); void wr_aaa_f(void); void wr_aaa_f(void) { wr_aaa_g(); }'
echo 'deps_aaa :=' >>"$copy/lib/deps.mk"
fires 'a call that nobody answers' 'calls wr_aaa_g, which nobody defines' arrows

start
plant lib/aaa/aaa.c 'int x;'
echo 'deps_aaa := base' >>"$copy/lib/deps.mk"
fires 'an arrow that nobody uses' 'aaa names base and does not use it' arrows

start
plant lib/aaa/aaa.c '#include "elsewhere.h"' 2>/dev/null
fires 'a header of another folder without its module' '"elsewhere.h" is not beside it' arrows

start
mkdir -p "$copy/tools/weir/planted"
echo 'int y;' >"$copy/tools/weir/planted/of_a_part.h"
plant tools/weir/planted.c '#include "of_a_part.h"'
passes 'a header of another part of the tool' arrows
plant tools/weir/planted.c '#include "of_no_part.h"'
fires 'a header of no part of the tool' '"of_no_part.h" is not beside it' arrows

start
plant lib/aaa/aaa.c 'int x;'
echo 'int y;' >"$copy/lib/aaa/aaa_priv.h"
echo 'deps_aaa :=' >>"$copy/lib/deps.mk"
plant tools/weir/planted.c '#include "aaa/aaa_priv.h"'
fires 'a tool that looks into a module' 'planted.c includes aaa/aaa_priv.h: tools use public headers' arrows

echo 'deps_tools := aaa' >>"$copy/lib/deps.mk"
passes 'a tool whose line names the module' arrows
plant tools/weir/planted.c 'int z;'
fires 'a module that tools name and do not use' 'tools names aaa and does not use it' arrows

start
plant lib/aaa/aaa.c 'void wr_aaa_f(void); void wr_aaa_f(void) { }'
echo 'deps_aaa :=' >>"$copy/lib/deps.mk"
plant tools/weir/planted.c 'void wr_aaa_f(void); void planted(void); void planted(void) { wr_aaa_f(); }'
fires 'a tool that calls into a module' 'planted.o calls wr_aaa_f: tools use public headers' arrows

start
printf '#include "base/util.h"\n' >>"$copy/include/weir/base.h"
fires 'a public header that needs a private one' 'a public header includes a private one' arrows

start
rm -rf "$tap_tmp/obj" "$copy"/lib/*/
fires 'an empty tree' 'nothing to check' arrows

finish
