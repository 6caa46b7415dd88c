#!/bin/sh
# SPDX-License-Identifier: MIT
# The build stops on disagreeing versions and unknown switches, and rebuilds on changed flags and removed sources.
. "$(dirname "$0")/tap.sh"

says() { # PATTERN command...: succeeds and says it
	pattern=$1
	shift
	"$@" >"$tap_tmp/says" 2>&1 || { cat "$tap_tmp/says"; return 1; }
	cat "$tap_tmp/says"
	grep -qE -- "$pattern" "$tap_tmp/says"
}

quiet() { # command...: succeeds and compiles nothing
	"$@" >"$tap_tmp/says" 2>&1 || { cat "$tap_tmp/says"; return 1; }
	cat "$tap_tmp/says"
	! grep -qE ' (CC|LD|AR|PROBE) ' "$tap_tmp/says"
}

# A tree of one module, one tool and no tests: what is looked at is the Makefile.
small() {
	rm -rf "$copy"
	mkdir -p "$copy/lib/base" "$copy/include/weir" "$copy/tools/weir" "$copy/docs" "$copy/selftests"
	(cd "$WR_TEST_SRCDIR" && cp -r Makefile "$copy" && cp -r tools/build "$copy/tools" && cp docs/changes.md "$copy/docs" &&
		cp include/weir/base.h "$copy/include/weir" && cp lib/deps.mk lib/weir.map lib/weir.pc.in "$copy/lib")
	printf '#include <weir/base.h>\nconst char *weir_version(void) { return "x"; }\n' >"$copy/lib/base/a.c"
	printf '#include <weir/base.h>\nconst char *weir_strerror(int c) { return c ? "y" : "n"; }\n' >"$copy/lib/base/b.c"
	printf '#include <weir/base.h>\nint main(void) { return !weir_version(); }\n' >"$copy/tools/weir/main.c"
}

small
passes 'a small tree builds' build
passes 'a second run does nothing' quiet build
passes 'changed flags rebuild' says 'CC +obj/lib/base/a.o' build CFLAGS=-O1
passes 'the same flags again do not' quiet build CFLAGS=-O1
passes 'a switch rebuilds' says 'CC +obj/lib/base/a.o' build CFLAGS=-O1 NO_STATX_DIOALIGN=1
echo '/* more */' >>"$copy/include/weir/base.h"
passes 'a changed header rebuilds' says 'CC +obj/tools/weir/main.o' build CFLAGS=-O1 NO_STATX_DIOALIGN=1
rm "$copy/lib/base/b.c"
passes 'a removed source leaves the archive' says 'AR +libweir.a' build CFLAGS=-O1
fires 'with all it held' 'absent' sh -c "ar t '$copy/build/libweir.a' | grep b.o || { echo absent; exit 1; }"
passes 'another folder' build O="$tap_tmp/elsewhere"
passes 'which holds the library' test -e "$tap_tmp/elsewhere/libweir.so.0"
passes 'sanitizers have their own' says 'CC +obj/lib/base/a.o' build SAN=undefined
passes 'which is this' test -e "$copy/build/san-undefined/libweir.a"

printf 'int f(void) { int unused; return 0; }\n' >"$copy/lib/base/c.c"
passes 'a warning is a warning' build
fires 'unless told otherwise' 'error: ' build WERROR=1
printf '#if HAVE_MISSPELT\n#endif\nint wr_x;\n' >"$copy/lib/base/c.c"
fires 'a misspelt macro stops the build' 'HAVE_MISSPELT' build WERROR=1

small
fires 'an unknown switch stops' 'NO_PLANTED: no such feature' build NO_PLANTED=1
fires 'a required feature that is off stops, with its package' 'liburing-dev' build NO_LIBURING=1
printf '/* feature: required pkg=planted-lib deb=libplanted-dev */\nint main(void) { return 0; }\n' \
	>"$copy/tools/build/feature/planted.c"
fires 'a missing library stops, with its package' 'install libplanted-dev, or run' build
sed -i 's/required/optional/' "$copy/tools/build/feature/planted.c"
passes 'an optional one does not' build
passes 'and is 0' grep -q '#define HAVE_PLANTED 0' "$copy/build/config.h"

sed -i 's/^## 0.1.0/## 0.1.1/' "$copy/docs/changes.md"
fires 'change notes of another version stop' "docs/changes.md begins with '0.1.1'" build
small
sed -i 's/WEIR_VERSION_MINOR 1/WEIR_VERSION_MINOR 2/' "$copy/include/weir/base.h"
sed -i 's/^## 0.1.0/## 0.2.0/' "$copy/docs/changes.md"
fires 'a map of another version stops' "lib/weir.map ends with '0.1'" build

finish
