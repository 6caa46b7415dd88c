#!/bin/sh
# SPDX-License-Identifier: MIT
# The programs in docs/allocator-hooks.md compile against the public headers and the library, and run.
. "$(dirname "$0")/../sanity/tap.sh"

program() { # c|c++ FILE: the code after <!-- program: ... -->
	awk -v kind="$1" '$0 == "<!-- program: " kind " -->" { on = 1; next } on && /^```/ { if (code) exit; code = 1; next } code' \
		"$WR_TEST_SRCDIR/docs/allocator-hooks.md" >"$2"
	[ -s "$2" ]
}

compile() { # COMPILER STANDARD SOURCE PROGRAM
	"$1" -std="$2" -Wall -Wextra -Werror -g -I"$WR_TEST_SRCDIR/include" -o "$4" "$3" \
		-L"$WR_TEST_BUILD" -lweir -pthread $san
}

run() {
	LD_LIBRARY_PATH="$WR_TEST_BUILD" "$1"
}

# The flavour under test may need its sanitizer in the program, too.
san=$(basename "$WR_TEST_BUILD" | sed -n 's/^san-//p' | tr - ,)
san=${san:+-fsanitize=$san}

passes 'the document has a C program' program c "$tap_tmp/hook.c"
passes 'the buffer type compiles' compile "$WR_TEST_CC" c99 "$tap_tmp/hook.c" "$tap_tmp/hook"
passes 'the buffer type runs' run "$tap_tmp/hook"
passes 'the document has a C++ program' program c++ "$tap_tmp/hook.cc"
if ! command -v "$WR_TEST_CXX" >/dev/null; then
	skip 'the memory resource compiles' 'a C++ compiler'
else
	passes 'the memory resource compiles' compile "$WR_TEST_CXX" c++17 "$tap_tmp/hook.cc" "$tap_tmp/hookcc"
	passes 'the memory resource runs' run "$tap_tmp/hookcc"
fi
finish
