/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The few kernel structs that the programs read. Only the names of the fields count: where they
 * are in the running kernel is found when the program is loaded (CO-RE), so nothing here need be
 * complete or in order, and no header of a kernel is needed to build.
 *
 * A name that ends in ___x is another shape of the same struct, for kernels that have it.
 */
#ifndef WR_BPF_KERN_H
#define WR_BPF_KERN_H

#include <linux/types.h>
#include <stdbool.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct signal_struct {
	struct {
		int counter;
	} live;
};

struct task_struct {
	unsigned int __state;
	int pid;
	int tgid;
	char comm[16];
	struct signal_struct *signal;
};

#if defined(__TARGET_ARCH_arm64)
struct pt_regs {
	__u64 regs[31];
	__u64 orig_x0;
	int syscallno;
};
#else
struct pt_regs {
	unsigned long si;
	unsigned long di;
	unsigned long dx;
	unsigned long sp;
	unsigned long orig_ax;
};
#endif

struct super_block {
	__u32 s_dev;
};

struct inode {
	unsigned long i_ino;
	struct super_block *i_sb;
};

struct address_space {
	struct inode *host;
};

/* Before Linux 6.18 flags is a number, since then a struct of one. */
struct memdesc_flags {
	unsigned long f;
};

struct folio {
	unsigned long flags;
	struct address_space *mapping;
	unsigned long _flags_1;
};

struct folio___6_18 {
	struct memdesc_flags flags;
};

enum pageflags {
	PG_head = 6,
};

struct io_kiocb {
	__u8 opcode;
};

struct request {
	unsigned int cmd_flags;
	unsigned int __data_len;
};

#pragma clang attribute pop

#endif /* WR_BPF_KERN_H */
