/* SPDX-License-Identifier: MIT */
/*
 * Links of many places in a file to one program (uprobe_multi, Linux 6.6), by bpf(2) itself: libbpf
 * has them from 1.3 on.
 */
#ifndef WR_TRACE_MULTI_H
#define WR_TRACE_MULTI_H

#include <stdbool.h>
#include <stdint.h>

#define WR_BPF_TRACE_UPROBE_MULTI 48

/* @cookies and @semaphores: one for each place, or NULL. */
struct wr_multi {
	const char *path;
	const uint64_t *offsets;
	const uint64_t *semaphores;
	const uint64_t *cookies;
	uint32_t nr;
	uint32_t pid;
	bool is_return; /* when the function returns */
};

/*
 * A descriptor of the link, or -errno. The program was loaded with the expected attach type
 * WR_BPF_TRACE_UPROBE_MULTI. -EINVAL and -EOPNOTSUPP also stand for a kernel without it.
 */
int wr_multi_link(int program, const struct wr_multi *what);

#if WR_DEBUG
/* Tests: be a kernel without such links. */
extern bool wr_test_no_multi;
#endif

#endif /* WR_TRACE_MULTI_H */
