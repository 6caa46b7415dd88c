/* SPDX-License-Identifier: MIT */
/* Fake tiers; see fake_tier.h. */
#include "cache/fake_tier.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIVE 0x6c697665u

bool fake_chance(_Atomic uint64_t *random, uint32_t permille)
{
	uint64_t r = atomic_fetch_add(random, 0x9e3779b97f4a7c15u) + 0x9e3779b97f4a7c15u;

	r = (r ^ r >> 30) * 0xbf58476d1ce4e5b9u;
	return (r >> 33) % 1000 < permille;
}

static void delay(uint32_t us)
{
	if (us)
		usleep(us);
}

/* ---- memory ---- */

static int mem_alloc(void *tier, size_t bytes, struct weir_tier_mem *ret)
{
	struct fake_mem *m = tier;
	uint64_t used = atomic_fetch_add(&m->used, bytes) + bytes, peak = m->peak;
	void *p;

	if (used > m->capacity || posix_memalign(&p, WEIR_TIER_ALIGN, bytes)) {
		atomic_fetch_sub(&m->used, bytes);
		return -ENOSPC;
	}
	while (used > peak && !atomic_compare_exchange_weak(&m->peak, &peak, used))
		;
	*ret = (struct weir_tier_mem){.base = p, .bytes = bytes, .priv = {LIVE, bytes}};
	return 0;
}

static void mem_free(void *tier, const struct weir_tier_mem *mem)
{
	struct fake_mem *m = tier;

	if (mem->priv[0] != LIVE || mem->priv[1] != mem->bytes) {
		atomic_fetch_add(&m->nr_wrong, 1);
		return;
	}
	memset(mem->base, 0xdd, mem->bytes); /* who still reads it sees that */
	free(mem->base);
	atomic_fetch_sub(&m->used, mem->bytes);
}

static int copy(struct fake_mem *m, void *to, const void *from, size_t bytes,
		weir_tier_done_fn done, void *arg)
{
	if (fake_chance(&m->random, atomic_load(&m->fail_permille)))
		return -EIO;
	delay(atomic_load(&m->delay_us));
	memcpy(to, from, bytes);
	atomic_fetch_add(&m->nr_copies, 1);
	done(arg, fake_chance(&m->random, atomic_load(&m->fail_permille)) ? -EIO : 0);
	return 0;
}

static int mem_copy_in(void *tier, const struct weir_tier_mem *mem, const void *from, size_t bytes,
		       weir_tier_done_fn done, void *arg)
{
	return copy(tier, mem->base, from, bytes, done, arg);
}

static int mem_copy_out(void *tier, const struct weir_tier_mem *mem, void *to, size_t bytes,
			weir_tier_done_fn done, void *arg)
{
	return copy(tier, to, mem->base, bytes, done, arg);
}

const struct weir_tier_ops fake_device_ops = {.size = sizeof(fake_device_ops),
					      .alloc = mem_alloc,
					      .free = mem_free,
					      .copy_in = mem_copy_in,
					      .copy_out = mem_copy_out};

const struct weir_tier_ops fake_memory_ops = {
	.size = sizeof(fake_memory_ops), .alloc = mem_alloc, .free = mem_free};

/* ---- a store ---- */

static struct fake_block **find(struct fake_store *s, struct weir_key key)
{
	struct fake_block **link = &s->blocks[(key.lo ^ key.hi) % 256];

	while (*link && !weir_key_equal((*link)->item.key, key))
		link = &(*link)->next;
	return link;
}

static void free_block(struct fake_block *b)
{
	if (b)
		free(b->data);
	free(b);
}

/* The block that goes: the old one, or the new one when there is no room for it. */
static struct fake_block *keep(struct fake_store *s, struct fake_block *b, int *rc)
{
	struct fake_block **link = find(s, b->item.key), *old = *link;
	uint64_t freed = old ? old->item.bytes : 0;

	if (s->used - freed + b->item.bytes > s->capacity) {
		*rc = -ENOSPC;
		return b;
	}
	s->used += b->item.bytes - freed;
	b->next = old ? old->next : NULL;
	*link = b;
	s->nr_puts++;
	return old;
}

static int store_put(void *store, const struct weir_store_item *item, const void *from,
		     weir_tier_done_fn done, void *arg)
{
	struct fake_store *s = store;
	int rc = atomic_load(&s->refuse);
	struct fake_block *b;

	if (rc)
		return rc;
	delay(atomic_load(&s->delay_us));
	if (fake_chance(&s->random, atomic_load(&s->fail_permille))) {
		done(arg, -EIO);
		return 0;
	}
	b = calloc(1, sizeof(*b));
	b->item = *item;
	b->item.name = NULL;
	b->data = malloc(item->bytes);
	memcpy(b->data, from, item->bytes);
	pthread_mutex_lock(&s->lock);
	b = keep(s, b, &rc);
	pthread_mutex_unlock(&s->lock);
	free_block(b);
	if (!rc)
		done(arg, 0);
	return rc;
}

static int store_get(void *store, struct weir_key key, void *to, size_t room,
		     weir_tier_done_fn done, void *arg)
{
	struct fake_store *s = store;
	struct fake_block *b;
	int rc = -EINVAL;

	delay(atomic_load(&s->delay_us));
	if (fake_chance(&s->random, atomic_load(&s->fail_permille))) {
		done(arg, -EIO);
		return 0;
	}
	pthread_mutex_lock(&s->lock);
	b = *find(s, key);
	if (b && b->item.bytes <= room) {
		memcpy(to, b->data, b->item.bytes);
		s->nr_gets++;
		rc = 0;
	}
	pthread_mutex_unlock(&s->lock);
	if (!b)
		return -ENOENT;
	done(arg, rc);
	return 0;
}

static int store_remove(void *store, struct weir_key key, weir_tier_done_fn done, void *arg)
{
	struct fake_store *s = store;
	struct fake_block **link, *b;
	bool is_kept = fake_chance(&s->random, atomic_load(&s->keep_permille));

	delay(atomic_load(&s->delay_us));
	if (fake_chance(&s->random, atomic_load(&s->fail_remove_permille))) {
		done(arg, -EIO);
		return 0;
	}
	pthread_mutex_lock(&s->lock);
	link = find(s, key);
	b = *link;
	if (b && !is_kept) {
		*link = b->next;
		s->used -= b->item.bytes;
		s->nr_removes++;
	}
	pthread_mutex_unlock(&s->lock);
	if (!b)
		return -ENOENT;
	if (!is_kept)
		free_block(b);
	done(arg, 0);
	return 0;
}

static int store_find(void *store, struct weir_key key, struct weir_store_item *ret)
{
	struct fake_store *s = store;
	struct fake_block *b;

	pthread_mutex_lock(&s->lock);
	b = *find(s, key);
	if (b && ret)
		*ret = b->item;
	pthread_mutex_unlock(&s->lock);
	return b ? 0 : -ENOENT;
}

const struct weir_store_ops fake_store_ops = {.size = sizeof(fake_store_ops),
					      .put = store_put,
					      .get = store_get,
					      .remove = store_remove,
					      .find = store_find};

void fake_store_init(struct fake_store *s, uint64_t capacity)
{
	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	s->capacity = capacity;
}

void fake_store_fini(struct fake_store *s)
{
	for (unsigned i = 0; i < 256; i++) {
		struct fake_block *b;

		while ((b = s->blocks[i])) {
			s->blocks[i] = b->next;
			free_block(b);
		}
	}
	pthread_mutex_destroy(&s->lock);
}
