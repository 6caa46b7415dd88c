/* SPDX-License-Identifier: MIT */
/* A residency under test and its source of bytes; see fake_source.h. */
#include "stream/fake_source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/random.h"
#include "harness/holdings.h"

#define ORDER_ROOM 65536u

/* Word j of fill f of entry i. */
static uint64_t word(uint32_t index, uint32_t fill, size_t j)
{
	return ((uint64_t)index << 40) + ((uint64_t)(fill & 0xffff) << 24) + j;
}

static void write_bytes(const struct fake *fake, uint32_t index, void *mem, uint32_t fill)
{
	uint64_t *words = mem;

	for (size_t j = 0; j < fake->entries[index].bytes / 8; j++)
		words[j] = word(index, fill, j);
}

bool fake_bytes_are(const struct fake *fake, uint32_t index, const void *mem, uint32_t *ret_fill)
{
	const uint64_t *words = mem;
	uint32_t fill = (uint32_t)(words[0] >> 24) & 0xffff;

	for (size_t j = 0; j < fake->entries[index].bytes / 8; j++)
		if (words[j] != word(index, fill, j))
			return false;
	*ret_fill = fill;
	return true;
}

unsigned fake_slot_of(const struct fake *fake, const void *mem, size_t bytes)
{
	const char *p = mem;

	for (unsigned s = 0; s < 2; s++) {
		const char *base = fake->slots[s];

		if (base && p >= base && p + bytes <= base + fake->slot_bytes)
			return s;
	}
	return 2;
}

bool fake_complete(struct fake *fake, uint32_t index, int result)
{
	struct fake_entry *e = &fake->entries[index];
	uint32_t fill;
	void *mem;

	pthread_mutex_lock(&fake->lock);
	if (!e->filling) {
		pthread_mutex_unlock(&fake->lock);
		return false;
	}
	e->filling = false;
	mem = e->mem;
	fill = e->nr_fills;
	pthread_mutex_unlock(&fake->lock);
	write_bytes(fake, index, mem, fill);
	wr_residency_filled(fake->residency, index, result);
	return true;
}

/* Ours, or in a slot, and not on its way already. */
static void note_fill(struct fake *fake, uint32_t index, void *mem, bool demand)
{
	struct fake_entry *e = &fake->entries[index];

	if (e->filling || (e->place && mem != e->place) ||
	    (!e->place && fake_slot_of(fake, mem, e->bytes) == 2))
		wr_fetch_add_relaxed(&fake->nr_wrong, 1);
	e->mem = mem;
	e->nr_fills++;
	e->nr_demand += demand;
	e->filling = true;
	if (fake->nr_order < fake->order_room)
		fake->order[fake->nr_order++] = index;
}

static int fake_fill(void *ctx, uint32_t index, void *mem, bool demand)
{
	struct fake *fake = ctx;
	int refuse;

	pthread_mutex_lock(&fake->lock);
	refuse = fake->refuse;
	if (!refuse && fake->fail_permille &&
	    wr_xorshift32(&fake->random) % 2000 < fake->fail_permille)
		refuse = -ENOMEM;
	note_fill(fake, index, mem, demand);
	if (refuse)
		fake->entries[index].filling = false;
	pthread_mutex_unlock(&fake->lock);
	if (refuse)
		return refuse;
	if (fake->in_fill)
		fake->in_fill(fake, index);
	if (fake->mode == FAKE_INLINE)
		fake_complete(fake, index, fake->inline_result);
	if (fake->mode == FAKE_WORKERS) {
		pthread_mutex_lock(&fake->lock);
		fake->pending[fake->nr_pending++] = index;
		pthread_cond_signal(&fake->changed);
		pthread_mutex_unlock(&fake->lock);
	}
	return 0;
}

static void fake_promote(void *ctx, uint32_t index)
{
	struct fake *fake = ctx;

	pthread_mutex_lock(&fake->lock);
	fake->entries[index].nr_promotes++;
	pthread_mutex_unlock(&fake->lock);
}

static void fake_cancel(void *ctx, uint32_t index)
{
	struct fake *fake = ctx;

	pthread_mutex_lock(&fake->lock);
	fake->entries[index].nr_cancels++;
	pthread_mutex_unlock(&fake->lock);
	if (fake->end_on_cancel)
		fake_complete(fake, index, -ECANCELED);
}

static const struct wr_residency_ops fake_ops = {
	.fill = fake_fill, .promote = fake_promote, .cancel = fake_cancel};

