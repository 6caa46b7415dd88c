/* SPDX-License-Identifier: MIT */
/*
 * Files: opening without being caught by what is not a regular file, the choice between direct and
 * buffered reading, and the identity that a file must keep while it is streamed.
 */
#include <weir/io.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "io/advice.h"
#include "io/io_internal.h"
#include "io/write.h"

static uint64_t mtime_ns(const struct stat *st)
{
	return (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
}

/* The system's code for a failed open(), as one of those that weir_io_file_open() names. */
static int open_code(int system_errno)
{
	switch (system_errno) {
	case ENOENT:
	case ENOTDIR:
		return -ENOENT;
	case EACCES:
	case EPERM:
		return -EACCES;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ELOOP:
	case ENAMETOOLONG:
		return -system_errno;
	case ENXIO: /* a socket, or a device that is not there */
	case ENODEV:
		return -EINVAL;
	default:
		return -EIO;
	}
}

static const char *kind_of(mode_t mode)
{
	if (S_ISDIR(mode))
		return "a directory";
	if (S_ISFIFO(mode))
		return "a FIFO";
	return "not a regular file";
}

/* Relative paths are made absolute, so that a later chdir() does not look like a lost file. */
static char *absolute(const char *path)
{
	char cwd[PATH_MAX];
	size_t bytes;
	char *text;

	if (path[0] == '/' || getcwd(cwd, sizeof(cwd)) == NULL)
		return wr_strdup(path);
	bytes = strlen(cwd) + 1 + strlen(path) + 1;
	text = wr_malloc(bytes);
	if (text != NULL)
		snprintf(text, bytes, "%s/%s", cwd, path);
	return text;
}

/* Fill file->fd and file->info; the descriptor is the caller's also on failure, if >= 0. */
static int open_regular(struct weir_io_file *file, const char *path, struct weir_error *err)
{
	struct stat st;

	/* O_NONBLOCK: a FIFO without a writer must not hold us. */
	file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (file->fd < 0) {
		int code = open_code(errno);

		return wr_error_set(err, code, path, WEIR_OFFSET_NONE, "cannot be opened: %s",
				    strerror(errno));
	}
	if (fstat(file->fd, &st) != 0)
		return wr_error_set(err, -EIO, path, WEIR_OFFSET_NONE, "cannot be examined: %s",
				    strerror(errno));
	if (!S_ISREG(st.st_mode))
		return wr_error_set(err, -EINVAL, path, WEIR_OFFSET_NONE, "is %s",
				    kind_of(st.st_mode));
	/* With O_NONBLOCK left on, io_uring answers -EAGAIN where it would otherwise wait. */
	if (fcntl(file->fd, F_SETFL, 0) != 0)
		return wr_error_set(err, -EIO, path, WEIR_OFFSET_NONE, "cannot be set up: %s",
				    strerror(errno));
	file->info.bytes = (uint64_t)st.st_size;
	file->info.dev = st.st_dev;
	file->info.ino = st.st_ino;
	file->info.mtime_ns = mtime_ns(&st);
	return 0;
}

static int compare(const struct weir_io_file *file, const struct stat *st)
{
	bool same = st->st_dev == file->info.dev && st->st_ino == file->info.ino &&
		    (uint64_t)st->st_size == file->info.bytes &&
		    mtime_ns(st) == file->info.mtime_ns;

	return same ? 0 : -ESTALE;
}

/* ---- the ways to its bytes ---- */

uint32_t wr_io_file_mode(const struct weir_io_file *file)
{
	uint32_t mode = weir_io_page_cache(file->io);

	if (file->owned || (file->io->by_name && mode != WEIR_IO_CACHE_ALWAYS))
		return WEIR_IO_CACHE_NEVER;
	return mode;
}

/* What to do with a file that can be read directly. */
static enum wr_io_access choose(struct weir_io_file *file)
{
	struct weir_io *io = file->io;
	struct wr_io_facts facts = {.mode = wr_io_file_mode(file), .file_bytes = file->info.bytes};
	enum wr_io_access access;

	if (facts.mode == WEIR_IO_CACHE_AUTO || facts.mode == WEIR_IO_CACHE_SPARE) {
		wr_mutex_lock(&io->lock);
		wr_io_measure_system(io->root, &io->refaults, &facts);
		wr_mutex_unlock(&io->lock);
		facts.cached_bytes = wr_io_probe_cached(file->fd);
		if (wr_io_is_warm(&facts))
			wr_io_measure_rates(file->fd, &facts);
	}
	access = wr_io_choose(&facts, file->first_why.text);
	file->standing = (struct wr_io_standing){.now = access, .mode = facts.mode};
	wr_log(WEIR_LOG_INFO, "io", "%s: %s", file->path, file->first_why.text);
	return access;
}

/* Through the page cache, by threads; of a file that has nothing else. */
static void use_cache(struct wr_io_way *way, uint64_t file_bytes)
{
	way->cache = wr_io_probe_cache(way->fd, file_bytes);
	/* See threads.c. */
	(void)posix_fadvise(way->fd, 0, 0,
			    way->cache.dontcache ? POSIX_FADV_SEQUENTIAL : POSIX_FADV_RANDOM);
}

static void heed_gaps(const struct wr_io_way *way)
{
	if (!way->direct && !way->cache.stays)
		(void)posix_fadvise(way->fd, 0, 0, POSIX_FADV_RANDOM);
}

/*
 * The same of what could be read directly. FROM_CACHE: what is there stays, and what is missing is
 * not added, if the kernel can do that. THROUGH: that stays too.
 */
static void prefer_cache(struct wr_io_way *way, enum wr_io_access access, uint64_t file_bytes)
{
	use_cache(way, file_bytes);
	way->cache.cold = false;
	if (access == WR_IO_THROUGH) {
		way->cache.dontcache = false;
		(void)posix_fadvise(way->fd, 0, 0, POSIX_FADV_NORMAL);
	}
	way->cache.stays = !way->cache.dontcache;
}

/* A descriptor for a way. Codes of weir_io_file_open(). */
static int set_up_way(struct weir_io *io, struct weir_io_file *file, enum wr_io_access access,
		      int fd) WR_REQUIRES(io->lock)
{
	struct wr_io_way *way = &file->ways[access];
	struct wr_io_lane *lane = NULL;
	int rc = 0;

	wr_lock_assert_held(&io->lock);
	if (access == WR_IO_DIRECT && io->ring != NULL)
		lane = wr_io_ring_lane(io->ring);
	else
		rc = wr_io_need_workers_locked(io, &lane);
	if (rc == 0 && fcntl(fd, F_SETFL, access == WR_IO_DIRECT ? O_DIRECT : 0) != 0)
		rc = -EOPNOTSUPP;
	if (rc != 0)
		return rc;
	way->fd = fd;
	way->direct = access == WR_IO_DIRECT;
	if (access != WR_IO_DIRECT)
		prefer_cache(way, access, file->info.bytes);
	if (wr_load_relaxed(&file->has_gaps))
		heed_gaps(way);
	way->lane = lane;
	return 0;
}

/* The path again, if it is still the same file. */
static int open_same(const struct weir_io_file *file, int *ret)
{
	struct stat st;
	int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0)
		return open_code(errno);
	if (fstat(fd, &st) != 0 || compare(file, &st) != 0) {
		close(fd);
		return -ESTALE;
	}
	*ret = fd;
	return 0;
}

