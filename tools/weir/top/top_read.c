/* SPDX-License-Identifier: MIT */
/*
 * top_read.c - A host's segment as the numbers that `weir top` shows.
 *
 * Rates come from the host's own history of the last seconds, not from looking twice: so one look
 * is enough, and a host that crashed shows what it did last.
 */
#include "top.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double value(struct weir_segment *segment, const char *name, const char *labels)
{
	struct weir_metric m;

	return !weir_segment_find(segment, name, labels, &m) && m.available ? m.number
									    : (double)NAN;
}

/* The points of the last minute; 0 when there is no such series. */
static uint32_t history(struct weir_segment *segment, const char *name, uint32_t max,
			struct weir_point *ret)
{
	struct weir_metric m;
	int nr;

	if (weir_segment_find(segment, name, "", &m))
		return 0;
	nr = weir_segment_history(segment, m.id, WEIR_HISTORY_1S, max, ret);
	return nr > 0 ? (uint32_t)nr : 0;
}

/* What is between two points, a second; a counter that was reset begins at 0. */
static double rate_of(const struct weir_point *from, const struct weir_point *to)
{
	double grown = to->value - from->value;

	if (to->time_ms <= from->time_ms)
		return (double)NAN;
	return (grown >= 0 ? grown : to->value) / ((double)(to->time_ms - from->time_ms) / 1e3);
}

/* A second, over the last @points of the history. */
static double rate(struct weir_segment *segment, const char *name, uint32_t points)
{
	struct weir_point at[WR_TOP_POINTS + 1];
	uint32_t nr = history(segment, name, points + 1, at);

	return nr >= 2 ? rate_of(&at[0], &at[nr - 1]) : (double)NAN;
}

/* What of @name grew in a minute, as a share of what @of grew; from all time when that is 0. */
static double share(struct weir_segment *segment, const char *name, const char *of)
{
	double part = rate(segment, name, WR_TOP_POINTS), all = rate(segment, of, WR_TOP_POINTS);

	if (!(all > 0)) {
		part = value(segment, name, "");
		all = value(segment, of, "");
	}
	return all > 0 ? part / all : (double)NAN;
}

static void read_machine(struct weir_segment *s, struct wr_top_host *h)
{
	h->cpus = value(s, "weir_system_cpus", "");
	h->cpu = value(s, "weir_system_cpu_ratio", "cpu=\"all\"");
	h->memory_total = value(s, "weir_system_memory_total_bytes", "");
	h->memory_used = value(s, "weir_system_memory_used_bytes", "");
	h->swap_total = value(s, "weir_system_swap_total_bytes", "");
	h->swap_used = value(s, "weir_system_swap_used_bytes", "");
	h->resident = value(s, "weir_process_resident_bytes", "");
	h->threads = value(s, "weir_process_threads", "");
	h->fds = value(s, "weir_process_fds", "");
	h->process_cpus = value(s, "weir_process_cpus", "");
	h->pressure[0] = value(s, "weir_system_pressure_ratio", "resource=\"cpu\",share=\"some\"");
	h->pressure[1] =
		value(s, "weir_system_pressure_ratio", "resource=\"memory\",share=\"some\"");
	h->pressure[2] = value(s, "weir_system_pressure_ratio", "resource=\"io\",share=\"some\"");
	h->gpu = value(s, "weir_gpu_utilization_ratio", "gpu=\"0\"");
	h->gpu_memory_used = value(s, "weir_gpu_memory_used_bytes", "gpu=\"0\"");
	h->gpu_memory_total = value(s, "weir_gpu_memory_total_bytes", "gpu=\"0\"");
}

/* As @name of tier @l. */
static double tier_value(struct weir_segment *s, int l, const char *name)
{
	char full[64];

	snprintf(full, sizeof(full), "weir_cache_l%d_%s", l, name);
	return value(s, full, "");
}

/* What was found of what was looked for: @hits of @hits + @misses, in a minute or ever. */
static double tier_hits(struct weir_segment *s, int l)
{
	char hits[64], misses[64];
	double found, not_found;

	snprintf(hits, sizeof(hits), "weir_cache_l%d_hits", l);
	snprintf(misses, sizeof(misses), "weir_cache_l%d_misses", l);
	found = rate(s, hits, WR_TOP_POINTS);
	not_found = rate(s, misses, WR_TOP_POINTS);
	if (!(found + not_found > 0)) {
		found = value(s, hits, "");
		not_found = value(s, misses, "");
	}
	return found + not_found > 0 ? found / (found + not_found) : (double)NAN;
}

static void read_cache(struct weir_segment *s, struct wr_top_host *h)
{
	for (int i = 0; i < 3; i++)
		h->tier[i] = (struct wr_top_tier){.hits = tier_hits(s, i + 1),
						  .used = tier_value(s, i + 1, "used_bytes"),
						  .budget = tier_value(s, i + 1, "budget_bytes")};
}

static void read_host(struct weir_segment *s, struct wr_top_host *h)
{
	h->read_bytes = rate(s, "weir_io_read_bytes", 2);
	h->reads = rate(s, "weir_io_reads", 2);
	h->under_way = value(s, "weir_io_under_way", "");
	h->failed = value(s, "weir_io_failed", "");
	h->retries = value(s, "weir_io_retries", "");
	h->units = rate(s, "weir_stream_units", 2);
	h->hits = share(s, "weir_stream_hits", "weir_stream_units");
	h->pool_capacity = value(s, "weir_pool_capacity_bytes", "");
	h->pool_used = value(s, "weir_pool_used_bytes", "");
	h->pool_free = value(s, "weir_pool_free_bytes", "");
	h->pool_peak = value(s, "weir_pool_peak_used_bytes", "");
	h->pool_largest = value(s, "weir_pool_largest_free_bytes", "");
}

