/* SPDX-License-Identifier: MIT */
/* See trace/multi.h. */
#include "trace/multi.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"

/* union bpf_attr's link_create with uprobe_multi (linux/bpf.h of Linux 6.6), without its end. */
struct link_create {
	uint32_t prog_fd;
	uint32_t target_fd;
	uint32_t attach_type;
	uint32_t flags;
	uint64_t path;
	uint64_t offsets;
	uint64_t ref_ctr_offsets;
	uint64_t cookies;
	uint32_t cnt;
	uint32_t multi_flags;
	uint32_t pid;
	uint32_t pad;
};

_Static_assert(sizeof(struct link_create) == 64, "a layout of the kernel's");

#define UPROBE_MULTI_RETURN 1u

#if WR_DEBUG
bool wr_test_no_multi;
#endif

static uint64_t address_of(const void *p)
{
	return (uintptr_t)p;
}

int wr_multi_link(int program, const struct wr_multi *what)
{
	struct link_create attr;
	long fd;

#if WR_DEBUG
	if (wr_test_no_multi)
		return -EINVAL;
#endif
	memset(&attr, 0, sizeof(attr));
	attr.prog_fd = (uint32_t)program;
	attr.attach_type = WR_BPF_TRACE_UPROBE_MULTI;
	attr.path = address_of(what->path);
	attr.offsets = address_of(what->offsets);
	attr.ref_ctr_offsets = address_of(what->semaphores);
	attr.cookies = address_of(what->cookies);
	attr.cnt = what->nr;
	attr.multi_flags = what->is_return ? UPROBE_MULTI_RETURN : 0;
	attr.pid = what->pid;
	fd = syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
	/* The kernel's own number for what it does not support (524) has no name here. */
	if (fd < 0)
		return errno == 524 ? -EOPNOTSUPP : -errno;
	return (int)fd;
}
