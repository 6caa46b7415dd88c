/* SPDX-License-Identifier: MIT */
/*
 * replay_trace.c - The trace in memory: an array of objects with a hash index, and an array of
 * references that grows by doubling up to its limit.
 */
#include "replay_trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define NONE UINT32_MAX

const char *wr_trace_class_name(uint32_t kind)
{
	static const char *const names[] = {"weights", "experts", "kv", "features", "other"};

	return kind < WR_TRACE_CLASSES ? names[kind] : NULL;
}

static uint64_t bucket_of(const struct wr_trace *t, struct weir_key key)
{
	uint64_t h = (key.lo ^ (key.hi << 32 | key.hi >> 32)) * 0x9e3779b97f4a7c15u;

	h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9u;
	return (h ^ h >> 32) & t->mask;
}

static int grow(void **array, uint64_t *room, size_t each, uint64_t max)
{
	uint64_t more = wr_min(*room ? *room * 2 : 1024, max);
	void *grown;

	if (*room >= max)
		return -EFBIG;
	grown = realloc(*array, more * each);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*room = more;
	return 0;
}

/* As many buckets as there is room for objects. */
static int reindex(struct wr_trace *t)
{
	uint64_t nr = 1024;
	uint32_t *buckets;

	while (nr < t->room_objects)
		nr *= 2;
	buckets = malloc(nr * sizeof(*buckets));
	if (!buckets)
		return -ENOMEM;
	memset(buckets, 0xff, nr * sizeof(*buckets));
	free(t->buckets);
	t->buckets = buckets;
	t->mask = nr - 1;
	for (uint64_t i = 0; i < t->nr_objects; i++) {
		uint64_t b = bucket_of(t, t->objects[i].key);

		t->objects[i].chain = buckets[b];
		buckets[b] = (uint32_t)i;
	}
	return 0;
}

static int add_object(struct wr_trace *t, struct weir_key key, uint32_t kind, uint64_t bytes)
{
	uint64_t b;
	int rc;

	if (bytes > WR_TRACE_MAX_BYTES || wr_add_overflow(t->object_bytes, bytes, &t->object_bytes))
		return -EOVERFLOW;
	if (t->nr_objects == t->room_objects) {
		rc = grow((void **)&t->objects, &t->room_objects, sizeof(*t->objects),
			  WR_TRACE_MAX_OBJECTS);
		if (!rc)
			rc = reindex(t);
		if (rc)
			return rc;
	}
	b = bucket_of(t, key);
	t->objects[t->nr_objects] = (struct wr_trace_object){
		.key = key, .bytes = bytes, .kind = kind, .chain = t->buckets[b]};
	t->buckets[b] = (uint32_t)t->nr_objects++;
	return 0;
}

int wr_trace_add(struct wr_trace *t, struct weir_key key, uint32_t kind, uint64_t bytes)
{
	uint32_t i = t->buckets ? t->buckets[bucket_of(t, key)] : NONE;
	int rc;

	bytes = wr_max(bytes, (uint64_t)1);
	if (t->nr_refs == t->room_refs) {
		rc = grow((void **)&t->refs, &t->room_refs, sizeof(*t->refs),
			  t->max_refs ? t->max_refs : WR_TRACE_MAX_REFS);
		if (rc)
			return rc;
	}
	while (i != NONE && !weir_key_equal(t->objects[i].key, key))
		i = t->objects[i].chain;
	if (i == NONE) {
		i = (uint32_t)t->nr_objects;
		t->is_uniform = i == 0 || (t->is_uniform && t->objects[0].bytes == bytes);
		rc = add_object(t, key, kind, bytes);
		if (rc)
			return rc;
	}
	t->nr_resized += t->objects[i].bytes != bytes;
	if (wr_add_overflow(t->ref_bytes, t->objects[i].bytes, &t->ref_bytes))
		return -EOVERFLOW;
	t->refs[t->nr_refs++] = i;
	return 0;
}

static int fill(struct wr_trace_lines *lines, const char *path, uint64_t block_bytes,
		uint64_t max_refs, struct wr_trace *ret, struct weir_error *err)
{
	struct wr_trace t = {.max_refs = max_refs};
	int rc = wr_trace_parse(lines, path, block_bytes, &t, err);

	if (!rc && !t.nr_refs)
		rc = wr_error_set(err, -ENODATA, path, WEIR_OFFSET_NONE, "it has no references");
	if (rc)
		wr_trace_close(&t);
	else
		*ret = t;
	return rc;
}

int wr_trace_open(const char *path, uint64_t block_bytes, bool quiet, struct wr_trace *ret,
		  struct weir_error *err)
{
	struct wr_trace_lines *lines;
	int rc;

	if (!strncmp(path, "gen:", 4)) {
		struct wr_trace t = {.format = "generated"};

		rc = wr_trace_generate(path + 4, block_bytes, &t);
		if (rc) {
			wr_trace_close(&t);
			return wr_error_set(err, rc, path, WEIR_OFFSET_NONE,
					    rc == -ENOENT ? "there is no such generator"
							  : "the trace cannot be generated");
		}
		*ret = t;
		return 0;
	}
	rc = wr_trace_lines_open(path, quiet, &lines, err);
	if (rc)
		return rc;
	rc = fill(lines, path, block_bytes, 0, ret, err);
	wr_trace_lines_close(lines);
	return rc;
}

int wr_trace_open_mem(const char *path, const void *data, size_t size, uint64_t block_bytes,
		      uint64_t max_refs, struct wr_trace *ret, struct weir_error *err)
{
	struct wr_trace_lines *lines;
	int rc = wr_trace_lines_open_mem(path, data, size, &lines, err);

	if (rc)
		return rc;
	rc = fill(lines, path, block_bytes, max_refs, ret, err);
	wr_trace_lines_close(lines);
	return rc;
}

void wr_trace_close(struct wr_trace *t)
{
	free(t->objects);
	free(t->refs);
	free(t->buckets);
	*t = (struct wr_trace){0};
}
