/* SPDX-License-Identifier: MIT */
/*
 * Walks over the maps that cannot be mapped. An element that is added or removed meanwhile may be
 * seen or not; the walk ends all the same, because it takes no more steps than the map has room.
 */
#include <weir/trace.h>

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "trace/session.h"

#if WR_TRACE_BPF

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define MAX_STEPS 16384
#define KEY_MAX	  24

/* Calls fn(arg, key, value) for each; @value_bytes is the size of one CPU's value. */
static int walk(int fd, size_t value_bytes, unsigned nr_values,
		int (*fn)(void *arg, const void *key, const void *value), void *arg)
{
	_Alignas(8) char key[KEY_MAX], next[KEY_MAX];
	void *value = wr_calloc(nr_values, value_bytes);
	bool first = true;
	int rc = 0;

	if (!value)
		return -ENOMEM;
	for (unsigned i = 0; !rc && i < MAX_STEPS; i++) {
		if (bpf_map_get_next_key(fd, first ? NULL : key, next) != 0) {
			rc = errno == ENOENT ? 0 : -errno;
			break;
		}
		memcpy(key, next, sizeof(key));
		first = false;
		if (bpf_map_lookup_elem(fd, key, value) == 0)
			rc = fn(arg, key, value);
		else if (errno != ENOENT)
			rc = -errno;
	}
	wr_free(value);
	return rc;
}

/* A name as it was last seen, and whose. */
struct noted {
	uint64_t addr;
	struct weir_lock_name name;
};

struct lock_walk {
	int (*fn)(void *arg, const struct weir_trace_lock *lock);
	void *arg;
	struct noted *names;
	size_t nr_names;
};