static void read_points(struct weir_segment *s, struct wr_top_host *h)
{
	struct weir_point at[WR_TOP_POINTS + 1];
	uint32_t nr = history(s, "weir_io_read_bytes", WR_TOP_POINTS + 1, at);

	for (uint32_t i = 1; i < nr; i++)
		h->points[h->nr_points++] = rate_of(&at[i - 1], &at[i]);
}

struct walk {
	struct weir_segment *segment;
	struct wr_top_host *host;
};

/* The name between "weir_lock_" and @end; false for another. */
static bool lock_name(const char *name, const char *end, char *ret, size_t room)
{
	size_t begin = strlen("weir_lock_"), tail = strlen(end), bytes = strlen(name);

	if (strncmp(name, "weir_lock_", begin) || bytes <= begin + tail ||
	    strcmp(name + bytes - tail, end) || bytes - begin - tail >= room)
		return false;
	memcpy(ret, name + begin, bytes - begin - tail);
	ret[bytes - begin - tail] = '\0';
	return true;
}

static struct wr_top_lock *lock_of(struct wr_top_host *h, const char *name)
{
	for (uint32_t i = 0; i < h->nr_locks; i++) {
		if (!strcmp(h->locks[i].name, name))
			return &h->locks[i];
	}
	if (h->nr_locks == WR_TOP_LOCKS)
		return NULL;
	strcpy(h->locks[h->nr_locks].name, name);
	return &h->locks[h->nr_locks++];
}

static int look(void *arg, const struct weir_metric *m)
{
	struct walk *walk = arg;
	struct wr_top_host *h = walk->host;
	struct wr_top_lock *lock;
	char name[24];

	if (!strcmp(m->name, "weir_stream_stall_ns"))
		h->stall_p99_ns = m->value > 0 ? (double)m->p99 : (double)NAN;
	/* The hottest zone is the one that matters. */
	if (!strcmp(m->name, "weir_system_temperature_celsius") && m->available)
		h->temperature =
			isnan(h->temperature) ? m->number : fmax(h->temperature, m->number);
	if (lock_name(m->name, "_contended", name, sizeof(name))) {
		lock = lock_of(h, name);
		if (lock) {
			lock->all_contended = m->number;
			lock->contended = rate(walk->segment, m->name, 2);
		}
	} else if (lock_name(m->name, "_wait_ns", name, sizeof(name))) {
		lock = lock_of(h, name);
		if (lock) {
			lock->all_wait_ns = m->number;
			lock->wait_ns = rate(walk->segment, m->name, 2);
		}
	}
	return 0;
}

static int most_first(const void *a, const void *b)
{
	const struct wr_top_lock *x = a, *y = b;

	if (x->wait_ns != y->wait_ns && !isnan(x->wait_ns) && !isnan(y->wait_ns))
		return x->wait_ns < y->wait_ns ? 1 : -1;
	if (x->all_wait_ns != y->all_wait_ns)
		return x->all_wait_ns < y->all_wait_ns ? 1 : -1;
	return strcmp(x->name, y->name);
}

void wr_top_read(struct weir_segment *segment, uint64_t now_ms, struct wr_top_host *ret)
{
	struct walk walk = {.segment = segment, .host = ret};

	*ret = (struct wr_top_host){
		.now_ms = now_ms, .temperature = (double)NAN, .stall_p99_ns = (double)NAN};
	weir_segment_info(segment, &ret->info);
	read_machine(segment, ret);
	read_host(segment, ret);
	read_cache(segment, ret);
	wr_top_map_read(segment, "weir_pool", &ret->map);
	read_points(segment, ret);
	/* A walk that is never ended by its function returns 0. */
	(void)!weir_segment_for_each(segment, look, &walk);
	qsort(ret->locks, ret->nr_locks, sizeof(ret->locks[0]), most_first);
}

/* Whether @info is what @args asks for. */
static bool is_wanted(const struct wr_top_args *args, const struct weir_segment_info *info)
{
	if (args->pid && info->pid != args->pid)
		return false;
	return info->alive != args->post_mortem;
}

int wr_top_find(const struct wr_top_args *args, unsigned skip, unsigned *ret_which,
		unsigned *ret_nr, struct weir_segment **ret)
{
	struct weir_segment_info *infos = calloc(WEIR_SEGMENTS_MAX, sizeof(*infos));
	unsigned nr = 0;
	int found, rc = -ENOENT;

	if (!infos)
		return -ENOMEM;
	found = weir_segments_find(args->dir, WEIR_SEGMENTS_MAX, infos);
	for (int i = 0; i < found && i < (int)WEIR_SEGMENTS_MAX; i++) {
		if (is_wanted(args, &infos[i]))
			infos[nr++] = infos[i];
	}
	if (found < 0)
		rc = found;
	if (nr > 0)
		rc = weir_segment_open(infos[skip % nr].path, ret, NULL);
	free(infos);
	if (rc)
		return rc;
	*ret_which = skip % nr + 1;
	*ret_nr = nr;
	return 0;
}
