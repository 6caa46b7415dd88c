/* SPDX-License-Identifier: MIT */
/*
 * Writing a plan of files: rendered in chunks by a few threads, all or nothing.
 *
 * - A directory is taken with flock(), so that two runs do not mix their files; temporary names are
 *   fixed (".NAME.part"), so that what a killed run left is written over, not piled up.
 * - Every file is complete and synced under its temporary name before the first is renamed: a
 *   reader sees the old state or, but for the instant of the renames, the new one. On an error or a
 *   signal the temporary files are removed.
 * - Space is asked for first (statvfs), then reserved (fallocate): a full disk is known before the
 *   work, not in its middle.
 * - A model is larger than memory and nobody reads it back soon: O_DIRECT where the file system has
 *   it, otherwise each thread pushes its last chunk to the disk and drops it from the page cache.
 */
#include "mkmodel_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/util.h"

#define CHUNK_BYTES ((size_t)4 << 20)
#define BLOCK_BYTES ((size_t)4096)
#define MAX_THREADS 64

void wr_mk_render(const struct wr_mk_file *f, uint64_t offset, size_t len, unsigned char *ret)
{
	uint64_t end = offset + len;

	memset(ret, 0, len);
	if (offset < f->head.len) {
		size_t part = f->head.len - (size_t)offset;

		memcpy(ret, f->head.data + offset, part < len ? part : len);
	}
	for (size_t i = 0; i < f->tensors.nr; i++) {
		const struct wr_mk_tensor *t = &f->tensors.v[i];
		uint64_t from = t->offset > offset ? t->offset : offset;
		uint64_t to = t->offset + t->bytes < end ? t->offset + t->bytes : end;

		if (from < to)
			wr_mk_tensor_fill(t, from - t->offset, (size_t)(to - from),
					  ret + (from - offset));
	}
}

/* The state of one wr_mk_write(). */
struct job {
	const struct wr_mk_plan *plan;
	const struct wr_mk_write_opts *opts;
	int dir;
	bool made_dir;
	size_t nr_parts; /* files with a temporary name so far */
	const struct wr_mk_file *file;
	int fd; /* of file */
	bool direct;
	atomic_uint_fast64_t next; /* offset of the next chunk of file to take */
	atomic_uint_fast64_t done; /* bytes of the plan written */
	atomic_int err;
	struct weir_error *why;
};

struct worker {
	struct job *job;
	pthread_t thread;
	bool reports;
	uint64_t behind; /* chunk that is being written back */
	size_t behind_len;
};

/* An error about @file of the directory. */
#define fail(j, code, file, ...) wr_error_set((j)->why, code, file, WEIR_OFFSET_NONE, __VA_ARGS__)

static void part_name(char *ret, size_t size, const struct wr_mk_file *f)
{
	snprintf(ret, size, ".%s.part", f->name);
}

/* Without O_DIRECT: starts writing the chunk just written, waits for the one before, drops it. */
static void write_behind(struct worker *w, uint64_t offset, size_t len)
{
	int fd = w->job->fd;

	if (w->job->direct)
		return;
	if (len)
		sync_file_range(fd, (off_t)offset, (off_t)len, SYNC_FILE_RANGE_WRITE);
	if (w->behind_len) {
		sync_file_range(fd, (off_t)w->behind, (off_t)w->behind_len,
				SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
					SYNC_FILE_RANGE_WAIT_AFTER);
		posix_fadvise(fd, (off_t)w->behind, (off_t)w->behind_len, POSIX_FADV_DONTNEED);
	}
	w->behind = offset;
	w->behind_len = len;
}