int wr_io_file_open_way(struct weir_io *io, struct weir_io_file *file, enum wr_io_access access)
{
	int fd = -1, rc;

	wr_lock_assert_held(&io->lock);
	if (file->ways[access].lane != NULL)
		return 0;
	rc = open_same(file, &fd);
	if (rc != 0)
		return rc;
	rc = set_up_way(io, file, access, fd);
	if (rc != 0)
		close(fd);
	return rc;
}

int wr_io_file_turn(struct weir_io *io, struct weir_io_file *file, enum wr_io_access access,
		    const char *why)
{
	struct wr_io_why *w = wr_calloc(1, sizeof(*w));

	wr_lock_assert_held(&io->lock);
	if (w == NULL)
		return -ENOMEM;
	snprintf(w->text, sizeof(w->text), "%s", why);
	/* Whoever has read the reason before may still be reading it. */
	w->older = file->first_why.older;
	file->first_why.older = w;
	wr_store_release(&file->why, w);
	wr_store_release(&file->way, &file->ways[access]); /* W1 */
	return 0;
}

/* Of a file that only the page cache has, or an engine that reads nothing directly. */
static int choose_buffered(struct weir_io_file *file, struct weir_error *err)
{
	struct weir_io *io = file->io;
	struct wr_io_way *way = &file->ways[WR_IO_FROM_CACHE];
	bool is_rung = wr_load_relaxed(&io->backend) == WEIR_IO_BUFFERED;

	if (io->by_name && !is_rung)
		return wr_error_set(err, -EOPNOTSUPP, file->path, WEIR_OFFSET_NONE,
				    "this file system has no direct reads (O_DIRECT), which "
				    "the rung asked for needs: use 'auto' or 'buffered'");
	snprintf(file->first_why.text, sizeof(file->first_why.text),
		 is_rung ? "page cache: the engine is on its buffered rung"
			 : "page cache: this file system has no direct reads (O_DIRECT)");
	file->info.offset_align = file->info.memory_align = 1;
	file->align = 1;
	way->fd = file->fd;
	use_cache(way, file->info.bytes);
	wr_store_relaxed(&file->way, way);
	return wr_io_need_workers(io, &way->lane);
}

