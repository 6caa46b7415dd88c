/* SPDX-License-Identifier: MIT */
/*
 * A pool with magazines against a list of what is live: spans and pointers, frees by this
 * thread and by another, stale and made-up spans, trims and dumps, in any order. No two live
 * spans overlap, what is not live is refused, and the sums hold whenever they are looked at.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include <weir/pool_malloc.h>
#include <weir/pool_report.h>

#include "base/alloc.h"
#include "base/util.h"
#include "fuzz/fuzz.h"
#include "pool/fake_machine.h"

#define CAPACITY (4ull << 20)
#define MOST	 256u

struct one {
	struct weir_span span;
	void *ptr; /* then the span is what it would have */
	bool is_live;
};

static struct one ones[MOST];
static uint8_t owner[CAPACITY / 4096]; /* 0: nobody */
static struct weir_pool *pool;
static uint8_t *base;
static uint64_t used;

static void mark(const struct weir_span *span, unsigned i, bool live)
{
	size_t first = (size_t)((uint8_t *)span->base - base) / 4096;
	size_t k;

	must((uint8_t *)span->base >= base && first + span->bytes / 4096 <= wr_array_size(owner));
	for (k = first; k < first + span->bytes / 4096; k++) {
		must(owner[k] == (live ? 0 : (uint8_t)(i + 1)));
		owner[k] = live ? (uint8_t)(i + 1) : 0;
	}
	used = live ? used + span->bytes : used - span->bytes;
}

static size_t bytes_for(uint8_t a, uint8_t b)
{
	return a % 4 ? (size_t)4096 << (b % 7) : 1 + (size_t)b * 1500;
}

static void take(unsigned i, uint8_t a, uint8_t b)
{
	struct one *o = &ones[i];
	size_t bytes = bytes_for(a, b);
	int rc;

	if (o->is_live)
		return;
	if (a & 64) {
		/* Smaller ones lie in slabs, which pool_slab_fuzz.c looks after. */
		bytes = wr_max(bytes, (size_t)2049);
		o->ptr = weir_pool_malloc(pool, bytes);
		rc = o->ptr ? 0 : -ENOSPC;
		o->span = (struct weir_span){.base = o->ptr,
					     .bytes = weir_pool_usable_bytes(pool, o->ptr)};
	} else {
		rc = weir_pool_alloc(pool, bytes, WEIR_NODE_ANY, &o->span);
		o->ptr = NULL;
	}
	must(rc == 0 || rc == -ENOSPC);
	if (rc != 0) {
		memset(o, 0, sizeof(*o));
		return;
	}
	o->is_live = true;
	must(o->span.bytes >= bytes);
	mark(&o->span, i, true);
}

static void *free_one(void *arg)
{
	struct one *o = arg;
	int rc = o->ptr ? weir_pool_ptr_free(pool, o->ptr) : weir_pool_free(pool, o->span);

	must(rc == (o->is_live ? 0 : o->ptr ? -EINVAL : -ESTALE));
	return NULL;
}

static void give(unsigned i, bool by_another)
{
	struct one *o = &ones[i];
	pthread_t thread;

	/* A dead pointer may have been given to somebody else. */
	if (!o->span.base || (!o->is_live && o->ptr))
		return;
	if (o->is_live)
		mark(&o->span, i, false);
	if (by_another && pthread_create(&thread, NULL, free_one, o) == 0)
		pthread_join(thread, NULL);
	else
		free_one(o);
	o->is_live = false;
}

static void forge(unsigned i, uint8_t a, uint8_t b)
{
	struct weir_span span = ones[i].span;
	uint8_t bytes[sizeof(span)];
	int rc;

	if (ones[i].ptr || !span.base || !ones[i].is_live)
		return;
	memcpy(bytes, &span, sizeof(span));
	bytes[a % sizeof(span)] ^= (uint8_t)(b | 1);
	memcpy(&span, bytes, sizeof(span));
	rc = weir_pool_free(pool, span);
	must(rc == -EINVAL || rc == -ESTALE);
}

static void look(void)
{
	static char text[16384];
	struct weir_pool_stats s;

	weir_pool_stats(pool, &s);
	must(s.free_bytes + s.used_bytes + s.cached_bytes == CAPACITY);
	must(s.used_bytes == used && s.nr_allocs - s.nr_frees == s.nr_live);
	must(s.requested_bytes <= s.used_bytes && s.largest_free_bytes <= s.free_bytes);
	must(weir_pool_dump(pool, (int)(used / 4096 % 2), text, sizeof(text)) < 16384);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fake_machine machine;
	size_t i;

	memset(ones, 0, sizeof(ones));
	memset(owner, 0, sizeof(owner));
	used = 0;
	pool = fake_machine_pool(&machine, CAPACITY, 0, &base);
	must(pool != NULL);
	for (i = 0; i + 3 <= size && i < 3 * 600; i += 3) {
		unsigned which = data[i + 1] % (MOST - 1);

		if (data[i] % 16 < 8)
			take(which, data[i], data[i + 2]);
		else if (data[i] % 16 < 13)
			give(which, data[i] / 16 == 5);
		else if (data[i] % 16 == 13)
			forge(which, data[i + 1], data[i + 2]);
		else if (data[i] % 16 == 14)
			weir_pool_trim(pool, (uint64_t)data[i + 2] << 12);
		else
			look();
	}
	look();
	for (i = 0; i < MOST; i++)
		if (ones[i].is_live)
			give((unsigned)i, false);
	weir_pool_trim(pool, 0);
	look();
	weir_pool_close(pool);
	must(wr_test_alloc_live() == 0);
	return 0;
}
