/* SPDX-License-Identifier: MIT */
/* A cache over fake tiers; see rig.h. */
#include "cache/rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "harness/holdings.h"

struct weir_key rig_key(uint32_t n)
{
	uint64_t a = (n + 1) * 0x9e3779b97f4a7c15u, b;

	a = (a ^ a >> 29) * 0xbf58476d1ce4e5b9u;
	b = (a ^ a >> 32) * 0x94d049bb133111ebu;
	return (struct weir_key){b ^ b >> 31, (uint64_t)n << 32 | (b & 0xffffffff)};
}

static uint32_t number_of(struct weir_key key)
{
	return (uint32_t)(key.lo >> 32);
}

struct weir_cache_item rig_item(uint32_t n, size_t bytes, uint32_t class_id)
{
	return (struct weir_cache_item){.key = rig_key(n), .bytes = bytes, .class_id = class_id};
}

static uint64_t word_of(uint32_t n, uint64_t version)
{
	return (uint64_t)n << 40 | (version & 0xffffffffff);
}

void rig_make(void *buf, uint32_t n, uint64_t version, size_t bytes)
{
	uint64_t word = word_of(n, version);

	for (size_t i = 0; i + 8 <= bytes; i += 8)
		memcpy((char *)buf + i, &word, 8);
}

bool rig_check(const void *buf, uint32_t n, size_t bytes, uint64_t *ret_version)
{
	uint64_t first, word;

	memcpy(&first, buf, 8);
	for (size_t i = 0; i + 8 <= bytes; i += 8) {
		memcpy(&word, (const char *)buf + i, 8);
		if (word != first)
			return false;
	}
	if (ret_version)
		*ret_version = first & 0xffffffffff;
	return first >> 40 == n;
}

/* ---- the source ---- */

static int begin(struct rig *rig, const struct weir_cache_fill *fill)
{
	uint32_t n = number_of(fill->key);

	if (atomic_load(&rig->refuse))
		return atomic_load(&rig->refuse);
	if (fill->mem_bytes < fill->bytes || (uintptr_t)fill->mem % WEIR_TIER_ALIGN ||
	    atomic_load(&rig->tokens[n]))
		atomic_fetch_add(&rig->nr_wrong, 1);
	atomic_store(&rig->mems[n], fill->mem);
	atomic_store(&rig->sizes[n], fill->bytes);
	atomic_store(&rig->tokens[n], fill->token);
	atomic_fetch_add(&rig->nr_fills[n], 1);
	if (atomic_load(&rig->delay_us))
		usleep(atomic_load(&rig->delay_us));
	return 0;
}

int rig_look(struct rig *rig, uint32_t n, uint32_t tier, size_t bytes, uint64_t *ret_version)
{
	struct weir_cache_item item = rig_item(n, 0, WEIR_CLASS_KV);
	struct weir_pin p;
	int rc;

	item.tier = tier;
	rc = weir_cache_get(rig->cache, &item, 0, &p);
	if (rc)
		return rc;
	if ((bytes && p.bytes != bytes) || !rig_check(p.data, n, p.bytes, ret_version))
		rc = -EBADMSG;
	weir_cache_put(rig->cache, &p);
	return rc;
}

bool rig_finish(struct rig *rig, uint32_t n, int result)
{
	uint64_t token = atomic_exchange(&rig->tokens[n], 0);

	if (!token)
		return false;
	rig_make(atomic_load(&rig->mems[n]), n, atomic_load(&rig->nr_fills[n]),
		 atomic_load(&rig->sizes[n]));
	weir_cache_filled(rig->cache, token, result, 0);
	return true;
}

static int rig_fill(void *arg, const struct weir_cache_fill *fill)
{
	struct rig *rig = arg;
	int rc = begin(rig, fill);

	if (!rc && rig->mode == RIG_INLINE)
		rig_finish(rig, number_of(fill->key),
			   fake_chance(&rig->random, atomic_load(&rig->fail_permille)) ? -EIO : 0);
	return rc;
}