static int choose_access(struct weir_io_file *file, struct weir_error *err)
{
	struct weir_io *io = file->io;
	enum wr_io_access access;
	int rc = -EOPNOTSUPP;

	if (wr_load_relaxed(&io->backend) != WEIR_IO_BUFFERED)
		rc = wr_io_probe_direct(file->fd, &file->info.offset_align,
					&file->info.memory_align);
	if (rc == 0) {
		/* One step for both: chunks that begin at multiples of it suit file and memory. */
		file->align = wr_max(file->info.offset_align, file->info.memory_align);
		access = choose(file);
		file->may_change = !file->owned;
		wr_mutex_lock(&io->lock);
		rc = set_up_way(io, file, access, file->fd);
		wr_mutex_unlock(&io->lock);
		wr_store_relaxed(&file->way, &file->ways[access]);
	} else {
		rc = choose_buffered(file, err);
		if (rc == -EOPNOTSUPP)
			return rc;
	}
	wr_store_relaxed(&file->why, &file->first_why);
	if (rc != 0)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "no threads to read it with: %s", strerror(-rc));
	return 0;
}

/* Its descriptors, but that of the caller who keeps it. */
static void close_ways(struct weir_io_file *file)
{
	for (uint32_t i = 0; i < WR_IO_NR_WAYS; i++) {
		const struct wr_io_way *way = &file->ways[i];

		if (way->lane == NULL)
			continue;
		if (way->cache.cold)
			(void)posix_fadvise(way->fd, 0, 0, POSIX_FADV_DONTNEED);
		if (way->fd != file->fd)
			close(way->fd);
	}
}

static void file_free(struct weir_io_file *file)
{
	struct wr_io_why *why, *older;

	close_ways(file);
	if (file->fd >= 0)
		close(file->fd);
	for (why = file->first_why.older; why != NULL; why = older) {
		older = why->older;
		wr_free(why);
	}
	wr_free(file->path);
	wr_free(file);
}

/* It is ready: tell the ring and the engine. */
static void file_known(struct weir_io_file *file)
{
	struct weir_io *io = file->io;

	if (io->ring != NULL && file->ways[WR_IO_DIRECT].lane == wr_io_ring_lane(io->ring))
		wr_io_ring_add_file(io->ring, &file->ways[WR_IO_DIRECT]);
	wr_mutex_lock(&io->lock);
	TAILQ_INSERT_TAIL(&io->files, file, link);
	wr_mutex_unlock(&io->lock);
	if (file->may_change)
		wr_io_review_expect(io);
}

/* Without anything yet. NULL: no memory. */
static struct weir_io_file *make_file(struct weir_io *io)
{
	struct weir_io_file *file = wr_calloc(1, sizeof(*file));

