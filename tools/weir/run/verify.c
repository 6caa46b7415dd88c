/* SPDX-License-Identifier: MIT */
/*
 * verify.c - Hash every tensor of a model, two ways.
 *
 * The engine's side cuts tensors into pieces that fill a slot, keeps all slots in
 * flight, and hashes the pieces in order: slot n holds pieces n, n + NR_SLOTS, ...
 * Slots lie in one area of huge pages where the system gives them.
 */
#include "verify.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/util.h"

#define NR_SLOTS   8
#define SLOT_BYTES ((size_t)4 << 20)

static bool stopped(const struct wr_verify *v)
{
	return atomic_load_explicit(v->stop, memory_order_relaxed);
}

/* ---- the order of the pieces ---- */

struct cursor {
	uint32_t tensor;
	uint64_t at; /* bytes of it that are behind us */
};

/* ---- the engine's side ---- */

struct slot {
	struct engine *engine;
	unsigned char *buf;
	uint32_t tensor;
	size_t bytes;
	bool last; /* of its tensor */
	bool busy;
	bool done; /* [engine->lock] */
	int result;
	const void *data;
};

struct engine {
	struct wr_verify *v;
	struct weir_io *io;
	struct weir_io_file **files;
	struct cursor next; /* to be submitted */
	struct slot slots[NR_SLOTS];
	unsigned char *area;
	pthread_mutex_t lock;
	pthread_cond_t done;
	XXH3_state_t *state;
};

static void on_done(void *arg, int result, void *data)
{
	struct slot *s = arg;

	pthread_mutex_lock(&s->engine->lock);
	s->result = result;
	s->data = data;
	s->done = true;
	pthread_cond_signal(&s->engine->done);
	pthread_mutex_unlock(&s->engine->lock);
}

/* Leave the tensors behind that have no bytes: their hash is that of nothing. */
static const struct weir_tensor *next_tensor(struct engine *e)
{
	const struct weir_tensor *t;

	for (;; e->next.tensor++) {
		t = weir_model_tensor(e->v->model, e->next.tensor);
		if (!t || t->bytes)
			return t;
		e->v->hash[e->next.tensor] = XXH3_64bits("", 0);
	}
}

/* Submit the next piece into @s; leaves it idle when there is none. */
static int submit(struct engine *e, struct slot *s, struct weir_error *err)
{
	const struct weir_tensor *t = next_tensor(e);
	struct weir_io_req req = {.io_class = WEIR_IO_DEMAND, .done = on_done, .arg = s};
	struct weir_io_file_info info;
	size_t room;
	int code;

	s->busy = false;
	if (!t)
		return 0;
	req.file = e->files[t->file];
	weir_io_file_info(req.file, &info);
	room = SLOT_BYTES - 2 * (size_t)info.offset_align;
	s->tensor = e->next.tensor;
	s->bytes = t->bytes - e->next.at < room ? (size_t)(t->bytes - e->next.at) : room;
	s->done = false;
	req.offset = t->offset + e->next.at;
	req.bytes = s->bytes;
	req.buf = s->buf;
	req.buf_bytes = SLOT_BYTES;
	code = weir_io_read(e->io, &req, NULL);
	if (code)
		return wr_error_set(err, code, weir_model_file(e->v->model, t->file)->path,
				    req.offset, "the read was not accepted: %s",
				    weir_strerror(code));
	s->busy = true;
	e->next.at += s->bytes;
	s->last = e->next.at == t->bytes;
	if (s->last)
		e->next = (struct cursor){e->next.tensor + 1, 0};
	return 0;
}

static void wait_slot(struct engine *e, struct slot *s)
{
	pthread_mutex_lock(&e->lock);
	while (!s->done)
		pthread_cond_wait(&e->done, &e->lock);
	pthread_mutex_unlock(&e->lock);
}

/* Hash the piece in @s, which is the next in order. */
static int take(struct engine *e, struct slot *s, struct weir_error *err)
{
	const struct weir_tensor *t = weir_model_tensor(e->v->model, s->tensor);

	wait_slot(e, s);
	if (s->result)
		return wr_error_set(err, s->result, weir_model_file(e->v->model, t->file)->path,
				    t->offset, "the read of %s failed: %s", t->name,
				    weir_strerror(s->result));
	XXH3_64bits_update(e->state, s->data, s->bytes);
	atomic_fetch_add_explicit(&e->v->done, s->bytes, memory_order_relaxed);
	if (s->last) {
		e->v->hash[s->tensor] = XXH3_64bits_digest(e->state);
		XXH3_64bits_reset(e->state);
	}
	return 0;
}