static int write_all(int fd, const unsigned char *data, size_t len, uint64_t offset)
{
	while (len) {
		ssize_t n = pwrite(fd, data, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		data += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_chunk(struct worker *w, uint64_t offset, unsigned char *buffer)
{
	struct job *j = w->job;
	uint64_t left = j->file->bytes - offset;
	size_t len = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
	size_t whole = j->direct ? (size_t)wr_align_up(len, BLOCK_BYTES) : len;
	int ret;

	wr_mk_render(j->file, offset, len, buffer);
	memset(buffer + len, 0, whole - len);
	ret = write_all(j->fd, buffer, whole, offset);
	if (ret)
		return ret;
	write_behind(w, offset, len);
	atomic_fetch_add(&j->done, len);
	return 0;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct job *j = w->job;
	unsigned char *buffer = aligned_alloc(BLOCK_BYTES, CHUNK_BYTES);
	int ret = buffer ? 0 : -ENOMEM;

	while (!ret && !atomic_load(&j->err)) {
		uint64_t offset = atomic_fetch_add(&j->next, CHUNK_BYTES);

		if (offset >= j->file->bytes)
			break;
		ret = j->opts->stop && j->opts->stop() ? -EINTR : write_chunk(w, offset, buffer);
		if (w->reports && j->opts->progress)
			j->opts->progress(j->opts->arg, atomic_load(&j->done));
	}
	write_behind(w, 0, 0);
	free(buffer);
	if (ret) {
		int none = 0;

		atomic_compare_exchange_strong(&j->err, &none, ret);
	}
	return NULL;
}

/* Renders the job's file with as many threads as it has chunks for; the caller is one of them. */
static int write_chunks(struct job *j)
{
	uint64_t nr_chunks = (j->file->bytes + CHUNK_BYTES - 1) / CHUNK_BYTES;
	struct worker workers[MAX_THREADS] = {0};
	unsigned int nr = j->opts->threads, started = 1;

	nr = nr < MAX_THREADS ? nr : MAX_THREADS;
	nr = nr < nr_chunks ? nr : (unsigned int)nr_chunks;
	atomic_store(&j->next, 0);
	for (unsigned int i = 0; i < MAX_THREADS; i++)
		workers[i].job = j;
	workers[0].reports = true;
	while (started < nr &&
	       !pthread_create(&workers[started].thread, NULL, work, &workers[started]))
		started++;
	work(&workers[0]);
	for (unsigned int i = 1; i < started; i++)
		pthread_join(workers[i].thread, NULL);
	return atomic_load(&j->err);
}

/* The open temporary file with its space reserved, or a negative errno. */
static int open_part(struct job *j, const char *part)
{
	int flags = O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, fd = -1;

	/* One chunk is not worth the alignment. */
	j->direct = j->file->bytes > CHUNK_BYTES;
	if (j->direct)
		fd = openat(j->dir, part, flags | O_DIRECT, 0644);
	if (fd < 0) {
		j->direct = false;
		fd = openat(j->dir, part, flags, 0644);
	}
	if (fd < 0)
		return fail(j, -errno, part, "cannot create the file: %s", strerror(errno));
	j->nr_parts++;
	if (j->file->bytes && fallocate(fd, 0, 0, (off_t)j->file->bytes) && errno != EOPNOTSUPP) {
		int err = errno;

		close(fd);
		return fail(j, -err, j->file->name, "cannot reserve %" PRIu64 " bytes: %s",
			    j->file->bytes, strerror(err));
	}
	return fd;
}

static int write_file(struct job *j, const struct wr_mk_file *f)
{
	char part[WR_MK_NAME_BYTES + 16];
	int ret;

	part_name(part, sizeof(part), f);
	j->file = f;
	j->fd = open_part(j, part);
	if (j->fd < 0)
		return j->fd;
	ret = write_chunks(j);
	if (!ret && j->direct && ftruncate(j->fd, (off_t)f->bytes))
		ret = -errno;
	if (!ret && fsync(j->fd))
		ret = -errno;
	close(j->fd);
	if (ret == -EINTR)
		return fail(j, ret, f->name, "interrupted");
	if (ret)
		return fail(j, ret, f->name, "cannot write: %s", strerror(-ret));
	return 0;
}

static const struct wr_mk_file *find_file(const struct wr_mk_plan *p, const char *name)
{
	for (size_t i = 0; i < p->nr_files; i++) {
		if (!strcmp(p->files[i].name, name))
			return &p->files[i];
	}
	return NULL;
}

static bool ends_with(const char *s, const char *end)
{
	size_t len = strlen(s), end_len = strlen(end);

	return len >= end_len && !strcmp(s + len - end_len, end);
}

/* Weights that a reader of the directory would take for part of the model. */
static bool is_weights(const char *name)
{
	return ends_with(name, ".safetensors") || ends_with(name, ".gguf") ||
	       !strcmp(name, "model.safetensors.index.json");
}

/*
 * Looks for what stands in the way: with @remove unlinks weights that the plan does not replace,
 * otherwise refuses them and any file that has a name of the plan.
 */
static int check_dir(struct job *j, bool remove)
{
	int fd = openat(j->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int ret = 0;

	if (!d) {
		ret = fail(j, -errno, j->opts->dir, "cannot list the directory: %s",
			   strerror(errno));
		if (fd >= 0)
			close(fd);
		return ret;
	}
	while (!ret && (e = readdir(d))) {
		bool ours = find_file(j->plan, e->d_name);

		if (remove && !ours && is_weights(e->d_name) && unlinkat(j->dir, e->d_name, 0))
			ret = fail(j, -errno, e->d_name, "cannot remove: %s", strerror(errno));
		if (!remove && (ours || is_weights(e->d_name)))
			ret = fail(j, -EEXIST, j->opts->dir,
				   "the directory already has %s; --force replaces the model",
				   e->d_name);
	}
	closedir(d);
	return ret;
}

static int check_space(struct job *j)
{
	struct statvfs fs;
	uint64_t free_bytes;

	if (fstatvfs(j->dir, &fs))
		return fail(j, -errno, j->opts->dir, "cannot ask for the free space: %s",
			    strerror(errno));
	free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (free_bytes < j->plan->bytes)
		return fail(j, -ENOSPC, j->opts->dir,
			    "there are %" PRIu64 " bytes free and the model takes %" PRIu64,
			    free_bytes, j->plan->bytes);
	return 0;
}

static int open_dir(struct job *j)
{
	const char *dir = j->opts->dir;

	j->made_dir = !mkdir(dir, 0777);
	if (!j->made_dir && errno != EEXIST)
		return fail(j, -errno, dir, "cannot make the directory: %s", strerror(errno));
	j->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (j->dir < 0)
		return fail(j, -errno, dir, "cannot open the directory: %s", strerror(errno));
	if (flock(j->dir, LOCK_EX | LOCK_NB))
		return fail(j, -EBUSY, dir, "another mkmodel is writing to the directory");
	return 0;
}

static int rename_parts(struct job *j)
{
	char part[WR_MK_NAME_BYTES + 16];

	for (size_t i = 0; i < j->plan->nr_files; i++) {
		const char *name = j->plan->files[i].name;

		part_name(part, sizeof(part), &j->plan->files[i]);
		if (renameat(j->dir, part, j->dir, name))
			return fail(j, -errno, name, "cannot give the file its name: %s",
				    strerror(errno));
	}
	if (fsync(j->dir))
		return fail(j, -errno, j->opts->dir, "cannot sync the directory: %s",
			    strerror(errno));
	return 0;
}

static void remove_parts(struct job *j)
{
	char part[WR_MK_NAME_BYTES + 16];

	for (size_t i = 0; i < j->nr_parts; i++) {
		part_name(part, sizeof(part), &j->plan->files[i]);
		unlinkat(j->dir, part, 0);
	}
}

static int write_plan(struct job *j)
{
	int ret = j->opts->force ? 0 : check_dir(j, false);

	if (!ret)
		ret = check_space(j);
	for (size_t i = 0; !ret && i < j->plan->nr_files; i++)
		ret = write_file(j, &j->plan->files[i]);
	if (!ret && j->opts->force)
		ret = check_dir(j, true);
	if (!ret)
		ret = rename_parts(j);
	if (ret)
		remove_parts(j);
	return ret;
}

int wr_mk_write(const struct wr_mk_plan *p, const struct wr_mk_write_opts *opts,
		struct weir_error *err)
{
	struct job j = {.plan = p, .opts = opts, .dir = -1, .why = err};
	int ret = open_dir(&j);

	if (!ret)
		ret = write_plan(&j);
	if (ret && j.made_dir)
		rmdir(opts->dir);
	if (j.dir >= 0)
		close(j.dir);
	return ret;
}
