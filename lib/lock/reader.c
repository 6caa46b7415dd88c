/* SPDX-License-Identifier: MIT */
/*
 * Reading the lock times of a process, also another one: its memfd is found among its descriptors
 * in /proc, which the kernel shows to whoever may debug it, and where there is none, in the maps of a
 * trace that is pinned. The file is read-only here, and what it
 * says of itself is checked once against its size: it may come from another version, or from
 * somebody who chose the same name.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weir/lock_trace.h>

#include "base/alloc.h"
#include "base/util.h"
#include "lock/tables.h"

/* How often a slot that changes hands is looked at again. */
#define NR_TRIES 1000

struct weir_lock_reader {
	const char *base; /* of a memfd; NULL: pinned maps */
	size_t bytes;
	struct wr_lock_tables pinned;
	const struct weir_lock_meta *meta;
	const struct weir_lock_rank *ranks;
	const struct weir_lock_self *slots;
	uint32_t nr_ranks, nr_slots;
};

static bool is_ours(DIR *dir, const char *name)
{
	static const char want[] = "/memfd:" WEIR_LOCK_MEMFD " (deleted)";
	char link[sizeof(want) + 1];
	ssize_t got = readlinkat(dirfd(dir), name, link, sizeof(link));

	return got == (ssize_t)sizeof(want) - 1 && memcmp(link, want, sizeof(want) - 1) == 0;
}

/* The descriptor, opened here, or a negative errno. */
static int find_file(int pid)
{
	char path[32] = "/proc/self/fd";
	struct dirent *entry;
	int fd = -ENOENT;
	DIR *dir;

	if (pid != 0)
		snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	if (dir == NULL)
		return -errno;
	while (fd == -ENOENT && (entry = readdir(dir)) != NULL) {
		if (!is_ours(dir, entry->d_name))
			continue;
		fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			fd = -errno;
	}
	closedir(dir);
	return fd;
}

/* Does a table of @nr times @each bytes from @at on lie in the file, aligned? */
static bool fits(const struct weir_lock_reader *r, uint64_t at, uint64_t nr, uint64_t each)
{
	uint64_t bytes, end;

	return at % 8 == 0 && !wr_mul_overflow(nr, each, &bytes) &&
	       !wr_add_overflow(at, bytes, &end) && end <= r->bytes;
}

static int look_at(struct weir_lock_reader *r)
{
	struct weir_lock_meta meta;

	r->meta = (const struct weir_lock_meta *)(const void *)r->base;
	/* R1: pairs with the release in wr_tables_fill(). */
	if (__atomic_load_n(&r->meta->magic, __ATOMIC_ACQUIRE) != WEIR_LOCK_MAGIC)
		return -EBADMSG;
	memcpy(&meta, r->meta, sizeof(meta));
	if (meta.abi != WEIR_LOCK_ABI || meta.rank_bytes != sizeof(struct weir_lock_rank) ||
	    meta.slot_bytes != sizeof(struct weir_lock_self))
		return -EOPNOTSUPP;
	if (!fits(r, meta.ranks_at, meta.nr_ranks, sizeof(struct weir_lock_rank)) ||
	    !fits(r, meta.slots_at, meta.nr_slots, sizeof(struct weir_lock_self)))
		return -EBADMSG;
	r->nr_ranks = meta.nr_ranks;
	r->nr_slots = meta.nr_slots;
	r->ranks = (const struct weir_lock_rank *)(const void *)(r->base + meta.ranks_at);
	r->slots = (const struct weir_lock_self *)(const void *)(r->base + meta.slots_at);
	return 0;
}

/* Takes over nothing: @fd stays the caller's. */
static int map_file(struct weir_lock_reader *r, int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *base;

	if (fstat(fd, &st) != 0)
		return -errno;
	/* Without the seal the file could shrink under our feet. */
	if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 ||
	    (uint64_t)st.st_size < sizeof(struct weir_lock_meta))
		return -EBADMSG;
	base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	r->base = base;
	r->bytes = (size_t)st.st_size;
	return look_at(r);
}

