# SPDX-License-Identifier: MIT
# Sourced by the tests of the checks: TAP output, and a copy of the tree in which faults are planted.
#
#   fires NAME PATTERN command...    the command must fail and print a line matching PATTERN (grep -E)
#   passes NAME command...           the command must succeed
#   skip NAME REASON                 this machine lacks something
#   fresh                            (re)make $copy from the sources of the tree, without data and what was built
#   build ARGUMENT...                make in $copy, with none of the variables this run was started with
#   finish                           print the plan
#
# The environment is that of `make test`: WR_TEST_SRCDIR, WR_TEST_BUILD, WR_TEST_CC and the like.

: "${WR_TEST_SRCDIR:=$(cd "$(dirname "$0")/../.." && pwd)}"
: "${WR_TEST_BUILD:=$WR_TEST_SRCDIR/build}"
: "${WR_TEST_CC:=gcc}"
: "${WR_TEST_CXX:=g++}"
: "${WR_TEST_KSELFTEST:=$WR_TEST_SRCDIR/build/kselftest}"

tap_count=0 tap_failed=0
tap_tmp=$(mktemp -d)
copy=$tap_tmp/tree
trap 'rm -rf "$tap_tmp"' EXIT
trap 'exit 130' INT TERM
echo 'TAP version 13'

tap_result() { # ok|not NAME
	tap_count=$((tap_count + 1))
	if [ "$1" = ok ]; then
		echo "ok $tap_count $2"
		return
	fi
	tap_failed=$((tap_failed + 1))
	sed 's/^/# /' "$tap_tmp/out"
	echo "not ok $tap_count $2"
}

fires() {
	tap_name=$1
	tap_pattern=$2
	shift 2
	if "$@" >"$tap_tmp/out" 2>&1; then
		echo '(it passed)' >>"$tap_tmp/out"
		tap_result not "$tap_name"
	elif ! grep -qE -- "$tap_pattern" "$tap_tmp/out"; then
		echo "(it failed, and did not say $tap_pattern)" >>"$tap_tmp/out"
		tap_result not "$tap_name"
	else
		tap_result ok "$tap_name"
	fi
}

passes() {
	tap_name=$1
	shift
	if "$@" >"$tap_tmp/out" 2>&1; then tap_result ok "$tap_name"; else tap_result not "$tap_name"; fi
}

skip() {
	tap_count=$((tap_count + 1))
	echo "ok $tap_count $1 # SKIP $2"
}

tap_sources() {
	if [ -e .git ] && git ls-files -co --exclude-standard >"$tap_tmp/files" 2>/dev/null; then
		while read -r f; do [ -f "$f" ] && echo "$f"; done <"$tap_tmp/files"
	else
		find . -path ./build -prune -o -type f -print
	fi
}

fresh() {
	[ -f "$tap_tmp/tree.tar" ] ||
		(cd "$WR_TEST_SRCDIR" && tap_sources | grep -v '^selftests/data/' | tar -cf "$tap_tmp/tree.tar" -T -)
	rm -rf "$copy"
	mkdir -p "$copy"
	tar -xf "$tap_tmp/tree.tar" -C "$copy"
}

build() {
	(cd "$copy" && env -i PATH="$PATH" HOME="${HOME:-/}" make --no-print-directory CC="$WR_TEST_CC" \
		KSELFTEST_DIR="$WR_TEST_KSELFTEST" "$@")
}

finish() {
	echo "1..$tap_count"
	[ $tap_failed = 0 ]
	exit
}
