/* SPDX-License-Identifier: MIT */
/* The io tests' helpers; see io_help.h. */
#include "io/io_help.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/random.h"

#define HUGE_BYTES ((size_t)2 << 20)

static _Atomic int nr_called_back;

void io_scratch_path(char *path, size_t path_bytes, bool memory, const char *name)
{
	const char *folder = memory ? "/dev/shm" : WR_TEST_BUILD "/io-scratch";

	/* Open to all: a test that has dropped its rights removes its files too. */
	if (!memory && mkdir(folder, 0777) == 0)
		(void)chmod(folder, 0777);
	snprintf(path, path_bytes, "%s/weir-io-%d-%s", folder, (int)getpid(), name);
}

/* A word for each eighth byte: splitmix64, so that no range repeats. */
static uint64_t word_at(uint64_t index)
{
	return wr_mix64((index + 1) * 0x9e3779b97f4a7c15u);
}

uint8_t io_byte_at(uint64_t offset)
{
	return (uint8_t)(word_at(offset / 8) >> offset % 8 * 8);
}

uint64_t io_first_wrong(const void *data, uint64_t offset, size_t bytes)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < bytes; i++) {
		if (p[i] != io_byte_at(offset + i))
			return offset + i;
	}
	return offset + bytes;
}

int io_file_make(const char *path, uint64_t bytes)
{
	enum { PART = 1 << 20 };
	uint64_t *part = malloc(PART);
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
	int rc = fd < 0 ? -errno : 0;

	for (uint64_t at = 0; at < bytes && rc == 0; at += PART) {
		size_t want = bytes - at < PART ? (size_t)(bytes - at) : PART;

		for (size_t i = 0; i < PART / 8; i++)
			part[i] = word_at(at / 8 + i);
		if (write(fd, part, want) != (ssize_t)want)
			rc = -EIO;
	}
	if (fd >= 0) {
		fdatasync(fd);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		close(fd);
	}
	free(part);
	return rc;
}

void *io_buffer(size_t bytes)
{
	size_t whole = (bytes + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
	void *buf = aligned_alloc(HUGE_BYTES, whole);

	if (buf == NULL)
		abort();
	madvise(buf, whole, MADV_HUGEPAGE);
	memset(buf, 0xa5, bytes);
	return buf;
}

void io_buffer_free(void *buf, size_t bytes)
{
	(void)bytes;
	free(buf);
}

void io_wait_init(struct io_wait *w)
{
	memset(w, 0, sizeof(*w));
	sem_init(&w->done, 0, 0);
}

static void on_done(void *arg, int result, void *data)
{
	struct io_wait *w = arg;

	w->result = result;
	w->data = data;
	w->position = atomic_fetch_add(&nr_called_back, 1);
	atomic_fetch_add(&w->nr_calls, 1);
	sem_post(&w->done);
}

struct weir_io_req io_request(struct weir_io_file *file, uint64_t offset, size_t bytes, void *buf,
			      size_t buf_bytes, uint32_t io_class, struct io_wait *w)
{
	struct weir_io_req req = {
		.file = file,
		.offset = offset,
		.bytes = bytes,
		.buf = buf,
		.buf_bytes = buf_bytes,
		.io_class = io_class,
		.done = on_done,
		.arg = w,
	};

	return req;
}

int io_wait_for(struct io_wait *w)
{
	while (sem_wait(&w->done) != 0)
		;
	return w->result;
}

int io_read_now(struct weir_io *io, struct weir_io_file *file, uint64_t offset, size_t bytes,
		void *buf, size_t buf_bytes, void **ret_data)
{
	struct weir_io_req req;
	struct io_wait w;
	int rc;

	io_wait_init(&w);
	req = io_request(file, offset, bytes, buf, buf_bytes, WEIR_IO_DEMAND, &w);
	rc = weir_io_read(io, &req, &w.token);
	if (rc == 0)
		rc = io_wait_for(&w);
	*ret_data = w.data;
	return rc;
}

void io_gate_init(struct io_gate *g, bool shut)
{
	memset(g, 0, sizeof(*g));
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->changed, NULL);
	g->shut = shut;
}

int64_t io_gate_filter(void *gate, uint64_t offset, size_t bytes, int64_t res)
{
	struct io_gate *g = gate;

	pthread_mutex_lock(&g->lock);
	g->nr_inside++;
	pthread_cond_broadcast(&g->changed);
	while (g->shut)
		pthread_cond_wait(&g->changed, &g->lock);
	g->nr_inside--;
	g->nr_passed++;
	if (g->replace != NULL)
		res = g->replace(g->arg, offset, bytes, res);
	pthread_mutex_unlock(&g->lock);
	return res;
}

void io_gate_open(struct io_gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->shut = false;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

void io_gate_await(struct io_gate *g, int nr)
{
	pthread_mutex_lock(&g->lock);
	while (g->nr_inside < nr)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

long io_status_kib(const char *name)
{
	char line[128];
	size_t length = strlen(name);
	long kib = -1;
	FILE *f = fopen("/proc/self/status", "re");

	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		if (strncmp(line, name, length) == 0 && line[length] == ':') {
			kib = atol(line + length + 1);
			break;
		}
	}
	if (f != NULL)
		fclose(f);
	return kib;
}

long io_resident_pages(const char *path)
{
	long nr = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t bytes = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	size_t pages = bytes > 0 ? ((size_t)bytes + 4095) / 4096 : 0;
	unsigned char *in = calloc(pages + 1, 1);
	void *map = MAP_FAILED;
	struct statfs fs;

	if (fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == 0x01021994 /* TMPFS_MAGIC */)
		pages = 0;
	if (pages != 0)
		map = mmap(NULL, (size_t)bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (pages != 0 && (map == MAP_FAILED || mincore(map, (size_t)bytes, in) != 0))
		nr = -errno;
	for (size_t i = 0; i < pages && nr >= 0; i++)
		nr += in[i] & 1;
	if (map != MAP_FAILED)
		munmap(map, (size_t)bytes);
	free(in);
	if (fd >= 0)
		close(fd);
	return nr;
}

#define FIELD(name) ((uint32_t)offsetof(struct seccomp_data, name))

bool io_forbid(int system_call, int code, int arg1)
{
	/* Low half of the argument, little endian; the values asked for are small. */
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIELD(nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)system_call, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIELD(args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)arg1, 0, arg1 < 0 ? 0 : 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)code),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {
		.len = sizeof(filter) / sizeof(filter[0]),
		.filter = filter,
	};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

int io_drop_privileges(void)
{
	const uid_t nobody = 65534;

	if (setgroups(0, NULL) != 0 || setresgid(nobody, nobody, nobody) != 0 ||
	    setresuid(nobody, nobody, nobody) != 0)
		return -errno;
	/* Dumpable again, so that /proc/self can be read. */
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0 ? 0 : -errno;
}
