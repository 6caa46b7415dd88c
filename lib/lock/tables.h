/* SPDX-License-Identifier: MIT */
/*
 * The memory that lock times lie in, for who writes it (segment.c) and who reads it (reader.c):
 * either one memfd, or three BPF arrays that a trace of the process has pinned, so that bpftool and
 * the trace see them too. Both are three tables in the layout of weir/trace_abi.h.
 */
#ifndef WR_LOCK_TABLES_H
#define WR_LOCK_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/base.h>
#include <weir/trace_abi.h>

struct wr_lock_tables {
	struct weir_lock_meta *meta;
	struct weir_lock_rank *ranks;
	struct weir_lock_self *slots;
	void *map[3]; /* what is mapped; NULL: nothing */
	size_t bytes[3];
	int fd;		 /* of the memfd, which shows it to others; -1: pinned maps */
	uint32_t pin_id; /* the kernel's number of the pinned array of slots; 0: a memfd */
};

/* A memfd of this process, all zero. 0, -ENOMEM, -EMFILE, -ENFILE, -EPERM, -EOPNOTSUPP. */
int wr_tables_make(struct wr_lock_tables *ret) WEIR_MUST_CHECK;

/*
 * The arrays that a trace of @pid has pinned below @pin_dir; @pid 0: of this process. 0; -ENOENT:
 * there are none, or they are of an earlier process of that number; -EBADMSG: others than those of
 * this version; -EACCES, -EPERM: not ours to use; or why they cannot be mapped.
 */
int wr_tables_open_pinned(const char *pin_dir, int pid, bool write,
			  struct wr_lock_tables *ret) WEIR_MUST_CHECK;

/* The kernel's number of the pinned array of slots, 0: none that can be used. Cheap. */
uint32_t wr_tables_pin_id(const char *pin_dir);

/* Names and sizes, as whoever opens them checks; complete when it returns. */
void wr_tables_fill(struct wr_lock_tables *tables);

void wr_tables_close(struct wr_lock_tables *tables);

#endif /* WR_LOCK_TABLES_H */
