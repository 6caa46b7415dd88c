/* SPDX-License-Identifier: MIT */
/*
 * A power cut: what was written and not synced is lost, sector by sector, and so is what was done
 * to names of a folder that was not synced. Calls to the system that change files of the store are
 * caught by functions of this program, which remember what is durable; at any moment a folder can be
 * made as it would be found after a cut at that moment, of the worst and of any kind, and opened:
 * what was acknowledged is there, what was under way is whole or not there. WEIR_TEST_CUTS says how
 * many moments are looked at; 80 otherwise.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "base/util.h"
#include "tier/store_help.h"

#define SECTOR	 512u
#define SEGMENTS 5u
#define KEYS	 32u
#define MOST	 (120u << 10)
#define REMOVED	 0x80000000u
#define MAX_OPS	 256u
#define MAX_FILE 64u

/* ---- what is durable --------------------------------------------------------------------------- */

/* Bytes of a file as they were when it was synced last. */
struct durable {
	ino_t ino;
	size_t bytes;
	char *data;
};

/* Done to a name, and its folder not synced since. ino 0: it was taken away. */
struct name_op {
	char name[40];
	ino_t ino;
};

static struct medium {
	pthread_mutex_t lock;
	char dir[256]; /* empty: nothing is watched */
	struct durable files[MAX_FILE];
	struct name_op names[MAX_FILE]; /* durable; ino 0: free */
	struct name_op ops[MAX_OPS];
	uint32_t nr_ops;
	_Atomic int fail_sync; /* errno of each */
	_Atomic uint32_t sync_us;
	uint64_t nr_unsynced; /* sectors that were not what is durable when the power was cut */
} medium = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *must(void *p)
{
	if (p == NULL)
		abort();
	return p;
}

/* Whether a file is one of the folder; "" in @ret: it is the folder itself. */
static bool is_watched(int fd, char ret[40])
{
	char link[64], path[400];
	size_t len = strlen(medium.dir);
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (len == 0 || n < (ssize_t)len || strncmp(path, medium.dir, len) != 0)
		return false;
	path[n] = '\0';
	if (path[len] != '\0' && path[len] != '/')
		return false;
	snprintf(ret, 40, "%.39s", path[len] == '/' ? path + len + 1 : "");
	return true;
}

static struct durable *durable_of(ino_t ino, bool make)
{
	struct durable *unused = NULL;

	for (uint32_t i = 0; i < MAX_FILE; i++) {
		if (medium.files[i].ino == ino)
			return &medium.files[i];
		if (medium.files[i].ino == 0)
			unused = &medium.files[i];
	}
	if (!make)
		return NULL;
	must(unused);
	unused->ino = ino;
	return unused;
}

/* All of a file, by another descriptor than the store's. */
static char *read_all(int dir_fd, const char *name, size_t *ret_bytes)
{
	int fd = openat(dir_fd, name, O_RDONLY);
	struct stat st;
	char *data;

	if (fd < 0 || fstat(fd, &st) != 0)
		abort();
	data = must(malloc((size_t)st.st_size + 1));
	if (pread(fd, data, (size_t)st.st_size, 0) != st.st_size)
		abort();
	close(fd);
	*ret_bytes = (size_t)st.st_size;
	return data;
}

static void file_is_durable(int fd)
{
	char link[64];
	struct durable *d;
	struct stat st;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return;
	d = durable_of(st.st_ino, true);
	free(d->data);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	d->data = read_all(AT_FDCWD, link, &d->bytes);
}

static struct name_op *find_name(struct name_op *names, const char *name)
{
	struct name_op *unused = NULL;

	for (uint32_t i = 0; i < MAX_FILE; i++) {
		if (names[i].ino != 0 && strcmp(names[i].name, name) == 0)
			return &names[i];
		if (names[i].ino == 0)
			unused = &names[i];
	}
	return must(unused);
}

static void apply_ops(struct name_op *names, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		*find_name(names, medium.ops[i].name) = medium.ops[i];
}

static void forget_unnamed(void)
{
	for (uint32_t i = 0; i < MAX_FILE; i++) {
		bool is_named = false;

		for (uint32_t k = 0; k < MAX_FILE; k++)
			is_named |= medium.names[k].ino == medium.files[i].ino;
		if (medium.files[i].ino == 0 || is_named)
			continue;
		free(medium.files[i].data);
		medium.files[i] = (struct durable){0};
	}
}

