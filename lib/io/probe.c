/* SPDX-License-Identifier: MIT */
/*
 * What this system gives: whether io_uring may be used, and if not, why; whether a file can be read
 * directly, and with which alignment. Everything is found by trying, at run time; the texts name
 * what a user can change.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "io/io_internal.h"

/* The value of kernel.io_uring_disabled (kernel 6.6 and later), or -1. */
static int io_uring_disabled(void)
{
	char text[16];
	ssize_t n;
	int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	return atoi(text);
}

static const char *refusal_of_permission(void)
{
	switch (io_uring_disabled()) {
	case 2:
		return "kernel.io_uring_disabled is 2";
	case 1:
		return "kernel.io_uring_disabled is 1 and this process is not in "
		       "kernel.io_uring_group";
	default:
		return "by a seccomp filter, as container runtimes install, or a security module";
	}
}

void wr_io_refusal(int code, char *text, size_t text_bytes)
{
	struct rlimit memlock = {0};

	switch (-code) {
	case EPERM:
	case EACCES:
		snprintf(text, text_bytes, "%s (%s)", strerror(-code), refusal_of_permission());
		break;
	case ENOSYS:
		snprintf(text, text_bytes, "%s (a kernel without io_uring, or a seccomp filter)",
			 strerror(-code));
		break;
	case ENOMEM:
		getrlimit(RLIMIT_MEMLOCK, &memlock);
		if (memlock.rlim_cur == RLIM_INFINITY)
			snprintf(text, text_bytes, "%s", strerror(-code));
		else
			snprintf(text, text_bytes, "%s (the memlock limit is %llu KiB: ulimit -l)",
				 strerror(-code), (unsigned long long)memlock.rlim_cur >> 10);
		break;
	default:
		snprintf(text, text_bytes, "%s", strerror(-code));
		break;
	}
}

/*
 * The parts of the kernel's struct statx that say how direct reads must be aligned (Linux 6.1,
 * include/uapi/linux/stat.h). The layout is the system call's and does not change, so no header
 * that is new enough is needed to ask.
 */
struct statx_dio {
	uint32_t mask;
	uint32_t before[37];
	uint32_t memory_align;
	uint32_t offset_align;
	uint32_t after[24];
};

#define STATX_DIO_MASK 0x2000u /* STATX_DIOALIGN */

_Static_assert(offsetof(struct statx_dio, memory_align) == 0x98, "stx_dio_mem_align");
_Static_assert(sizeof(struct statx_dio) == 256, "struct statx");

/* 0, -EOPNOTSUPP (the file has no direct reads), -ENODATA (this kernel or file system cannot say) */
static int ask_alignment(int fd, uint32_t *offset_align, uint32_t *memory_align)
{
	struct statx_dio st = {0};

	if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_DIO_MASK, &st) != 0)
		return -ENODATA;
	if (!(st.mask & STATX_DIO_MASK))
		return -ENODATA;
	if (st.offset_align == 0)
		return -EOPNOTSUPP;
	*offset_align = st.offset_align;
	*memory_align = wr_max(st.memory_align, 1u);
	return 0;
}

/* Where nobody says: one page at offset 0 suits every device that this can be expected to find. */
static int try_alignment(int fd, uint32_t *offset_align, uint32_t *memory_align)
{
	void *page = mmap(NULL, WR_IO_BUF_ALIGN, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ssize_t n;

	if (page == MAP_FAILED)
		return -EOPNOTSUPP;
	n = pread(fd, page, WR_IO_BUF_ALIGN, 0);
	munmap(page, WR_IO_BUF_ALIGN);
	if (n < 0)
		return -EOPNOTSUPP;
	*offset_align = *memory_align = WR_IO_BUF_ALIGN;
	return 0;
}

/*
 * Since Linux 6.6 tmpfs lets itself be opened with O_DIRECT and copies from the page cache all the
 * same (FMODE_CAN_ODIRECT in mm/shmem.c). Its files are memory: nothing can be read past it.
 */
static bool is_memory(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && (fs.f_type == 0x01021994 /* TMPFS_MAGIC */ ||
					 (uint32_t)fs.f_type == 0x858458f6u /* RAMFS_MAGIC */);
}

int wr_io_probe_direct(int fd, uint32_t *ret_offset_align, uint32_t *ret_memory_align)
{
	uint32_t offset_align, memory_align;
	int rc;

	if (is_memory(fd))
		return -EOPNOTSUPP;
	if (fcntl(fd, F_SETFL, O_DIRECT) != 0)
		return -EOPNOTSUPP;
	rc = ask_alignment(fd, &offset_align, &memory_align);
	if (rc == -ENODATA)
		rc = try_alignment(fd, &offset_align, &memory_align);
	if (rc == 0 && (!wr_is_pow2(offset_align) || !wr_is_pow2(memory_align) ||
			offset_align > WR_IO_MIN_CHUNK || memory_align > WR_IO_BUF_ALIGN))
		rc = -EOPNOTSUPP;
	if (rc != 0) {
		/* Cannot fail: every regular file can be read without O_DIRECT. */
		(void)fcntl(fd, F_SETFL, 0);
		return rc;
	}
	*ret_offset_align = offset_align;
	*ret_memory_align = memory_align;
	return 0;
}

/* Linux 6.5, include/uapi/linux/mman.h; the C library has no name for it yet. */
#define SYS_CACHESTAT 451

struct cachestat_range {
	uint64_t offset;
	uint64_t bytes;
};

struct cachestat {
	uint64_t nr_cache;
	uint64_t others[4];
};

/* Less than an eighth in the cache is taken for chance: a header read before, a page or two. */
#define COLD_SHARE 8

/* false: the kernel does not say. */
static bool ask_cached(int fd, uint64_t *ret)
{
	struct cachestat_range whole = {.bytes = 0};
	struct cachestat found = {0};

	if (syscall(SYS_CACHESTAT, fd, &whole, &found, 0) != 0)
		return false;
	*ret = found.nr_cache * (uint64_t)sysconf(_SC_PAGESIZE);
	return true;
}

uint64_t wr_io_probe_cached(int fd)
{
	uint64_t bytes;

	return ask_cached(fd, &bytes) ? bytes : 0;
}

struct wr_io_cache_use wr_io_probe_cache(int fd, uint64_t file_bytes)
{
	struct wr_io_cache_use use = {0};
	uint64_t bytes;
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};

	/* At the end of the file nothing is read, but the flag is looked at. */
	use.dontcache = preadv2(fd, &iov, 1, (off_t)file_bytes, WR_IO_RWF_DONTCACHE) == 0;
	use.cold = ask_cached(fd, &bytes) && bytes <= file_bytes / COLD_SHARE;
	return use;
}