static int take_name(void *arg, const void *key, const void *value)
{
	struct lock_walk *w = arg;
	const struct weir_addr_key *k = key;
	struct noted *grown = wr_reallocarray(w->names, w->nr_names + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	w->names = grown;
	grown += w->nr_names++;
	grown->addr = k->addr;
	memcpy(&grown->name, value, sizeof(grown->name));
	grown->name.name[WEIR_LOCK_NAME_BYTES - 1] = '\0';
	return 0;
}

static int take_names(struct weir_trace *trace, struct lock_walk *w)
{
	wr_trace_note_lock_names(trace);
	return trace->map[WR_MAP_lock_names] < 0
		       ? 0
		       : walk(trace->map[WR_MAP_lock_names], sizeof(struct weir_lock_name), 1,
			      take_name, w);
}

/* The names outlive the process; a lock that has an address of another's is the younger one. */
static void name_lock(const struct lock_walk *w, uint64_t addr,
		      char to[static WEIR_LOCK_NAME_BYTES])
{
	for (size_t i = 0; i < w->nr_names; i++) {
		const struct noted *n = &w->names[i];

		if (addr != n->addr && (addr < n->addr || addr - n->addr >= n->name.bytes))
			continue;
		memcpy(to, n->name.name, WEIR_LOCK_NAME_BYTES);
		if (addr == n->addr)
			return;
	}
}

static int give_lock(void *arg, const void *key, const void *value)
{
	const struct lock_walk *w = arg;
	const struct weir_addr_key *k = key;
	struct weir_trace_lock lock = {.addr = k->addr};

	memcpy(&lock.waits, value, sizeof(lock.waits));
	name_lock(w, k->addr, lock.name);
	return w->fn(w->arg, &lock);
}

int weir_trace_each_lock(struct weir_trace *trace,
			 int (*fn)(void *arg, const struct weir_trace_lock *lock), void *arg)
{
	struct lock_walk w = {.fn = fn, .arg = arg};
	int rc;

	if (trace->map[WR_MAP_lock_waits] < 0)
		return 0;
	rc = take_names(trace, &w);
	if (!rc)
		rc = walk(trace->map[WR_MAP_lock_waits], sizeof(struct weir_lock_waits), 1,
			  give_lock, &w);
	wr_free(w.names);
	return rc;
}

/* Walks over locks of other maps, with the same names. */
#define EACH_LOCK(what, map_, item, field)                                                   \
	struct what##_walk {                                                                 \
		int (*fn)(void *arg, const struct item *each);                               \
		void *arg;                                                                   \
		struct lock_walk names;                                                      \
	};                                                                                   \
	static int give_##what(void *arg, const void *key, const void *value)                \
	{                                                                                    \
		const struct what##_walk *w = arg;                                           \
		const struct weir_addr_key *k = key;                                         \
		struct item each = {.addr = k->addr};                                        \
                                                                                             \
		memcpy(&each.field, value, sizeof(each.field));                              \
		name_lock(&w->names, k->addr, each.name);                                    \
		return w->fn(w->arg, &each);                                                 \
	}                                                                                    \
	int weir_trace_each_##what(struct weir_trace *trace,                                 \
				   int (*fn)(void *arg, const struct item *each), void *arg) \
	{                                                                                    \
		struct what##_walk w = {.fn = fn, .arg = arg};                               \
		int rc;                                                                      \
                                                                                             \
		if (trace->map[map_] < 0)                                                    \
			return 0;                                                            \
		rc = take_names(trace, &w.names);                                            \
		if (!rc)                                                                     \
			rc = walk(trace->map[map_], sizeof(((struct item *)0)->field), 1,    \
				  give_##what, &w);                                          \
		wr_free(w.names.names);                                                      \
		return rc;                                                                   \
	}

EACH_LOCK(hold, WR_MAP_lock_holds, weir_trace_hold, holds)
EACH_LOCK(deep, WR_MAP_lock_deep, weir_trace_deep_lock, deep)

/* One walk for each map whose elements are handed on as they are. */
#define EACH(what, map_, key_type, value_type)                                                \
	struct what##_walk {                                                                  \
		int (*fn)(void *arg, const struct key_type *key, const struct value_type *v); \
		void *arg;                                                                    \
	};                                                                                    \
	static int give_##what(void *arg, const void *key, const void *value)                 \
	{                                                                                     \
		const struct what##_walk *w = arg;                                            \
                                                                                              \
		return w->fn(w->arg, key, value);                                             \
	}                                                                                     \
	int weir_trace_each_##what(                                                           \
		struct weir_trace *trace,                                                     \
		int (*fn)(void *arg, const struct key_type *key, const struct value_type *v), \
		void *arg)                                                                    \
	{                                                                                     \
		struct what##_walk w = {fn, arg};                                             \
                                                                                              \
		if (trace->map[map_] < 0)                                                     \
			return 0;                                                             \
		return walk(trace->map[map_], sizeof(struct value_type), 1, give_##what, &w); \
	}

EACH(holder, WR_MAP_lock_holders, weir_site_key, weir_site)
EACH(waiter, WR_MAP_lock_waiters, weir_site_key, weir_site)
EACH(io, WR_MAP_io_times, weir_io_key, weir_io_times)
EACH(miss, WR_MAP_cache_misses, weir_miss_key, weir_miss)
EACH(cache, WR_MAP_cache_events, weir_cache_key, weir_cache_events)
EACH(miss_site, WR_MAP_miss_sites, weir_miss_site_key, weir_miss)

int weir_trace_each_slot(struct weir_trace *trace, uint32_t timeline,
			 int (*fn)(void *arg, const struct weir_trace_slot *slot), void *arg)
{
	enum wr_trace_map map = timeline == WEIR_TRACE_HOLDS  ? WR_MAP_hold_timeline
				: timeline == WEIR_TRACE_DEEP ? WR_MAP_deep_timeline
							      : WR_MAP_timeline;
	int fd = trace->map[map], rc = 0;
	struct weir_trace_slot slot;

	if (timeline != WEIR_TRACE_LOCKS && timeline != WEIR_TRACE_HOLDS &&
	    timeline != WEIR_TRACE_DEEP)
		return -EINVAL;
	for (uint32_t i = 0; fd >= 0 && !rc && i < WEIR_TRACE_SLOTS; i++) {
		if (bpf_map_lookup_elem(fd, &i, &slot) != 0)
			return -errno;
		if (slot.stamp != 0)
			rc = fn(arg, &slot);
	}
	return rc;
}

struct file_walk {
	int (*fn)(void *arg, const struct weir_file_key *key, const struct weir_file *file);
	void *arg;
	unsigned nr_cpus;
};

static int give_file(void *arg, const void *key, const void *value)
{
	const struct file_walk *w = arg;
	const struct weir_file *each = value;
	struct weir_file sum = {0};

	for (unsigned i = 0; i < w->nr_cpus; i++) {
		sum.lookup_pages += each[i].lookup_pages;
		sum.miss_pages += each[i].miss_pages;
		sum.map_pages += each[i].map_pages;
		sum.faults += each[i].faults;
	}
	return w->fn(w->arg, key, &sum);
}

int weir_trace_each_file(struct weir_trace *trace,
			 int (*fn)(void *arg, const struct weir_file_key *key,
				   const struct weir_file *file),
			 void *arg)
{
	int nr_cpus = libbpf_num_possible_cpus();
	struct file_walk w = {fn, arg, (unsigned)nr_cpus};

	if (nr_cpus < 0)
		return nr_cpus;
	if (trace->map[WR_MAP_page_cache] < 0)
		return 0;
	return walk(trace->map[WR_MAP_page_cache], sizeof(struct weir_file), w.nr_cpus, give_file,
		    &w);
}

#else

/* No trace can be open in such a build. */
#define EACH(what, ...)                                                              \
	int weir_trace_each_##what(struct weir_trace *trace, __VA_ARGS__, void *arg) \
	{                                                                            \
		(void)trace;                                                         \
		(void)fn;                                                            \
		(void)arg;                                                           \
		return 0;                                                            \
	}

EACH(lock, int (*fn)(void *, const struct weir_trace_lock *))
EACH(hold, int (*fn)(void *, const struct weir_trace_hold *))
EACH(deep, int (*fn)(void *, const struct weir_trace_deep_lock *))
EACH(cache, int (*fn)(void *, const struct weir_cache_key *, const struct weir_cache_events *))
EACH(holder, int (*fn)(void *, const struct weir_site_key *, const struct weir_site *))
EACH(waiter, int (*fn)(void *, const struct weir_site_key *, const struct weir_site *))
EACH(miss_site, int (*fn)(void *, const struct weir_miss_site_key *, const struct weir_miss *))
EACH(slot, uint32_t at __attribute__((unused)), int (*fn)(void *, const struct weir_trace_slot *))
EACH(file, int (*fn)(void *, const struct weir_file_key *, const struct weir_file *))
EACH(io, int (*fn)(void *, const struct weir_io_key *, const struct weir_io_times *))
EACH(miss, int (*fn)(void *, const struct weir_miss_key *, const struct weir_miss *))

#endif