/* No memfd: a trace of the process may have its times. */
static int open_pinned(struct weir_lock_reader *r, int pid)
{
	struct weir_lock_meta meta;
	int rc = wr_tables_open_pinned(WEIR_TRACE_PIN_DIR, pid, false, &r->pinned);

	if (rc != 0)
		return rc == -EACCES || rc == -EPERM ? -ENOENT : rc;
	/* R1: pairs with the release in wr_tables_fill(). The process writes elsewhere. */
	if (__atomic_load_n(&r->pinned.meta->magic, __ATOMIC_ACQUIRE) != WEIR_LOCK_MAGIC)
		return -ENOENT;
	memcpy(&meta, r->pinned.meta, sizeof(meta));
	if (meta.abi != WEIR_LOCK_ABI)
		return -EOPNOTSUPP;
	if (meta.nr_ranks > WEIR_LOCK_RANKS || meta.nr_slots > WEIR_LOCK_SLOTS)
		return -EBADMSG;
	r->meta = r->pinned.meta;
	r->ranks = r->pinned.ranks;
	r->slots = r->pinned.slots;
	r->nr_ranks = meta.nr_ranks;
	r->nr_slots = meta.nr_slots;
	return 0;
}

int weir_lock_reader_open(int pid, struct weir_lock_reader **ret)
{
	struct weir_lock_reader *reader;
	int fd, rc;

	if (pid < 0)
		return -EINVAL;
	fd = find_file(pid);
	if (fd < 0 && fd != -ENOENT)
		return fd;
	reader = wr_calloc(1, sizeof(*reader));
	if (reader != NULL)
		reader->pinned.fd = -1;
	rc = reader == NULL ? -ENOMEM : fd >= 0 ? map_file(reader, fd) : open_pinned(reader, pid);
	if (fd >= 0)
		close(fd);
	if (rc != 0) {
		weir_lock_reader_close(reader);
		return rc;
	}
	*ret = reader;
	return 0;
}

void weir_lock_reader_close(struct weir_lock_reader *reader)
{
	if (reader == NULL)
		return;
	if (reader->base != NULL)
		munmap((void *)(uintptr_t)reader->base, reader->bytes);
	wr_tables_close(&reader->pinned);
	wr_free(reader);
}

/* The source is written while we read: word by word, so that no number is torn. */
static void copy_words(void *to, const void *from, size_t bytes)
{
	const __u64 *in = from;

	for (size_t i = 0; i < bytes / sizeof(*in); i++) {
		__u64 word = __atomic_load_n(&in[i], __ATOMIC_RELAXED);

		memcpy((char *)to + i * sizeof(word), &word, sizeof(word));
	}
}

void weir_lock_reader_meta(const struct weir_lock_reader *reader, struct weir_lock_meta *ret)
{
	copy_words(ret, reader->meta, sizeof(*ret));
}

/* False: the slot is free, or changed hands each time we looked. */
static bool read_slot(const struct weir_lock_self *slot, struct weir_lock_self *ret)
{
	for (unsigned i = 0; i < NR_TRIES; i++) {
		__u32 before = __atomic_load_n(&slot->seq, __ATOMIC_ACQUIRE);

		copy_words(ret, slot, sizeof(*ret));
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (before % 2 == 0 && __atomic_load_n(&slot->seq, __ATOMIC_RELAXED) == before) {
			ret->name[sizeof(ret->name) - 1] = '\0';
			return ret->addr != 0;
		}
	}
	return false;
}

int weir_lock_reader_next(const struct weir_lock_reader *reader, uint32_t *cursor,
			  struct weir_lock_self *ret)
{
	struct weir_lock_self copy;

	while (*cursor < reader->nr_slots) {
		if (read_slot(&reader->slots[(*cursor)++], &copy)) {
			*ret = copy;
			return 0;
		}
	}
	return -ENOENT;
}

int weir_lock_reader_find(const struct weir_lock_reader *reader, uint64_t addr,
			  struct weir_lock_self *ret)
{
	struct weir_lock_self copy;
	uint32_t cursor = 0;

	while (weir_lock_reader_next(reader, &cursor, &copy) == 0) {
		if (addr >= copy.addr && addr - copy.addr < copy.bytes) {
			*ret = copy;
			return 0;
		}
	}
	return -ENOENT;
}

int weir_lock_reader_rank(const struct weir_lock_reader *reader, uint32_t rank,
			  struct weir_lock_rank *ret)
{
	if (rank >= reader->nr_ranks)
		return -ENOENT;
	copy_words(ret, &reader->ranks[rank], sizeof(*ret));
	ret->name[sizeof(ret->name) - 1] = '\0';
	return 0;
}