static void *worker(void *arg)
{
	struct fake *fake = arg;

	pthread_mutex_lock(&fake->lock);
	for (;;) {
		uint32_t at, index;
		int result;

		while (!fake->nr_pending && !fake->stop)
			pthread_cond_wait(&fake->changed, &fake->lock);
		if (!fake->nr_pending)
			break;
		at = wr_xorshift32(&fake->random) % fake->nr_pending;
		index = fake->pending[at];
		fake->pending[at] = fake->pending[--fake->nr_pending];
		result = wr_xorshift32(&fake->random) % 2000 < fake->fail_permille ? -EIO : 0;
		pthread_mutex_unlock(&fake->lock);
		fake_complete(fake, index, result);
		pthread_mutex_lock(&fake->lock);
	}
	pthread_mutex_unlock(&fake->lock);
	return NULL;
}

static bool fake_place(struct fake *fake, const size_t *bytes, const bool *resident)
{
	for (uint32_t i = 0; i < fake->nr; i++) {
		fake->entries[i].bytes = bytes[i];
		if (resident && resident[i]) {
			fake->entries[i].place = malloc(bytes[i]);
			if (!fake->entries[i].place)
				return false;
		}
		wr_residency_place(fake->residency, i, bytes[i], fake->entries[i].place);
	}
	return true;
}

bool fake_open(struct fake *fake, enum fake_mode mode, const size_t *bytes, const bool *resident,
	       uint32_t nr, size_t slot_bytes)
{
	struct wr_residency_opts opts = {
		.nr_entries = nr, .ops = &fake_ops, .ctx = fake, .slot_bytes = slot_bytes};

	memset(fake, 0, sizeof(*fake));
	fake->mode = mode;
	fake->nr = nr;
	fake->slot_bytes = slot_bytes;
	fake->random = 2463534242u;
	fake->order_room = ORDER_ROOM;
	pthread_mutex_init(&fake->lock, NULL);
	pthread_cond_init(&fake->changed, NULL);
	fake->entries = calloc(nr, sizeof(*fake->entries));
	fake->order = calloc(ORDER_ROOM, sizeof(*fake->order));
	fake->pending = calloc(nr, sizeof(*fake->pending));
	for (unsigned s = 0; slot_bytes && s < 2; s++)
		opts.slots[s] = fake->slots[s] = malloc(slot_bytes);
	if (!fake->entries || !fake->order || !fake->pending ||
	    wr_residency_open(&opts, &fake->residency))
		return false;
	if (!fake_place(fake, bytes, resident))
		return false;
	while (mode == FAKE_WORKERS && fake->nr_workers < 2) {
		if (pthread_create(&fake->workers[fake->nr_workers], NULL, worker, fake))
			return false;
		fake->nr_workers++;
	}
	return true;
}

void fake_close(struct fake *fake)
{
	wr_residency_close(fake->residency);
	pthread_mutex_lock(&fake->lock);
	fake->stop = true;
	pthread_cond_broadcast(&fake->changed);
	pthread_mutex_unlock(&fake->lock);
	for (unsigned w = 0; w < fake->nr_workers; w++)
		pthread_join(fake->workers[w], NULL);
	for (uint32_t i = 0; i < fake->nr; i++)
		free(fake->entries[i].place);
	free(fake->slots[0]);
	free(fake->slots[1]);
	free(fake->entries);
	free(fake->order);
	free(fake->pending);
	pthread_cond_destroy(&fake->changed);
	pthread_mutex_destroy(&fake->lock);
}

struct fake_entry fake_entry(struct fake *fake, uint32_t index)
{
	struct fake_entry copy;

	pthread_mutex_lock(&fake->lock);
	copy = fake->entries[index];
	pthread_mutex_unlock(&fake->lock);
	return copy;
}

static void *thread_main(void *arg)
{
	struct fake_thread *t = arg;
	void *ret;

	wr_store_release(&t->tid, (int)syscall(SYS_gettid));
	ret = t->main(t->arg);
	wr_store_release(&t->tid, -1);
	return ret;
}

bool fake_thread_start(struct fake_thread *t, void *(*main)(void *), void *arg)
{
	wr_store_relaxed(&t->tid, 0);
	t->main = main;
	t->arg = arg;
	return pthread_create(&t->thread, NULL, thread_main, t) == 0;
}

void fake_thread_wait_asleep(const struct fake_thread *t)
{
	int seen = 0;

	/* Seen asleep some times in a row: not only on its way past a contended lock. */
	while (seen < 5) {
		int tid = wr_load_acquire(&t->tid);

		if (tid < 0)
			return;
		seen = tid && thread_sleeps(tid) ? seen + 1 : 0;
		usleep(1000);
	}
}

void fake_thread_join(struct fake_thread *t)
{
	pthread_join(t->thread, NULL);
}