static void names_are_durable(void)
{
	apply_ops(medium.names, medium.nr_ops);
	medium.nr_ops = 0;
	forget_unnamed();
}

static void note_name(const char *name, ino_t ino)
{
	struct name_op *op = &medium.ops[medium.nr_ops++];

	if (medium.nr_ops > MAX_OPS)
		abort();
	snprintf(op->name, sizeof(op->name), "%.39s", name);
	op->ino = ino;
}

/* ---- the calls that are caught ------------------------------------------------------------------- */

static int sync_caught(int fd)
{
	char name[40];
	int rc = 0;

	/* Others go on writing meanwhile, as with a device. */
	usleep(medium.sync_us);
	pthread_mutex_lock(&medium.lock);
	if (!is_watched(fd, name)) {
		/* Of a folder that was made for one look. */
	} else if (medium.fail_sync != 0) {
		errno = medium.fail_sync;
		rc = -1;
	} else if (name[0] == '\0') {
		names_are_durable();
	} else {
		file_is_durable(fd);
	}
	pthread_mutex_unlock(&medium.lock);
	return rc;
}

int fsync(int fd)
{
	return sync_caught(fd);
}

int fdatasync(int fd)
{
	return sync_caught(fd);
}

ssize_t pwrite(int fd, const void *buf, size_t bytes, off_t offset)
{
	ssize_t n;

	/* One after the other, so that a cut falls between two. */
	pthread_mutex_lock(&medium.lock);
	n = syscall(SYS_pwrite64, fd, buf, bytes, offset);
	pthread_mutex_unlock(&medium.lock);
	return n;
}

int ftruncate(int fd, off_t bytes)
{
	int rc;

	pthread_mutex_lock(&medium.lock);
	rc = (int)syscall(SYS_ftruncate, fd, bytes);
	pthread_mutex_unlock(&medium.lock);
	return rc;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	char name[40];
	struct stat st;
	int rc;

	pthread_mutex_lock(&medium.lock);
	rc = (int)syscall(SYS_renameat, from_fd, from, to_fd, to);
	if (rc == 0 && is_watched(to_fd, name) && fstatat(to_fd, to, &st, 0) == 0)
		note_name(to, st.st_ino);
	pthread_mutex_unlock(&medium.lock);
	return rc;
}

int unlinkat(int fd, const char *path, int flags)
{
	char name[40];
	int rc;

	pthread_mutex_lock(&medium.lock);
	rc = (int)syscall(SYS_unlinkat, fd, path, flags);
	if (rc == 0 && is_watched(fd, name) && strstr(path, ".tmp") == NULL)
		note_name(path, 0);
	pthread_mutex_unlock(&medium.lock);
	return rc;
}

/* ---- cuts ---------------------------------------------------------------------------------------- */

enum cut {
	CUT_ALL,    /* all that was not synced is lost */
	CUT_NONE,   /* nothing is, as when only the process dies */
	CUT_BEHIND, /* what lies behind a point of the file is lost */
	CUT_SOME,   /* any of its sectors is */
	NR_CUTS
};

struct cutter {
	enum cut kind;
	uint64_t at;	 /* of CUT_BEHIND */
	bool is_shorter; /* the file ends there */
	unsigned int seed;
};

static bool keeps(struct cutter *c, uint64_t sector)
{
	switch (c->kind) {
	case CUT_ALL:
		return false;
	case CUT_NONE:
		return true;
	case CUT_BEHIND:
		return sector * SECTOR < c->at;
	default:
		return rand_r(&c->seed) % 2 != 0;
	}
}

