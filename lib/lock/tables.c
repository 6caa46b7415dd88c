/* SPDX-License-Identifier: MIT */
/*
 * See lock/tables.h. The pinned arrays are reached by bpf(2) itself: what is needed of it is two
 * commands, and libbpf may not be there.
 */
#include "lock/tables.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/process.h"
#include "base/util.h"
#include "lock/lock.h"

#define RANKS_AT  wr_align_up(sizeof(struct weir_lock_meta), WR_CACHE_LINE)
#define SLOTS_AT  wr_align_up(RANKS_AT + WR_NR_RANKS * sizeof(struct weir_lock_rank), 4096)
#define ALL_BYTES (SLOTS_AT + WEIR_LOCK_SLOTS * sizeof(struct weir_lock_self))

_Static_assert(WR_NR_RANKS <= WEIR_LOCK_RANKS, "the pinned array has room for every rank");
_Static_assert(sizeof(struct weir_lock_self) % 8 == 0 && sizeof(struct weir_lock_rank) % 8 == 0,
	       "a BPF array has no gaps between such elements");

/* Sealed: a reader must not be cut off from what it has mapped. */
static int make_file(void)
{
	int fd = memfd_create(WEIR_LOCK_MEMFD, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int rc;

	if (fd < 0)
		return errno == ENOSYS ? -EOPNOTSUPP : -errno;
	if (ftruncate(fd, ALL_BYTES) != 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

int wr_tables_make(struct wr_lock_tables *ret)
{
	int fd = make_file();
	char *base;

	if (fd < 0)
		return fd;
	base = mmap(NULL, ALL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED) {
		close(fd);
		return -ENOMEM;
	}
	*ret = (struct wr_lock_tables){
		.meta = (struct weir_lock_meta *)(void *)base,
		.ranks = (struct weir_lock_rank *)(void *)(base + RANKS_AT),
		.slots = (struct weir_lock_self *)(void *)(base + SLOTS_AT),
		.map = {base},
		.bytes = {ALL_BYTES},
		.fd = fd,
	};
	return 0;
}

void wr_tables_fill(struct wr_lock_tables *tables)
{
	bool file = tables->fd >= 0;

	*tables->meta = (struct weir_lock_meta){
		.abi = WEIR_LOCK_ABI,
		.tgid = (__u32)getpid(),
		.started_ns = wr_now_ns(),
		.nr_ranks = WR_NR_RANKS,
		.nr_slots = WEIR_LOCK_SLOTS,
		.rank_bytes = sizeof(struct weir_lock_rank),
		.slot_bytes = sizeof(struct weir_lock_self),
		.ranks_at = file ? RANKS_AT : 0,
		.slots_at = file ? SLOTS_AT : 0,
		.start_ticks = wr_process_start_ticks(0),
	};
	for (unsigned i = 0; i < WR_NR_RANKS; i++) {
		strncpy(tables->ranks[i].name, wr_lock_rank_name(i),
			sizeof(tables->ranks[i].name) - 1);
		tables->ranks[i].flags = wr_lock_rank_flags(i);
	}
	/* R1: pairs with the acquire in weir_lock_reader_open(). */
	__atomic_store_n(&tables->meta->magic, WEIR_LOCK_MAGIC, __ATOMIC_RELEASE);
}

void wr_tables_close(struct wr_lock_tables *tables)
{
	for (int i = 0; i < 3; i++) {
		if (tables->map[i] != NULL)
			munmap(tables->map[i], tables->bytes[i]);
		tables->map[i] = NULL;
	}
	if (tables->fd >= 0)
		close(tables->fd);
	tables->fd = -1;
}

static const struct {
	const char *name;
	uint32_t value_bytes, nr;
} pins[3] = {
	{"lock_meta", sizeof(struct weir_lock_meta), 1},
	{"lock_ranks", sizeof(struct weir_lock_rank), WEIR_LOCK_RANKS},
	{"lock_self", sizeof(struct weir_lock_self), WEIR_LOCK_SLOTS},
};

static int bpf(int command, union bpf_attr *attr)
{
	long rc = syscall(SYS_bpf, command, attr, sizeof(*attr));

	return rc < 0 ? -errno : (int)rc;
}

/*
 * The folder of a trace. Anyone may make one beside it, so what counts is whose it is: times and
 * addresses of ours are for root and ourselves.
 */
static int open_folder(const char *pin_dir, int pid)
{
	char path[288];
	struct stat st;
	int n = snprintf(path, sizeof(path), "%s/%d", pin_dir, pid), fd;

	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENOENT;
	fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOTDIR || errno == ELOOP ? -ENOENT : -errno;
	if (fstat(fd, &st) != 0 || (st.st_uid != 0 && st.st_uid != geteuid()) ||
	    (st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
		close(fd);
		return -ENOENT;
	}
	return fd;
}

/* Always for writing: the kernel maps an array for reading only through such a descriptor, too. */
static int get_pin(int folder, int which)
{
	union bpf_attr attr;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", folder, pins[which].name);
	memset(&attr, 0, sizeof(attr));
	attr.pathname = (uintptr_t)path;
	return bpf(BPF_OBJ_GET, &attr);
}

/* What is pinned there may be of another version, or of somebody who chose the same names. */
static int check_map(int fd, int which, uint32_t *ret_id)
{
	struct bpf_map_info info = {0};
	union bpf_attr attr;
	int rc;

	memset(&attr, 0, sizeof(attr));
	attr.info.bpf_fd = (uint32_t)fd;
	attr.info.info_len = sizeof(info);
	attr.info.info = (uintptr_t)&info;
	rc = bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
	if (rc != 0)
		return rc;
	*ret_id = info.id;
	return info.type == BPF_MAP_TYPE_ARRAY && (info.map_flags & BPF_F_MMAPABLE) != 0 &&
			       info.value_size == pins[which].value_bytes &&
			       info.max_entries == pins[which].nr
		       ? 0
		       : -EBADMSG;
}

static int map_pin(struct wr_lock_tables *t, int folder, int which, bool write)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int fd = get_pin(folder, which);
	void *base;
	int rc;

	if (fd < 0)
		return fd;
	rc = check_map(fd, which, &t->pin_id);
	if (rc == 0) {
		t->bytes[which] =
			wr_align_up((size_t)pins[which].value_bytes * pins[which].nr, page);
		base = mmap(NULL, t->bytes[which], write ? PROT_READ | PROT_WRITE : PROT_READ,
			    MAP_SHARED, fd, 0);
		if (base != MAP_FAILED)
			t->map[which] = base;
		else
			rc = -errno;
	}
	close(fd);
	return rc;
}

/* What the trace wrote when it began: the process that it is of. */
static bool is_of(const struct wr_lock_tables *t, int pid)
{
	return __atomic_load_n(&t->meta->tgid, __ATOMIC_RELAXED) == (uint32_t)pid &&
	       __atomic_load_n(&t->meta->start_ticks, __ATOMIC_RELAXED) ==
		       wr_process_start_ticks(pid);
}

int wr_tables_open_pinned(const char *pin_dir, int pid, bool write, struct wr_lock_tables *ret)
{
	struct wr_lock_tables t = {.fd = -1};
	int folder, rc = 0;

	pid = pid != 0 ? pid : (int)getpid();
	folder = open_folder(pin_dir, pid);
	if (folder < 0)
		return folder;
	for (int i = 0; rc == 0 && i < 3; i++)
		rc = map_pin(&t, folder, i, write);
	close(folder);
	if (rc == 0) {
		t.meta = t.map[0];
		t.ranks = t.map[1];
		t.slots = t.map[2];
		rc = is_of(&t, pid) ? 0 : -ENOENT;
	}
	if (rc != 0) {
		wr_tables_close(&t);
		return rc;
	}
	*ret = t;
	return 0;
}

uint32_t wr_tables_pin_id(const char *pin_dir)
{
	int folder = open_folder(pin_dir, (int)getpid()), fd;
	uint32_t id = 0;

	if (folder < 0)
		return 0;
	fd = get_pin(folder, 2);
	if (fd >= 0 && check_map(fd, 2, &id) != 0)
		id = 0;
	if (fd >= 0)
		close(fd);
	close(folder);
	return id;
}