	if (file == NULL)
		return NULL;
	file->io = io;
	file->fd = -1;
	for (uint32_t i = 0; i < WR_IO_NR_WAYS; i++)
		file->ways[i].fd = file->ways[i].slot = -1;
	return file;
}

int weir_io_file_open(struct weir_io *io, const char *path, struct weir_io_file **ret,
		      struct weir_error *err)
{
	struct weir_io_file *file;
	int rc;

	wr_might_block("opening a file");
	file = make_file(io);
	if (file == NULL)
		return wr_error_set(err, -ENOMEM, path, WEIR_OFFSET_NONE, "out of memory");
	file->path = absolute(path);
	if (file->path == NULL)
		rc = wr_error_set(err, -ENOMEM, path, WEIR_OFFSET_NONE, "out of memory");
	else
		rc = open_regular(file, path, err);
	if (rc == 0)
		rc = choose_access(file, err);
	if (rc != 0) {
		file_free(file);
		return rc;
	}
	file_known(file);
	*ret = file;
	return 0;
}

int wr_io_file_adopt(struct weir_io *io, int fd, const char *path, uint64_t bytes,
		     struct weir_io_file **ret, struct weir_error *err)
{
	struct weir_io_file *file = make_file(io);
	int rc = 0;

	if (file == NULL)
		return wr_error_set(err, -ENOMEM, path, WEIR_OFFSET_NONE, "out of memory");
	file->fd = fd;
	file->owned = true;
	file->info.bytes = bytes;
	file->path = wr_strdup(path);
	if (file->path == NULL)
		rc = wr_error_set(err, -ENOMEM, path, WEIR_OFFSET_NONE, "out of memory");
	if (rc == 0)
		rc = choose_access(file, err);
	if (rc != 0) {
		file->fd = -1;
		file_free(file);
		return rc;
	}
	file_known(file);
	*ret = file;
	return 0;
}

void weir_io_file_close(struct weir_io_file *file)
{
	if (file == NULL)
		return;
	wr_might_block("closing a file");
	if (file->io != NULL) {
		if (file->ways[WR_IO_DIRECT].slot >= 0)
			wr_io_ring_remove_file(file->io->ring, &file->ways[WR_IO_DIRECT]);
		wr_mutex_lock(&file->io->lock);
		TAILQ_REMOVE(&file->io->files, file, link);
		wr_mutex_unlock(&file->io->lock);
	}
	file_free(file);
}

void wr_io_file_expect_gaps(struct weir_io_file *file)
{
	const struct wr_io_way *way = wr_io_file_way(file);

	wr_store_relaxed(&file->has_gaps, true);
	heed_gaps(way);
	/* What large folios kept that lay across the ends of reads. */
	if (way->cache.cold)
		(void)posix_fadvise(way->fd, 0, 0, POSIX_FADV_DONTNEED);
}

void weir_io_file_info(const struct weir_io_file *file, struct weir_io_file_info *ret)
{
	*ret = file->info;
	ret->direct = wr_io_file_way(file)->direct;
}

const char *weir_io_file_reason(const struct weir_io_file *file)
{
	return wr_load_acquire(&file->why)->text;
}

int wr_io_file_changed(const struct weir_io_file *file, bool path_too)
{
	struct stat st;

	if (file->owned)
		return 0;
	if (fstat(file->fd, &st) != 0)
		return -EIO;
	if (compare(file, &st) != 0)
		return -ESTALE;
	if (!path_too)
		return 0;
	if (stat(file->path, &st) != 0)
		return errno == ENOENT || errno == ENOTDIR ? -ESTALE : -EIO;
	return compare(file, &st);
}

int weir_io_file_check(const struct weir_io_file *file)
{
	wr_might_block("checking a file");
	return wr_io_file_changed(file, true);
}

size_t weir_io_landing_bytes(const struct weir_io_file *file, uint64_t offset, size_t bytes)
{
	uint64_t end;

	if (wr_add_overflow(offset, bytes, &end) || wr_align_up_overflow(end, file->align, &end))
		return 0;
	end -= wr_align_down(offset, file->align);
#if SIZE_MAX < UINT64_MAX
	if (end > SIZE_MAX)
		return 0;
#endif
	return (size_t)end;
}
