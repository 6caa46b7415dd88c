#!/bin/sh
# SPDX-License-Identifier: MIT
# A sanitizer's report inside a test fails that test, though the harness leaves through _exit().
. "$(dirname "$0")/tap.sh"

# What `make SAN=... test` would do, for one program in a tree that holds only it.
rm -rf "$copy"
mkdir -p "$copy/lib" "$copy/include/weir" "$copy/docs" "$copy/selftests/x" "$copy/tools"
(cd "$WR_TEST_SRCDIR" && cp Makefile "$copy" && cp -r tools/build "$copy/tools" && cp docs/changes.md "$copy/docs" &&
	cp include/weir/base.h "$copy/include/weir" && cp lib/deps.mk lib/weir.map lib/weir.pc.in "$copy/lib" &&
	cp -r selftests/harness selftests/expected-skips "$copy/selftests" &&
	cp selftests/sanity/faults/lost.c "$copy/selftests/x/lost_test.c")

run() { # SAN
	build SAN="$1" test
}

has() { # SAN: does this compiler have it, and does what it makes start here?
	echo 'int main(void) { return 0; }' >"$tap_tmp/x.c"
	"$WR_TEST_CC" -fsanitize="$1" -o "$tap_tmp/x" "$tap_tmp/x.c" 2>/dev/null && "$tap_tmp/x"
}

passes 'without a sanitizer nothing shows' run ''

if has address,undefined; then
	fires 'lost memory fails its test' 'failed global.memory_is_lost' run address,undefined
	fires 'memory used after its end fails its test' 'failed global.memory_is_used_after_its_end' run address,undefined
	fires 'a sum that wraps fails its test' 'failed global.a_sum_wraps' run address,undefined
	fires 'and nothing else fails' '^1 passed, 3 failed, 0 skipped$' run address,undefined
else
	skip 'address and undefined' "$WR_TEST_CC has no address sanitizer that runs here"
fi
if has thread; then
	fires 'a race fails its test' 'failed global.two_threads_race' run thread
else
	skip 'thread' "$WR_TEST_CC has no thread sanitizer that runs here"
fi

finish
