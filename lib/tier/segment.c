/* SPDX-License-Identifier: MIT */
/*
 * Segment files. A segment appears under its name with its first page written and all its bytes
 * allocated, so an append changes no size and needs no zeroing; a seal cuts it to what is used.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "tier/internal.h"

#if WR_DEBUG
void (*wr_test_store_step)(enum wr_store_step step);
#endif

void wr_store_segment_name(uint64_t number, char name[WR_STORE_NAME_MOST])
{
	snprintf(name, WR_STORE_NAME_MOST, "seg-%016llx", (unsigned long long)number);
}

int wr_store_openat(int dir_fd, const char *name, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY),
		.mode = flags & O_CREAT ? 0600 : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	long fd = syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));

	/* Older kernels and filters: the names are ours and have no slash, so this is as good. */
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = openat(dir_fd, name, (int)how.flags, 0600);
	return fd < 0 ? -errno : (int)fd;
}

/* The system's code for what could not be made or written, as one of those in store.h. */
static int write_code(int system_errno)
{
	switch (system_errno) {
	case ENOSPC:
	case EDQUOT:
		return -EDQUOT;
	case EROFS:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ELOOP:
	case EACCES:
		return -system_errno;
	default:
		return -EIO;
	}
}

/* All bytes allocated where the file system can do that, else at least there to be written. */
static int allocate(int fd, uint64_t bytes)
{
	if (fallocate(fd, 0, 0, (off_t)bytes) == 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
		return write_code(errno);
	return ftruncate(fd, (off_t)bytes) == 0 ? 0 : write_code(errno);
}

int wr_store_publish(int dir_fd, const char *name, const void *page, uint64_t bytes, int *ret_fd)
{
	char tmp[WR_STORE_NAME_MOST + 8];
	/* What is published is a segment, which is written to, or the manifest. */
	enum wr_store_step step =
		ret_fd != NULL ? WR_STORE_STEP_MAKE_CREATED : WR_STORE_STEP_MANIFEST_CREATED;
	int rc, fd;

	snprintf(tmp, sizeof(tmp), "%s.tmp", name);
	(void)unlinkat(dir_fd, tmp, 0);
	fd = wr_store_openat(dir_fd, tmp, O_RDWR | O_CREAT | O_EXCL);
	if (fd < 0)
		return write_code(-fd);
	wr_store_step(step++);
	rc = allocate(fd, bytes);
	wr_store_step(step++);
	if (rc == 0) {
		ssize_t n = pwrite(fd, page, WR_STORE_PAGE, 0);

		if (n != WR_STORE_PAGE)
			rc = n < 0 ? write_code(errno) : -EIO;
	}
	if (rc == 0 && fsync(fd) != 0)
		rc = write_code(errno);
	wr_store_step(step++);
	if (rc == 0 && renameat(dir_fd, tmp, dir_fd, name) != 0)
		rc = write_code(errno);
	wr_store_step(step++);
	if (rc != 0) {
		(void)unlinkat(dir_fd, tmp, 0);
	} else if (fsync(dir_fd) != 0) {
		rc = write_code(errno);
		/* A segment that nobody counts would stay there. */
		if (ret_fd != NULL)
			(void)unlinkat(dir_fd, name, 0);
	}
	wr_store_step(step++);
	if (rc != 0 || ret_fd == NULL)
		close(fd);
	else
		*ret_fd = fd;
	return rc;
}

/* ---- in memory ------------------------------------------------------------------------------------ */

struct wr_store_segment *wr_store_segment_alloc(struct wr_store *s, uint64_t number)
{
	struct wr_store_segment *seg = wr_calloc(1, sizeof(*seg));

	if (seg == NULL)
		return NULL;
	seg->store = s;
	seg->number = number;
	seg->used = WR_STORE_PAGE;
	TAILQ_INIT(&seg->entries);
	STAILQ_INIT(&seg->unsynced);
	STAILQ_INIT(&seg->batch);
	return seg;
}

void wr_store_segment_free(struct wr_store_segment *seg)
{
	weir_io_file_close(seg->file);
	wr_free(seg->items);
	wr_free(seg);
}

int wr_store_segment_reserve(struct wr_store_segment *seg)
{
	if (seg->nr_planned == seg->room_items) {
		size_t room = seg->room_items != 0 ? seg->room_items * 2 : 64;
		struct wr_store_item *items =
			wr_reallocarray(seg->items, room, sizeof(*seg->items));

		if (items == NULL)
			return -ENOMEM;
		seg->items = items;
		seg->room_items = room;
	}
	seg->nr_planned++;
	return 0;
}

/* What the seal of @nr items takes. */
static uint64_t seal_bytes(size_t nr)
{
	return wr_store_extent(nr * sizeof(struct wr_store_item));
}

uint64_t wr_store_segment_sealed_bytes(const struct wr_store_segment *seg)
{
	return seg->state == WR_SEGMENT_FULL ? seg->used + seal_bytes(seg->nr_items)
					     : seg->file_bytes;
}

bool wr_store_segment_place(struct wr_store_segment *seg, uint64_t extent, uint64_t *ret_offset)
{
	if (seg->used + extent + seal_bytes(seg->nr_planned) > seg->file_bytes)
		return false;
	*ret_offset = seg->used;
	seg->used += extent;
	return true;
}

void wr_store_segment_add(struct wr_store_segment *seg, const struct wr_store_item *item)
{
	wr_assert(seg->nr_items < seg->nr_planned);
	seg->items[seg->nr_items++] = *item;
}

/* ---- requests that are awaited ---------------------------------------------------------------------- */

struct await {
	sem_t done;
	int result;
};

static void awaited(void *arg, int result, void *data)
{
	struct await *w = arg;

	(void)data;
	w->result = result;
	sem_post(&w->done);
}

int wr_store_io_now(struct wr_store *s, enum wr_store_io what, struct weir_io_file *file,
		    uint64_t offset, void *buf, size_t bytes)
{
	struct await w;
	struct weir_io_req req = {
		.file = file,
		.offset = offset,
		.bytes = bytes,
		.buf = buf,
		.buf_bytes = bytes,
		.io_class = WEIR_IO_DEMAND,
		.done = awaited,
		.arg = &w,
	};
	int rc;

	sem_init(&w.done, 0, 0);
	if (what == WR_STORE_IO_READ)
		rc = weir_io_read(s->io, &req, NULL);
	else if (what == WR_STORE_IO_WRITE)
		rc = wr_io_write(s->io, &req, NULL);
	else
		rc = wr_io_sync(s->io, &req, NULL);
	if (rc == 0) {
		while (sem_wait(&w.done) != 0)
			;
		rc = w.result;
	}
	sem_destroy(&w.done);
	return rc;
}

/* ---- files ------------------------------------------------------------------------------------------- */

int wr_store_segment_make(struct wr_store *s, uint64_t number, uint64_t bytes,
			  struct wr_store_segment **ret)
{
	struct wr_store_segment *seg = wr_store_segment_alloc(s, number);
	void *page = wr_calloc(1, WR_STORE_PAGE);
	struct wr_store_segment_head *head = page;
	char name[WR_STORE_NAME_MOST];
	int fd, rc = -ENOMEM;

	if (seg == NULL || page == NULL)
		goto out;
	*head = (struct wr_store_segment_head){
		.magic = WR_STORE_SEGMENT_MAGIC,
		.version = WR_STORE_VERSION,
		.bytes = sizeof(*head),
		.store = {s->id[0], s->id[1]},
		.number = number,
		.segment_bytes = s->segment_bytes,
	};
	head->hash = wr_store_hash(head, sizeof(*head) - sizeof(head->hash));
	wr_store_segment_name(number, name);
	rc = wr_store_publish(s->dir_fd, name, page, bytes, &fd);
	if (rc != 0)
		goto out;
	seg->file_bytes = bytes;
	rc = wr_io_file_adopt(s->io, fd, name, bytes, &seg->file, NULL);
	if (rc != 0) {
		close(fd);
		(void)unlinkat(s->dir_fd, name, 0);
	}
out:
	wr_free(page);
	if (rc != 0 && seg != NULL)
		wr_store_segment_free(seg);
	if (rc == 0)
		*ret = seg;
	return rc;
}

static int by_offset(const void *a, const void *b)
{
	const struct wr_store_item *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

int wr_store_segment_seal(struct wr_store *s, struct wr_store_segment *seg)
{
	size_t bytes = seg->nr_items * sizeof(*seg->items);
	uint64_t total = seal_bytes(seg->nr_items), end;
	struct wr_store_item seal = {.kind = WR_STORE_SEAL, .bytes = bytes};
	char name[WR_STORE_NAME_MOST];
	char *mem;
	int fd, rc;

	wr_store_step(WR_STORE_STEP_SEAL_BEGINS);
	mem = wr_calloc_aligned(WR_STORE_PAGE, total);
	if (mem == NULL)
		return -ENOMEM;
	if (bytes != 0)
		qsort(seg->items, seg->nr_items, sizeof(*seg->items), by_offset);
	memcpy(mem, seg->items, bytes);
	seal.offset = seg->used + total - WR_STORE_PAGE;
	seal.data_hash = wr_store_hash(mem, bytes);
	wr_store_fill_record(s, seg->number, &seal, mem + total - WR_STORE_PAGE);
	rc = wr_store_io_now(s, WR_STORE_IO_WRITE, seg->file, seg->used, mem, total);
	wr_free(mem);
	wr_store_step(WR_STORE_STEP_SEAL_WRITTEN);
	if (rc == 0)
		rc = wr_store_io_now(s, WR_STORE_IO_SYNC, seg->file, 0, NULL, 0);
	wr_store_step(WR_STORE_STEP_SEAL_SYNCED);
	if (rc != 0)
		return rc;
	/* Only now: an interrupted seal leaves a segment without one. */
	end = seg->used + total;
	wr_store_segment_name(seg->number, name);
	fd = wr_store_openat(s->dir_fd, name, O_WRONLY);
	if (fd < 0)
		return write_code(-fd);
	if (ftruncate(fd, (off_t)end) != 0)
		rc = write_code(errno);
	wr_store_step(WR_STORE_STEP_SEAL_CUT);
	if (rc == 0 && fsync(fd) != 0)
		rc = write_code(errno);
	close(fd);
	return rc;
}

int wr_store_segment_unlink(struct wr_store *s, struct wr_store_segment *seg)
{
	char name[WR_STORE_NAME_MOST];

	int rc;

	wr_store_step(WR_STORE_STEP_UNLINK_BEGINS);
	wr_store_segment_name(seg->number, name);
	if (unlinkat(s->dir_fd, name, 0) != 0 && errno != ENOENT)
		return write_code(errno);
	wr_store_step(WR_STORE_STEP_UNLINKED);
	/* Segments go in order: a REMOVE must not be gone before what it is about. */
	rc = fsync(s->dir_fd) == 0 ? 0 : -EIO;
	wr_store_step(WR_STORE_STEP_UNLINK_DONE);
	return rc;
}