static int rig_read(void *arg, const struct weir_cache_fill *fill, size_t *ret_offset)
{
	struct rig *rig = arg;
	uint32_t n = number_of(fill->key);
	int rc = begin(rig, fill);

	if (rc)
		return rc;
	atomic_store(&rig->tokens[n], 0);
	*ret_offset = fill->mem_bytes - fill->bytes; /* somewhere inside */
	rig_make((char *)fill->mem + *ret_offset, n, atomic_load(&rig->nr_fills[n]), fill->bytes);
	return fake_chance(&rig->random, atomic_load(&rig->fail_permille)) ? -EIO : 0;
}

static void rig_promote(void *arg, uint64_t token)
{
	struct rig *rig = arg;

	for (uint32_t n = 0; n < RIG_KEYS; n++)
		if (atomic_load(&rig->tokens[n]) == token)
			atomic_fetch_add(&rig->nr_promotes[n], 1);
}

static void rig_cancel(void *arg, uint64_t token)
{
	struct rig *rig = arg;

	for (uint32_t n = 0; n < RIG_KEYS; n++)
		if (atomic_load(&rig->tokens[n]) == token) {
			atomic_fetch_add(&rig->nr_cancels[n], 1);
			rig_finish(rig, n, -ECANCELED);
		}
}

/* ---- the cache ---- */

int rig_open(struct rig *rig, struct weir_cache_opts *opts, uint64_t l2_bytes)
{
	struct weir_cache_opts none = {0};

	opts = opts ? opts : &none;
	/* A store that the test has opened may have any number of files. */
	rig->nr_fds = opts->l3 && opts->l3 != &fake_store_ops ? -1 : nr_open_files();
	opts->size = sizeof(*opts);
	if (!opts->pool && !opts->l2) {
		opts->l2 = &fake_memory_ops;
		opts->l2_arg = &rig->l2;
		opts->l2_budget = l2_bytes;
		rig->l2.capacity = l2_bytes;
	}
	for (uint32_t c = 0; c < WEIR_NR_CLASSES; c++) {
		if (!opts->classes[c].policy)
			opts->classes[c].policy = "lru";
		if (c == WEIR_CLASS_KV || c == WEIR_CLASS_FEATURES)
			continue;
		opts->classes[c].source =
			(struct weir_cache_source){.fill = rig->mode == RIG_READ ? NULL : rig_fill,
						   .read = rig->mode == RIG_READ ? rig_read : NULL,
						   .promote = rig_promote,
						   .cancel = rig_cancel,
						   .arg = rig};
	}
	return weir_cache_open(opts, &rig->cache, NULL);
}

bool rig_close(struct rig *rig)
{
	weir_cache_close(rig->cache);
	rig->cache = NULL;
	return (rig->nr_fds < 0 || nr_open_files() == rig->nr_fds) && !atomic_load(&rig->l1.used) &&
	       !atomic_load(&rig->l2.used) && !atomic_load(&rig->l1.nr_wrong) &&
	       !atomic_load(&rig->l2.nr_wrong) && !atomic_load(&rig->nr_wrong);
}

int rig_get(struct rig *rig, uint32_t n, size_t bytes, struct weir_pin *ret)
{
	struct weir_cache_item item = rig_item(n, bytes, WEIR_CLASS_WEIGHTS);

	return weir_cache_get(rig->cache, &item, 0, ret);
}

int rig_insert(struct rig *rig, uint32_t n, uint64_t version, size_t bytes)
{
	struct weir_cache_item item = rig_item(n, bytes, WEIR_CLASS_KV);
	void *buf = malloc(bytes);
	int rc;

	if (!buf)
		return -ENOMEM;
	rig_make(buf, n, version, bytes);
	rc = weir_cache_insert(rig->cache, &item, buf);
	free(buf);
	return rc;
}

struct weir_cache_stats rig_stats(struct rig *rig, uint32_t tier)
{
	struct weir_cache_stats s = {0};

	if (weir_cache_stats(rig->cache, tier, WEIR_NR_CLASSES, &s))
		atomic_fetch_add(&rig->nr_wrong, 1);
	return s;
}
