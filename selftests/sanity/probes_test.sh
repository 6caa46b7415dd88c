#!/bin/sh
# SPDX-License-Identifier: MIT
# check-probes fires on each way in which a probe site can be wrong.
. "$(dirname "$0")/tap.sh"

check() { # FILE...
	(cd "$WR_TEST_SRCDIR" && tools/build/check-probes "$@")
}

# A library with the sites of TEXT. SITE(semaphore, arguments, provider, code) plants one whose code is stated.
planted() { # TEXT
	cat >"$tap_tmp/planted.c" <<-END
		#include "base/probe.h"
		#define SITE(semaphore, args, provider, code) \\
			__asm__ volatile("990: " code "\\n" \\
				".pushsection .note.stapsdt, \"\", %%note\\n.balign 4\\n" \\
				".4byte 992f - 991f, 994f - 993f, 3\\n991: .asciz \"stapsdt\"\\n" \\
				"992: .balign 4\\n993: .8byte 990b\\n.8byte 0\\n.8byte " semaphore "\\n" \\
				".asciz \"" provider "\"\\n.asciz \"planted\"\\n.asciz \"" args "\"\\n" \\
				"994: .balign 4\\n.popsection\\n" : : "r"(1ul))
		WR_PROBE_DECLARE(planted);
		WR_PROBE_DEFINE(planted);
		WR_PROBE_DECLARE(second);
		WR_PROBE_DEFINE(second);
		void f(void *p);
		void f(void *p) { (void)p; $1 }
	END
	"$WR_TEST_CC" -std=c11 -D_GNU_SOURCE -O1 -fPIC -shared -I"$WR_TEST_SRCDIR/include" -I"$WR_TEST_SRCDIR/lib" -o "$tap_tmp/planted.so" "$tap_tmp/planted.c" &&
		check "$tap_tmp/planted.so"
}

ours='wr_probe2(planted, (uintptr_t)p, 5);'
ok='"wr_probe_planted", "8@%0", "weir"'

if [ "$(uname -m)" != x86_64 ]; then
	skip 'sites with faults' 'the planted ones are for x86-64'
	finish
fi
passes 'the libraries as they are' check "$WR_TEST_BUILD"/libweir.so.*.*.* "$WR_TEST_BUILD/weir"
passes 'a site made by the header' planted "$ours"
passes 'a site made by hand as it should be' planted "SITE($ok, \".byte 0x90, 0x90\");"
passes 'a site before a nop of five bytes that is not its own' planted \
	"SITE($ok, \".byte 0x90, 0x90, 0x0f, 0x1f, 0x44, 0, 0\");"
fires 'a nop of five bytes' 'mistaken for a nop of five' planted \
	"SITE($ok, \".byte 0x0f, 0x1f, 0x44, 0, 0\");"
fires 'a nop of one byte before one of five' 'mistaken for a nop of five' planted \
	"SITE($ok, \".byte 0x90, 0x0f, 0x1f, 0x44, 0, 0\");"
fires 'one nop only' 'not with two one-byte nops' planted "SITE($ok, \".byte 0x90, 0xc3\");"
fires 'a wrong site among right ones' 'not with two one-byte nops' planted \
	"$ours SITE($ok, \".byte 0xcc, 0x90\");"
fires 'no semaphore' 'has no semaphore' planted 'SITE("0", "8@%0", "weir", ".byte 0x90, 0x90");'
fires 'two semaphores of one probe' 'more than one semaphore' planted \
	"$ours SITE(\"wr_probe_second\", \"8@%0\", \"weir\", \".byte 0x90, 0x90\");"
fires 'a semaphore of two probes' 'share the semaphore' planted \
	'wr_probe2(second, 1, 2); SITE("wr_probe_second", "8@%0", "weir", ".byte 0x90, 0x90");'
fires 'an argument in memory' 'not 8 bytes in a register' planted \
	'SITE("wr_probe_planted", "8@-8(%%rsp)", "weir", ".byte 0x90, 0x90");'
fires 'an argument that is thread-local' 'not 8 bytes in a register' planted \
	'SITE("wr_probe_planted", "8@%%fs:8", "weir", ".byte 0x90, 0x90");'
fires 'a narrow argument' 'not 8 bytes in a register' planted \
	'SITE("wr_probe_planted", "4@%%edi", "weir", ".byte 0x90, 0x90");'
fires 'another provider' 'provider is not weir' planted \
	'SITE("wr_probe_planted", "8@%0", "other", ".byte 0x90, 0x90");'
fires 'a file without sites' 'has no probe sites' planted ''
fires 'nothing to check' ' 0 sites in 0 files' check
finish
