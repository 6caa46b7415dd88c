#!/bin/sh
# SPDX-License-Identifier: MIT
# check-readme fires when the README's program is not one that a stranger can build and run.
. "$(dirname "$0")/tap.sh"

# Installs what this run has built, with the variables it was built with.
cat >"$tap_tmp/make" <<END
#!/bin/sh
exec make -C '$WR_TEST_SRCDIR' "\$@"
END
chmod +x "$tap_tmp/make"

readme() {
	(cd "$copy" && CC=$WR_TEST_CC MAKE=$tap_tmp/make tools/build/check-readme "$tap_tmp/stage" /opt/weir)
}

program() { # TEXT: instead of the README's program
	printf '%s\n' '<!-- example -->' '```c' "$1" '```' >"$copy/README.md"
}

mkdir -p "$copy/include/weir" "$copy/tools"
cp -r "$WR_TEST_SRCDIR/tools/build" "$copy/tools"
cp "$WR_TEST_SRCDIR/include/weir/base.h" "$copy/include/weir"
cp "$WR_TEST_SRCDIR/README.md" "$copy"
passes 'the program as it is' readme

program 'int main(void) { return weir_version(); }'
fires 'a program that does not compile' 'does not compile with the shared library' readme

program '#include "base/util.h"
int main(void) { return 0; }'
fires 'a program that needs a private header' 'does not compile with the archive' readme

program 'int wr_now_ns(void); int main(void) { return wr_now_ns(); }'
fires 'a program that calls a private function' 'does not compile with the shared library' readme

program 'int main(void) { for (int i = 0; i < 1; i++) { } int x = ({ 1; }); return x; }'
fires 'a program that is not C99' 'does not compile with the shared library' readme

program 'int main(void) { return 3; }'
fires 'a program that fails' 'the program fails with the shared library' readme

echo '# weir' >"$copy/README.md"
fires 'no program at all' 'no C program after <!-- example -->' readme

finish
