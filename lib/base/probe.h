/* SPDX-License-Identifier: MIT */
/*
 * Probe sites that tracers find in the binary: provider "weir", a name, arguments in registers.
 * gdb, perf, bpftrace and libbpf know the format; nothing of systemtap is needed to build.
 *
 * A site is two one-byte nops and a note in .note.stapsdt, in the format of systemtap's
 * sys/sdt.h ("UserSpaceProbeImplementation" in its wiki): name "stapsdt", type 3, and as contents
 * three addresses (site, section .stapsdt.base, semaphore) and three texts (provider, name,
 * arguments as size@operand). Two choices differ from sys/sdt.h:
 *
 * - Operands are registers only. libbpf 1.1 cannot read a thread-local one in memory.
 * - Two nops of one byte. Kernels from 6.18 replace a nop of five bytes by a call, which writes
 *   below the stack pointer, where a leaf function may keep data; libbpf from 1.7 moves a probe to
 *   the nop of five bytes that follows one of one byte (libbpf/usdt, commit b0144b0). A second
 *   one-byte nop keeps whatever the compiler puts next from looking like that.
 *   tools/build/check-probes looks at the bytes of what was built.
 *
 * Each probe has one semaphore, defined once: tracers raise it while they look. Ask
 * wr_probe_enabled() before doing work for the arguments; that is one load and a branch.
 *
 *   WR_PROBE_DECLARE(lock_release);      in a header
 *   WR_PROBE_DEFINE(lock_release);       in one .c file
 *   if (wr_probe_enabled(lock_release))
 *           wr_probe3(lock_release, lock, wait_ns, hold_ns);
 */
#ifndef WR_BASE_PROBE_H
#define WR_BASE_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/util.h"

#ifndef WR_PROBES
#if WR_INSTRUMENT && defined(__ELF__) && defined(__LP64__) && \
	(defined(__x86_64__) || defined(__aarch64__))
#define WR_PROBES 1
#else
#define WR_PROBES 0
#endif
#endif

#if WR_PROBES

#define WR_PROBE_DECLARE(name) \
	extern volatile unsigned short wr_probe_##name __attribute__((visibility("hidden")))
#define WR_PROBE_DEFINE(name) \
	volatile unsigned short wr_probe_##name __attribute__((section(".probes"), used)) = 0
#define wr_probe_enabled(name) __builtin_expect(wr_probe_##name != 0, 0)

#if defined(__x86_64__)
#define WR_PROBE_NOPS ".byte 0x90, 0x90\n"
#else
#define WR_PROBE_NOPS "nop\nnop\n"
#endif

/* .stapsdt.base tells a tracer how far prelink moved the file; one in each object, merged. */
#define WR_PROBE_SITE(name, args)                                                 \
	"990: " WR_PROBE_NOPS ".pushsection .note.stapsdt, \"\", %%note\n"        \
	".balign 4\n"                                                             \
	".4byte 992f - 991f, 994f - 993f, 3\n"                                    \
	"991: .asciz \"stapsdt\"\n"                                               \
	"992: .balign 4\n"                                                        \
	"993: .8byte 990b\n"                                                      \
	".8byte _.stapsdt.base\n"                                                 \
	".8byte wr_probe_" #name "\n"                                             \
	".asciz \"weir\"\n"                                                       \
	".asciz \"" #name "\"\n"                                                  \
	".asciz \"" args "\"\n"                                                   \
	"994: .balign 4\n"                                                        \
	".popsection\n"                                                           \
	".ifndef _.stapsdt.base\n"                                                \
	".pushsection .stapsdt.base, \"aG\", %%progbits, .stapsdt.base, comdat\n" \
	".weak _.stapsdt.base\n"                                                  \
	".hidden _.stapsdt.base\n"                                                \
	"_.stapsdt.base: .space 1\n"                                              \
	".size _.stapsdt.base, 1\n"                                               \
	".popsection\n"                                                           \
	".endif\n"

#define WR_PROBE_ARG(x) "r"((uint64_t)(x))
#define wr_probe2(name, a, b) \
	__asm__ volatile(WR_PROBE_SITE(name, "8@%0 8@%1")::WR_PROBE_ARG(a), WR_PROBE_ARG(b))
#define wr_probe3(name, a, b, c)                                                                  \
	__asm__ volatile(WR_PROBE_SITE(name, "8@%0 8@%1 8@%2")::WR_PROBE_ARG(a), WR_PROBE_ARG(b), \
			 WR_PROBE_ARG(c))

#else

/* What a file may say any number of times. */
#define WR_PROBE_DECLARE(name)	 struct wr_probe_##name
#define WR_PROBE_DEFINE(name)	 struct wr_probe_##name
#define wr_probe_enabled(name)	 false
#define wr_probe2(name, a, b)	 ((void)(a), (void)(b))
#define wr_probe3(name, a, b, c) ((void)(a), (void)(b), (void)(c))

#endif

#endif /* WR_BASE_PROBE_H */
