/* SPDX-License-Identifier: MIT */
/* Help for the tests of the store; see the header. */
#include "tier/store_help.h"

#include <dirent.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/holdings.h"

static int nr_fds_at_start;

__attribute__((constructor)) static void count_fds(void)
{
	nr_fds_at_start = nr_open_files();
}

int st_nr_fds_left(void)
{
	return nr_open_files() - nr_fds_at_start;
}

void st_dir(char *ret, size_t size, const char *name)
{
	snprintf(ret, size, "%s/store-%s-%d", WR_TEST_BUILD, name, (int)getpid());
	st_dir_remove(ret);
}

void st_dir_remove(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *d;

	while (dir != NULL && (d = readdir(dir)) != NULL)
		unlinkat(dirfd(dir), d->d_name, 0);
	if (dir != NULL)
		closedir(dir);
	rmdir(path);
}

uint64_t st_dir_bytes(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *d;
	struct stat st;
	uint64_t sum = 0;

	while (dir != NULL && (d = readdir(dir)) != NULL) {
		if (fstatat(dirfd(dir), d->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
			sum += (uint64_t)st.st_blocks * 512;
	}
	if (dir != NULL)
		closedir(dir);
	return sum;
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 31) * 0x7fb5d329728ea185ull;
	x = (x ^ x >> 27) * 0x81dadef4bc2dd44dull;
	return x ^ x >> 33;
}

struct weir_key st_key(uint64_t n)
{
	return (struct weir_key){.hi = mix(n + 1), .lo = mix(~n)};
}

size_t st_bytes(uint64_t n, uint64_t version, size_t most)
{
	return 1 + mix(n * 31 + version) % most;
}

void st_fill(void *buf, size_t bytes, uint64_t n, uint64_t version)
{
	uint64_t seed = mix(n) ^ mix(version << 32);
	unsigned char *p = buf;

	for (size_t i = 0; i < bytes; i++) {
		if (i % 512 == 0)
			seed = mix(seed + i);
		p[i] = (unsigned char)(seed >> (i % 8 * 8)) ^ (unsigned char)i;
	}
}

bool st_is(const void *buf, size_t bytes, uint64_t n, uint64_t version)
{
	void *want = malloc(bytes);
	bool same;

	st_fill(want, bytes, n, version);
	same = memcmp(want, buf, bytes) == 0;
	free(want);
	return same;
}

void *st_mem(size_t bytes)
{
	void *mem = aligned_alloc(WR_STORE_ALIGN,
				  (bytes + WR_STORE_ALIGN - 1) / WR_STORE_ALIGN * WR_STORE_ALIGN);

	if (mem == NULL)
		abort();
	return mem;
}

struct wr_store_opts st_opts(uint64_t segments)
{
	return (struct wr_store_opts){
		.size = sizeof(struct wr_store_opts),
		.budget_bytes = (64u << 10) + (segments << 20),
		.segment_bytes = 1u << 20,
	};
}

struct wait {
	sem_t done;
	int result;
};

static void ended(void *arg, int result)
{
	struct wait *w = arg;

	w->result = result;
	sem_post(&w->done);
}

static int wait_for(struct wait *w, int rc)
{
	if (rc == 0) {
		while (sem_wait(&w->done) != 0)
			;
		rc = w->result;
	}
	sem_destroy(&w->done);
	return rc;
}

int st_put(struct wr_store *s, uint64_t n, uint64_t version, size_t bytes)
{
	struct wait w;
	struct wr_store_put_req req = {
		.key = st_key(n),
		.class = (uint32_t)(n % 5),
		.name = "a block",
		.buf = st_mem(bytes),
		.bytes = bytes,
		.done = ended,
		.arg = &w,
	};
	void *mem;
	int rc;

	memcpy(&mem, &req.buf, sizeof(mem));
	st_fill(mem, bytes, n, version);
	sem_init(&w.done, 0, 0);
	rc = wait_for(&w, wr_store_put(s, &req));
	free(mem);
	return rc;
}

int st_remove(struct wr_store *s, uint64_t n)
{
	struct wait w;

	sem_init(&w.done, 0, 0);
	return wait_for(&w, wr_store_remove(s, st_key(n), ended, &w));
}

int st_get(struct wr_store *s, uint64_t n, uint64_t version, size_t bytes)
{
	struct wr_store_info info;
	struct wait w;
	size_t cap;
	void *mem;
	int rc = wr_store_find(s, st_key(n), &info);

	if (rc != 0)
		return rc;
	cap = (info.bytes + WR_STORE_ALIGN - 1) / WR_STORE_ALIGN * WR_STORE_ALIGN;
	mem = st_mem(cap);
	sem_init(&w.done, 0, 0);
	rc = wait_for(&w, wr_store_get(s, st_key(n), mem, cap, ended, &w));
	if (rc == 0 && (info.bytes != bytes || !st_is(mem, bytes, n, version)))
		rc = 1;
	free(mem);
	return rc;
}