/* The file as it would be found: from what is durable, and what is there now. */
static void write_cut(int to_fd, const char *name, const struct durable *d, const char *now,
		      size_t bytes, struct cutter *c)
{
	size_t old_bytes = d != NULL ? d->bytes : 0, total = old_bytes;
	int fd = openat(to_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	char *out;

	if (bytes != old_bytes && now != NULL && keeps(c, 0))
		total = bytes;
	if (c->is_shorter && c->at < total)
		total = c->at;
	out = must(calloc(1, total + SECTOR));
	for (size_t at = 0; at < total; at += SECTOR) {
		bool keep = now != NULL && at < bytes && keeps(c, at / SECTOR);
		const char *from = keep ? now : d != NULL ? d->data : NULL;
		size_t have = keep ? bytes : old_bytes;

		if (now != NULL && at < bytes &&
		    (at >= old_bytes ||
		     memcmp(now + at, d->data + at,
			    wr_min(wr_min(bytes, old_bytes) - at, (size_t)SECTOR)) != 0))
			medium.nr_unsynced++;
		if (from != NULL && at < have)
			memcpy(out + at, from + at, have - at < SECTOR ? have - at : SECTOR);
	}
	if (fd < 0 || (size_t)syscall(SYS_pwrite64, fd, out, total, 0) != total)
		abort();
	free(out);
	close(fd);
}

/* What is in the folder after a cut now, into the folder @to. The medium is locked. */
static void make_cut(const char *to, struct cutter *c)
{
	struct name_op names[MAX_FILE];
	int from_fd = open(medium.dir, O_RDONLY | O_DIRECTORY), to_fd;
	uint32_t nr = c->kind == CUT_ALL    ? 0
		      : c->kind == CUT_SOME ? (uint32_t)rand_r(&c->seed) % (medium.nr_ops + 1)
					    : medium.nr_ops;

	mkdir(to, 0700);
	to_fd = open(to, O_RDONLY | O_DIRECTORY);
	if (from_fd < 0 || to_fd < 0)
		abort();
	memcpy(names, medium.names, sizeof(names));
	apply_ops(names, nr);
	for (uint32_t i = 0; i < MAX_FILE; i++) {
		struct stat st;
		char *now = NULL;
		size_t bytes = 0;

		if (names[i].ino == 0)
			continue;
		if (fstatat(from_fd, names[i].name, &st, 0) == 0 && st.st_ino == names[i].ino)
			now = read_all(from_fd, names[i].name, &bytes);
		write_cut(to_fd, names[i].name, durable_of(names[i].ino, false), now, bytes, c);
		free(now);
	}
	close(from_fd);
	close(to_fd);
}

static void medium_start(const char *dir)
{
	/* As the system names it. */
	char *real = must(realpath(dir, NULL));

	snprintf(medium.dir, sizeof(medium.dir), "%s", real);
	free(real);
}

static void medium_stop(void)
{
	medium.dir[0] = '\0';
	medium.nr_ops = 0;
	memset(medium.names, 0, sizeof(medium.names));
	forget_unnamed();
}

/* ---- a store ------------------------------------------------------------------------------------- */

FIXTURE(power)
{
	char dir[256], cut_dir[300];
	struct weir_io *io;
	struct wr_store *s;
	struct wr_store_opts opts;
	_Atomic uint32_t acked[KEYS], asked[KEYS];
	uint32_t next;
	_Atomic int nr_free;
	uint64_t nr_looks, nr_torn;
};

FIXTURE_SETUP(power)
{
	struct weir_io_opts io = {.size = sizeof(io), .backend = WEIR_IO_BUFFERED};

	st_dir(self->dir, sizeof(self->dir), "power");
	snprintf(self->cut_dir, sizeof(self->cut_dir), "%s-cut", self->dir);
	st_dir_remove(self->cut_dir);
	ASSERT_EQ(mkdir(self->dir, 0700), 0);
	medium_start(self->dir);
	ASSERT_EQ(weir_io_open(&io, &self->io, NULL), 0);
	self->opts = st_opts(SEGMENTS);
	self->opts.io = self->io;
	self->next = 1;
	self->nr_free = 6;
	ASSERT_EQ(wr_store_open(self->dir, &self->opts, &self->s, NULL), 0);
}

FIXTURE_TEARDOWN(power)
{
	wr_store_close(self->s);
	weir_io_close(self->io);
	medium_stop();
	st_dir_remove(self->dir);
	st_dir_remove(self->cut_dir);
	EXPECT_EQ(wr_test_alloc_live(), 0);
	EXPECT_EQ(st_nr_fds_left(), 0);
}

struct call {
	FIXTURE_DATA(power) * self;
	uint64_t n;
	uint32_t version;
	void *mem;
};

static void ended(void *arg, int result)
{
	struct call *c = arg;

	if (result == 0)
		atomic_store(&c->self->acked[c->n], c->version);
	free(c->mem);
	atomic_fetch_add(&c->self->nr_free, 1);
	free(c);
}

/* A put or a remove of a key of which none is under way. */
static int begin_call(FIXTURE_DATA(power) * self, unsigned int *seed)
{
	struct call *c = must(calloc(1, sizeof(*c)));
	bool put = rand_r(seed) % 4 != 0;
	int rc = -EAGAIN;

	*c = (struct call){.self = self, .n = (uint64_t)rand_r(seed) % KEYS};
	if (self->asked[c->n] != self->acked[c->n] ||
	    (!put && wr_store_find(self->s, st_key(c->n), NULL) != 0))
		goto out;
	c->version = self->next++ | (put ? 0 : REMOVED);
	atomic_store(&self->asked[c->n], c->version);
	atomic_fetch_sub(&self->nr_free, 1);
	if (put) {
		struct wr_store_put_req req = {.key = st_key(c->n), .done = ended, .arg = c};

		req.bytes = st_bytes(c->n, c->version, MOST);
		req.buf = c->mem = st_mem(req.bytes);
		st_fill(c->mem, req.bytes, c->n, c->version);
		rc = wr_store_put(self->s, &req);
	} else {
		rc = wr_store_remove(self->s, st_key(c->n), ended, c);
	}
	if (rc == 0)
		return 0;
	atomic_store(&self->asked[c->n], atomic_load(&self->acked[c->n]));
	atomic_fetch_add(&self->nr_free, 1);
	free(c->mem);
out:
	free(c);
	return rc;
}

/* 0: the key is as @version says; 1: it is not; or what is wrong with it. */
static int compare(struct wr_store *s, uint64_t n, uint32_t version)
{
	int rc;

	if (version == 0 || (version & REMOVED) != 0) {
		rc = wr_store_find(s, st_key(n), NULL);
		return rc == -ENOENT ? 0 : rc == 0 ? 1 : rc;
	}
	rc = st_get(s, n, version, st_bytes(n, version, MOST));
	return rc == -ENOENT ? 1 : rc;
}

/* Open what a cut left: how many keys are not as they may be. Twice: it stays what it was. */
static int look(FIXTURE_DATA(power) * self, const uint32_t acked[KEYS], const uint32_t asked[KEYS])
{
	uint32_t found[KEYS];
	struct wr_store_stats stats;
	struct weir_error err = {0};
	struct wr_store *s;
	int nr_bad = 0;

	for (int time = 0; time < 2; time++) {
		if (wr_store_open(self->cut_dir, &self->opts, &s, &err) != 0) {
			fprintf(stderr, "# %s: %s\n", err.file, err.message);
			return -1;
		}
		for (uint64_t n = 0; n < KEYS; n++) {
			int rc = compare(s, n, time != 0 ? found[n] : acked[n]);

			found[n] = time != 0 ? found[n] : acked[n];
			if (rc == 1 && time == 0) {
				rc = compare(s, n, asked[n]);
				found[n] = asked[n];
			}
			if (rc != 0)
				fprintf(stderr, "# opening %d, key %u: %x, asked %x: %d\n", time,
					(unsigned int)n, acked[n], asked[n], rc);
			nr_bad += rc != 0;
		}
		wr_store_stats(s, &stats);
		self->nr_torn += stats.nr_torn;
		wr_store_close(s);
	}
	self->nr_looks++;
	return nr_bad;
}

static int cut_and_look(FIXTURE_DATA(power) * self, struct cutter *c)
{
	uint32_t acked[KEYS], asked[KEYS];

	st_dir_remove(self->cut_dir);
	pthread_mutex_lock(&medium.lock);
	for (uint32_t n = 0; n < KEYS; n++) {
		acked[n] = self->acked[n];
		asked[n] = self->asked[n];
	}
	make_cut(self->cut_dir, c);
	medium.sync_us = 0;
	pthread_mutex_unlock(&medium.lock);
	return look(self, acked, asked);
}

static void run_for(FIXTURE_DATA(power) * self, uint32_t nr, unsigned int *seed)
{
	for (uint32_t i = 0; i < nr; i++) {
		while (atomic_load(&self->nr_free) == 0)
			usleep(20);
		(void)begin_call(self, seed);
	}
}

TEST_F_TIMEOUT(power, cut_at_any_moment_loses_nothing_that_was_acknowledged, 1800)
{
	const char *text = getenv("WEIR_TEST_CUTS");
	int nr = text != NULL ? atoi(text) : 80;
	unsigned int seed = 5;
	struct wr_store_stats stats;

	for (int i = 0; i < nr; i++) {
		struct cutter c = {.kind = (enum cut)(i % NR_CUTS), .seed = (unsigned int)i};

		medium.sync_us = 3000;
		run_for(self, 10 + (uint32_t)rand_r(&seed) % 40, &seed);
		if (i % 3 == 0)
			usleep((useconds_t)(rand_r(&seed) % 3000));
		c.at = (uint64_t)rand_r(&seed) % (1u << 20) / SECTOR * SECTOR;
		ASSERT_EQ(cut_and_look(self, &c), 0)
		{
			TH_LOG("cut %d of kind %d", i, c.kind);
		}
	}
	wr_store_stats(self->s, &stats);
	TH_LOG("%llu cuts; %llu puts, %llu removes, %llu segments given back, %llu bytes copied; "
	       "%llu sectors not synced, %llu torn blocks found",
	       (unsigned long long)self->nr_looks, (unsigned long long)stats.nr_puts,
	       (unsigned long long)stats.nr_removes, (unsigned long long)stats.nr_cleaned,
	       (unsigned long long)stats.copied_bytes, (unsigned long long)medium.nr_unsynced,
	       (unsigned long long)self->nr_torn);
	EXPECT_GT(stats.nr_cleaned, 0u);
	EXPECT_GT(stats.copied_bytes, 0u);
	EXPECT_GT(medium.nr_unsynced, 0u);
}

/* The range of the first segment that is other than what is durable. */
static void unsynced_range(FIXTURE_DATA(power) * self, uint64_t *begin, uint64_t *end)
{
	int fd = open(self->dir, O_RDONLY | O_DIRECTORY);
	struct durable *d;
	struct stat st;
	size_t bytes;
	char *now;

	if (fstatat(fd, "seg-0000000000000001", &st, 0) != 0)
		abort();
	d = must(durable_of(st.st_ino, false));
	now = read_all(fd, "seg-0000000000000001", &bytes);
	*begin = bytes;
	*end = 0;
	for (uint64_t at = 0; at < bytes && at < d->bytes; at += SECTOR) {
		if (memcmp(now + at, d->data + at, SECTOR) == 0)
			continue;
		*begin = at < *begin ? at : *begin;
		*end = at + SECTOR;
	}
	free(now);
	close(fd);
}

TEST_F_TIMEOUT(power, cut_at_every_sector_behind_the_last_sync_leaves_the_rest, 300)
{
	uint64_t begin, end;

	for (uint64_t n = 0; n < 8; n++) {
		uint32_t version = self->next++;

		ASSERT_EQ(st_put(self->s, n, version, st_bytes(n, version, MOST)), 0);
		self->acked[n] = self->asked[n] = version;
	}
	/* Written in place of another, and not synced. */
	medium.fail_sync = EIO;
	do
		self->asked[6] = self->next++;
	while (st_bytes(6, self->asked[6], MOST) > 20000);
	EXPECT_EQ(st_put(self->s, 6, self->asked[6], st_bytes(6, self->asked[6], MOST)), -EIO);
	unsynced_range(self, &begin, &end);
	ASSERT_LT(begin, end);
	for (uint64_t at = begin; at <= end; at += SECTOR) {
		struct cutter behind = {.kind = CUT_BEHIND, .at = at};
		struct cutter shorter = {.kind = CUT_BEHIND, .at = at, .is_shorter = true};
		struct cutter some = {.kind = CUT_SOME, .seed = (unsigned int)at};

		ASSERT_EQ(cut_and_look(self, &behind), 0);
		ASSERT_EQ(cut_and_look(self, &shorter), 0);
		ASSERT_EQ(cut_and_look(self, &some), 0);
	}
	TH_LOG("%llu cuts from byte %llu to %llu, %llu torn blocks found",
	       (unsigned long long)self->nr_looks, (unsigned long long)begin,
	       (unsigned long long)end, (unsigned long long)self->nr_torn);
	EXPECT_GT(self->nr_torn, 0u);
	medium.fail_sync = 0;
}

TEST_HARNESS_MAIN
