/* SPDX-License-Identifier: MIT */
/* The compiled programs of bpf/, as bytes in this object. */
#include "trace/programs.h"

#if WR_TRACE_BPF

/* For readers of the source that do not assemble it. */
#ifndef WR_BPF_DIR
#define WR_BPF_DIR "bpf"
#endif

/* WR_BPF_DIR comes from the Makefile, which also knows that this file depends on the objects. */
#define PROGRAM(name, parts_)                                                          \
	__asm__(".pushsection .rodata\n"                                               \
		".balign 8\n"                                                          \
		".local wr_bpf_" #name "_begin\n"                                      \
		"wr_bpf_" #name "_begin: .incbin \"" WR_BPF_DIR "/" #name ".bpf.o\"\n" \
		".local wr_bpf_" #name "_end\n"                                        \
		"wr_bpf_" #name "_end: .byte 0\n"                                      \
		".popsection\n");                                                      \
	extern const char wr_bpf_##name##_begin[], wr_bpf_##name##_end[];
WR_TRACE_PROGRAMS(PROGRAM)
#undef PROGRAM

const struct wr_trace_program wr_trace_programs[WR_TRACE_NR_PROGRAMS] = {
#define PROGRAM(name, parts_) {#name, parts_, wr_bpf_##name##_begin, wr_bpf_##name##_end},
	WR_TRACE_PROGRAMS(PROGRAM)
#undef PROGRAM
};

#endif