static int run(struct engine *e, struct weir_error *err)
{
	int code = 0;

	XXH3_64bits_reset(e->state);
	for (size_t i = 0; i < NR_SLOTS && !code; i++)
		code = submit(e, &e->slots[i], err);
	for (size_t i = 0; !code && e->slots[i].busy; i = (i + 1) % NR_SLOTS) {
		code = take(e, &e->slots[i], err);
		if (!code && stopped(e->v))
			code = -ECANCELED;
		if (!code)
			code = submit(e, &e->slots[i], err);
	}
	/* The engine writes into the slots until it has called back. */
	for (size_t i = 0; i < NR_SLOTS; i++)
		if (e->slots[i].busy)
			wait_slot(e, &e->slots[i]);
	return code;
}

static int open_files(struct engine *e, struct weir_error *err)
{
	uint32_t nr = weir_model_nr_files(e->v->model);
	int code = 0;

	e->files = calloc(nr, sizeof(*e->files));
	if (!e->files)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory");
	for (uint32_t i = 0; i < nr && !code; i++)
		code = weir_io_file_open(e->io, weir_model_file(e->v->model, i)->path, &e->files[i],
					 err);
	return code;
}

static int open_area(struct engine *e, struct weir_error *err)
{
	size_t bytes = NR_SLOTS * SLOT_BYTES;

	e->area = mmap(NULL, bytes + (2u << 20), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (e->area == MAP_FAILED) {
		e->area = NULL;
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory");
	}
	madvise(e->area, bytes + (2u << 20), MADV_HUGEPAGE);
	for (size_t i = 0; i < NR_SLOTS; i++) {
		e->slots[i].engine = e;
		e->slots[i].buf =
			(unsigned char *)wr_align_up((uintptr_t)e->area, 2u << 20) + i * SLOT_BYTES;
	}
	return 0;
}

int wr_verify_engine(struct wr_verify *v, struct weir_io *io, struct weir_error *err)
{
	struct engine e = {.v = v, .io = io, .state = XXH3_createState()};
	int code;

	pthread_mutex_init(&e.lock, NULL);
	pthread_cond_init(&e.done, NULL);
	code = e.state ? open_area(&e, err)
		       : wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory");
	if (!code)
		code = open_files(&e, err);
	if (!code)
		code = run(&e, err);
	for (uint32_t i = 0; e.files && i < weir_model_nr_files(v->model); i++)
		weir_io_file_close(e.files[i]);
	free(e.files);
	if (e.area)
		munmap(e.area, NR_SLOTS * SLOT_BYTES + (2u << 20));
	XXH3_freeState(e.state);
	pthread_cond_destroy(&e.done);
	pthread_mutex_destroy(&e.lock);
	return code;
}

/* ---- the plain side ---- */

/* Hash one tensor from @fd through @buf. */
static int plain_tensor(struct wr_verify *v, uint32_t index, int fd, unsigned char *buf,
			XXH3_state_t *state)
{
	const struct weir_tensor *t = weir_model_tensor(v->model, index);
	uint64_t at = 0;

	XXH3_64bits_reset(state);
	while (at < t->bytes) {
		size_t want = t->bytes - at < SLOT_BYTES ? (size_t)(t->bytes - at) : SLOT_BYTES;
		ssize_t n = pread(fd, buf, want, (off_t)(t->offset + at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENODATA;
		XXH3_64bits_update(state, buf, (size_t)n);
		posix_fadvise(fd, (off_t)(t->offset + at), n, POSIX_FADV_DONTNEED);
		at += (uint64_t)n;
		atomic_fetch_add_explicit(&v->done, (uint64_t)n, memory_order_relaxed);
		if (stopped(v))
			return -ECANCELED;
	}
	v->hash[index] = XXH3_64bits_digest(state);
	return 0;
}

int wr_verify_plain(struct wr_verify *v, struct weir_error *err)
{
	unsigned char *buf = malloc(SLOT_BYTES);
	XXH3_state_t *state = XXH3_createState();
	const char *path = NULL;
	uint32_t file = UINT32_MAX;
	int fd = -1, code = buf && state ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < weir_model_nr_tensors(v->model) && !code; i++) {
		const struct weir_tensor *t = weir_model_tensor(v->model, i);

		if (t->file != file) {
			file = t->file;
			path = weir_model_file(v->model, file)->path;
			if (fd >= 0)
				close(fd);
			fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		}
		code = fd < 0 ? -errno : plain_tensor(v, i, fd, buf, state);
	}
	if (fd >= 0)
		close(fd);
	XXH3_freeState(state);
	free(buf);
	if (code && code != -ECANCELED)
		return wr_error_set(err, code, path, WEIR_OFFSET_NONE, "plain reads fail: %s",
				    weir_strerror(code));
	return code;
}
