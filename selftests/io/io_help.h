/* SPDX-License-Identifier: MIT */
/*
 * What the io tests share: files with a known byte at every offset, engines on each rung, reads that
 * are waited for, and gates that hold reads in flight until the test lets them go.
 */
#ifndef WR_TEST_IO_HELP_H
#define WR_TEST_IO_HELP_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <weir/io.h>

#include "harness/skip.h"

/*
 * The same tests on every rung. "mixed" is the highest rung with a file that only the page cache
 * has (tmpfs), so the workers serve it beside the ring.
 */
#define IO_EVERY_RUNG(fixture)                  \
	FIXTURE_VARIANT(fixture)                \
	{                                       \
		uint32_t backend;               \
		bool memory;                    \
	};                                      \
	FIXTURE_VARIANT_ADD(fixture, fixed){    \
		.backend = WEIR_IO_FIXED,       \
	};                                      \
	FIXTURE_VARIANT_ADD(fixture, uring){    \
		.backend = WEIR_IO_URING,       \
	};                                      \
	FIXTURE_VARIANT_ADD(fixture, pread){    \
		.backend = WEIR_IO_PREAD,       \
	};                                      \
	FIXTURE_VARIANT_ADD(fixture, buffered){ \
		.backend = WEIR_IO_BUFFERED,    \
	};                                      \
	FIXTURE_VARIANT_ADD(fixture, mixed){    \
		.backend = WEIR_IO_AUTO,        \
		.memory = true,                 \
	};

/* In a setup: @call must succeed, or give -EOPNOTSUPP on a machine that lacks a rung. */
#define IO_OR_SKIP(call, path, err)                      \
	do {                                             \
		int rc_ = (call);                        \
		if (rc_ == -EOPNOTSUPP) {                \
			unlink(path);                    \
			SKIP_SETUP("%s", (err).message); \
		}                                        \
		ASSERT_EQ(rc_, 0)                        \
		{                                        \
			TH_LOG("%s", (err).message);     \
		}                                        \
	} while (0)

/* In a setup: a context on the variant's rung with @pool_bytes in pages of 4 KiB. */
#define IO_OPEN_WEIR(pool_bytes, ret)                                                            \
	do {                                                                                     \
		struct weir_opts opts_ = {.size = sizeof(opts_),                                 \
					  .budget_bytes = (pool_bytes),                          \
					  .io_backend = variant->backend,                        \
					  .page_kinds = 1u << WEIR_PAGE_4K};                     \
		struct weir_error err_;                                                          \
		int rc_ = weir_open(&opts_, (ret), &err_);                                       \
                                                                                                 \
		if (rc_ == -EOPNOTSUPP && variant->backend && variant->backend <= WEIR_IO_URING) \
			SKIP_SETUP("io_uring is refused here");                                  \
		ASSERT_EQ(rc_, 0)                                                                \
		{                                                                                \
			TH_LOG("%s", err_.message);                                              \
		}                                                                                \
	} while (0)

/* Of a variant, in a fixture's setup. */
#define IO_NEED_MEMORY_FILES(memory)                           \
	do {                                                   \
		if ((memory) && access("/dev/shm", W_OK) != 0) \
			SKIP_SETUP("there is no /dev/shm");    \
	} while (0)

/* A name in the build folder, or in memory (tmpfs), of this process. */
void io_scratch_path(char *path, size_t path_bytes, bool memory, const char *name);

/* A file whose byte at each offset is known; out of the page cache. 0 or -errno. */
int io_file_make(const char *path, uint64_t bytes);
uint8_t io_byte_at(uint64_t offset);
/* The first offset in the range where @data is not the file's byte; offset + bytes if none. */
uint64_t io_first_wrong(const void *data, uint64_t offset, size_t bytes);

/* Huge-page memory, touched; never fails (aborts). */
void *io_buffer(size_t bytes);
void io_buffer_free(void *buf, size_t bytes);

/* One read and how it ended. */
struct io_wait {
	sem_t done;
	_Atomic int nr_calls;
	int result;
	void *data;
	uint64_t token;
	int position; /* in the order of all callbacks of this process */
};

void io_wait_init(struct io_wait *w);
/* The request that ends in @w. */
struct weir_io_req io_request(struct weir_io_file *file, uint64_t offset, size_t bytes, void *buf,
			      size_t buf_bytes, uint32_t io_class, struct io_wait *w);
/* Waits; the result. */
int io_wait_for(struct io_wait *w);
/* Submits, waits, and gives the result of whichever failed. */
int io_read_now(struct weir_io *io, struct weir_io_file *file, uint64_t offset, size_t bytes,
		void *buf, size_t buf_bytes, void **ret_data);

/*
 * A fault for wr_io_set_fault(): while the gate is shut, outcomes wait in it. Each outcome of an
 * attempt may be replaced by @replace (NULL: none is).
 */
struct io_gate {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool shut;
	int nr_inside; /* outcomes waiting */
	int nr_passed;
	int64_t (*replace)(void *arg, uint64_t offset, size_t bytes, int64_t res);
	void *arg;
};

void io_gate_init(struct io_gate *g, bool shut);
int64_t io_gate_filter(void *gate, uint64_t offset, size_t bytes, int64_t res);
void io_gate_open(struct io_gate *g);
/* Until @nr outcomes wait in it. */
void io_gate_await(struct io_gate *g, int nr);

/* A line of /proc/self/status, as VmRSS or VmPin. */
long io_status_kib(const char *name);
/* Pages of the file in the page cache, or -errno; 0 where the page cache is the file (tmpfs). */
long io_resident_pages(const char *path);

/*
 * From now on this process's @system_call fails with @code; with @arg1 >= 0, only when that is its
 * second argument. False when this machine has no filters.
 */
bool io_forbid(int system_call, int code, int arg1);
/* Become nobody, with no capability left. 0 or -errno. */
int io_drop_privileges(void);

#endif /* WR_TEST_IO_HELP_H */
