#!/bin/sh
# SPDX-License-Identifier: MIT
# weir's formats against readers and writers that nobody here wrote: the public packages safetensors
# and gguf. Makes a virtual environment in the build folder the first time (python3-venv, PyPI).
# Ends with "N passed, N failed, N skipped"; exit 0 all passed or skipped, 1 a failure, 4 nothing run.
#
#   O=build          the build folder
#   WEIR_BIN=        the binary, $O/weir by default
set -u

cd "$(dirname "$0")/../.." || exit 1
O=${O:-build}
weir=${WEIR_BIN:-$O/weir}
venv=$O/interop/venv
work=$O/interop/work

skip()
{
	echo "skipped: $1"
	echo "0 passed, 0 failed, 1 skipped"
	exit 4
}

[ -x "$weir" ] || skip "$weir is missing: run make first"
if ! [ -x "$venv/bin/python" ]; then
	mkdir -p "$O/interop"
	python3 -m venv "$venv" || { rm -rf "$venv"; skip "python3-venv is missing"; }
fi
if ! "$venv/bin/python" -c 'import gguf, numpy, safetensors, xxhash' 2>/dev/null; then
	"$venv/bin/pip" install -q --disable-pip-version-check \
		-r selftests/interop/requirements.txt || skip "PyPI cannot be reached"
fi
rm -rf "$work"
mkdir -p "$work"
"$venv/bin/python" -B selftests/interop/interop.py "$weir" "$work"
status=$?
rm -rf "$work"
exit $status
