/* SPDX-License-Identifier: MIT */
/*
 * Reading the segment of another process. Everything in it is taken for hostile and may change at
 * any time: each offset is loaded once and checked against the size of the mapping, lists have a
 * bound, texts must end inside and be what their place allows. What does not hold is left out. The
 * owner never shrinks the file, so a mapping stays good as long as it is there.
 */
#include <weir/metrics_segment.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/atomic.h"
#include "base/util.h"
#include "metrics/registry.h"
#include "metrics/segment_map.h"
#include "metrics/view.h"

/* More threads at one time than any machine runs: a list that is longer is a circle. */
#define SHARDS_MAX 65536u

/* A text that ends inside, in at most @max bytes; else NULL. */
static const char *text(const struct weir_segment *segment, uint32_t offset, size_t max)
{
	const char *at = wr_segment_part(segment, offset, 1);

	if (at == NULL)
		return NULL;
	max = (size_t)wr_min((uint64_t)max, segment->bytes - offset);
	return memchr(at, '\0', max) != NULL ? at : NULL;
}

/*
 * name="value",... as wr_metrics_labels_text() makes it. The text of a living host does not change;
 * that of a hostile one may, and then an export is not well-formed, but ends.
 */
static bool is_labels(const char *at)
{
	while (*at != '\0') {
		size_t bytes = strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789_");

		if (bytes == 0 || at[bytes] != '=' || at[bytes + 1] != '"')
			return false;
		for (at += bytes + 2; *at != '"'; at++) {
			if (*at == '\0' || *at == '\n')
				return false;
			if (*at == '\\' && *++at != '\\' && *at != '"' && *at != 'n')
				return false;
		}
		if (*++at == '\0')
			return true;
		if (*at++ != ',' || *at == '\0')
			return false;
	}
	return true;
}

static const struct wr_segment_head *head_of(const struct weir_segment *segment)
{
	return (const struct wr_segment_head *)(const void *)segment->base;
}

static uint32_t segment_nr(void *source)
{
	const struct weir_segment *segment = source;

	/* S1: pairs with the release in link_locked(). */
	return wr_min(wr_load_acquire(&head_of(segment)->nr_entries), segment->nr_max);
}

static const struct wr_segment_entry *entry_at(const struct weir_segment *segment, uint32_t id)
{
	if (id >= segment_nr((void *)(uintptr_t)segment))
		return NULL;
	return (const struct wr_segment_entry *)(const void *)(segment->base + segment->entries) +
	       id;
}

/* All but the values. NULL: there is no such series, or it is damaged. */
static const struct wr_segment_entry *peek(const struct weir_segment *segment, uint32_t id,
					   struct weir_metric *ret)
{
	const struct wr_segment_entry *entry = entry_at(segment, id);
	struct weir_metric_desc desc;

	if (entry == NULL)
		return NULL;
	desc.kind = (int)entry->kind;
	desc.name = text(segment, entry->name, 256);
	desc.unit = text(segment, entry->unit, 64);
	desc.help = text(segment, entry->help, 4096);
	if (!wr_metrics_is_valid(&desc))
		return NULL;
	*ret = (struct weir_metric){
		.id = id,
		.kind = desc.kind,
		.name = desc.name,
		.unit = desc.unit,
		.help = desc.help,
		.labels = text(segment, entry->labels, WR_LABELS_TEXT),
		.family = entry->family,
	};
	return ret->labels != NULL && ret->family <= id && is_labels(ret->labels) ? entry : NULL;
}

/* The next of the list, or NULL at its end and where it is damaged. */
static const struct wr_segment_shard *shard_at(const struct weir_segment *segment, uint32_t offset)
{
	return offset != 0 ? wr_segment_part(segment, offset, sizeof(struct wr_segment_shard))
			   : NULL;
}

/* S2 in all three: pairs with the releases in metrics.c. */
static const struct wr_segment_shard *first_shard(const struct weir_segment *segment)
{
	return shard_at(segment, wr_load_acquire(&head_of(segment)->shards));
}

static int64_t sum_cells(const struct weir_segment *segment, uint32_t id)
{
	const struct wr_segment_shard *shard = first_shard(segment);
	int64_t sum = 0;

	for (uint32_t i = 0; shard != NULL && i < SHARDS_MAX; i++) {
		uint32_t offset = wr_load_acquire(&shard->chunks[id / CHUNK_CELLS]);
		const struct chunk *chunk =
			offset != 0 ? wr_segment_part(segment, offset, sizeof(*chunk)) : NULL;

		if (chunk != NULL)
			sum = (int64_t)((uint64_t)sum +
					(uint64_t)wr_load_relaxed(&chunk->cells[id % CHUNK_CELLS]));
		shard = shard_at(segment, shard->next);
	}
	return sum;
}

static void add_hist(const struct weir_segment *segment, uint32_t offset,
		     struct weir_histogram *ret)
{
	const struct wr_segment_hist *hist =
		offset != 0 ? wr_segment_part(segment, offset, sizeof(*hist)) : NULL;

	for (uint32_t r = 0; hist != NULL && r < NR_ROWS; r++) {
		uint32_t at = wr_load_acquire(&hist->rows[r]);
		const struct row *row = at != 0 ? wr_segment_part(segment, at, sizeof(*row)) : NULL;

		if (row == NULL)
			continue;
		ret->sum += wr_load_relaxed(&row->sum);
		for (uint32_t i = 0; i < ROW_BUCKETS; i++)
			ret->buckets[r * ROW_BUCKETS + i] += wr_load_relaxed(&row->buckets[i]);
	}
}

/* Unlike the owner's: a host that ended while it wrote leaves an odd number behind. */
static void subtract_baseline(const struct baseline *baseline, struct weir_histogram *ret)
{
	for (int tries = 0; baseline != NULL && tries < 1000; tries++) {
		/* A5: pairs with the releases in note(). */
		uint64_t seq = wr_load_acquire(&baseline->seq);

		ret->sum = 0 - wr_load_acquire(&baseline->sum);
		for (uint32_t i = 0; i < WEIR_HISTOGRAM_BUCKETS; i++)
			ret->buckets[i] = 0 - wr_load_acquire(&baseline->buckets[i]);
		if (seq % 2 == 0 && wr_load_relaxed(&baseline->seq) == seq)
			return;
	}
}

static void sum_histogram(const struct weir_segment *segment, const struct wr_segment_entry *entry,
			  uint32_t id, struct weir_histogram *ret)
{
	uint32_t at = wr_load_acquire(&entry->baseline);
	const struct wr_segment_shard *shard;

	memset(ret, 0, sizeof(*ret));
	subtract_baseline(at != 0 ? wr_segment_part(segment, at, sizeof(struct baseline)) : NULL,
			  ret);
	shard = first_shard(segment);
	for (uint32_t i = 0; shard != NULL && i < SHARDS_MAX; i++) {
		uint32_t offset = wr_load_acquire(&shard->hist_chunks[id / CHUNK_CELLS]);
		const struct wr_segment_hist_chunk *chunk =
			offset != 0 ? wr_segment_part(segment, offset, sizeof(*chunk)) : NULL;

		if (chunk != NULL)
			add_hist(segment, wr_load_acquire(&chunk->hists[id % CHUNK_CELLS]), ret);
		shard = shard_at(segment, shard->next);
	}
	for (uint32_t i = 0; i < WEIR_HISTOGRAM_BUCKETS; i++)
		ret->count += ret->buckets[i];
}

static void show_buckets(const struct weir_segment *segment, const struct wr_segment_entry *entry,
			 struct weir_metric *ret)
{
	struct weir_histogram hist;
	uint64_t parts[4];

	sum_histogram(segment, entry, ret->id, &hist);
	ret->value = (int64_t)hist.count;
	ret->sum = hist.sum;
	wr_histogram_show(&hist, parts);
	for (uint32_t i = 0; ret->kind == WEIR_METRIC_SUMMARY && i < wr_array_size(parts); i++)
		parts[i] = wr_load_relaxed(&entry->live.window[i]);
	ret->p50 = parts[0];
	ret->p90 = parts[1];
	ret->p99 = parts[2];
	ret->max = parts[3];
}

static bool segment_show(void *source, uint32_t id, struct weir_metric *ret, bool *ret_is_series)
{
	const struct weir_segment *segment = source;
	const struct wr_segment_entry *entry = peek(segment, id, ret);
	int64_t base;

	if (entry == NULL)
		return false;
	*ret_is_series = !(entry->flags & WR_ENTRY_FAMILY);
	if (!*ret_is_series)
		return true;
	ret->available = true;
	base = wr_load_acquire(&entry->live.base);
	if (wr_metrics_has_buckets(ret->kind)) {
		show_buckets(segment, entry, ret);
	} else if (ret->kind == WEIR_METRIC_FLOAT) {
		ret->available = isfinite(wr_float_of(base));
		ret->number = ret->available ? wr_float_of(base) : 0;
		if (fabs(ret->number) < 9e18)
			ret->value = llround(ret->number);
		return true;
	} else if (entry->flags & WR_ENTRY_PULLED) {
		ret->value = wr_load_relaxed(&entry->live.last_sum);
	} else {
		ret->value = (int64_t)((uint64_t)base + (uint64_t)sum_cells(segment, id));
	}
	ret->number = (double)ret->value;
	return true;
}

static bool segment_peek(void *source, uint32_t id, struct weir_metric *ret)
{
	return peek(source, id, ret) != NULL;
}

/* There is no list of a family outside: what follows and names it is in it. */
static uint32_t segment_next(void *source, uint32_t id)
{
	const struct weir_segment *segment = source;
	const struct wr_segment_entry *entry = entry_at(segment, id);
	uint32_t nr = segment_nr(source), family = entry != NULL ? entry->family : NO_ID;

	if (entry == NULL || (family == id && !(entry->flags & WR_ENTRY_FAMILY)))
		return NO_ID;
	for (uint32_t next = id + 1; next < nr; next++) {
		if (entry_at(segment, next)->family == family)
			return next;
	}
	return NO_ID;
}

int weir_segment_read(struct weir_segment *segment, uint32_t id, struct weir_metric *ret)
{
	struct weir_metric shown;
	bool is_series;

	if (!segment_show(segment, id, &shown, &is_series) || !is_series)
		return -ENOENT;
	*ret = shown;
	return 0;
}

int weir_segment_for_each(struct weir_segment *segment,
			  int (*fn)(void *arg, const struct weir_metric *metric), void *arg)
{
	uint32_t nr = segment_nr(segment);
	struct weir_metric shown;
	int rc = 0;

	for (uint32_t id = 0; rc == 0 && id < nr; id++) {
		if (weir_segment_read(segment, id, &shown) == 0)
			rc = fn(arg, &shown);
	}
	return rc;
}

int weir_segment_find(struct weir_segment *segment, const char *name, const char *labels,
		      struct weir_metric *ret)
{
	uint32_t nr = segment_nr(segment);
	struct weir_metric shown;

	for (uint32_t id = 0; id < nr; id++) {
		if (peek(segment, id, &shown) != NULL && strcmp(shown.name, name) == 0 &&
		    strcmp(shown.labels, labels != NULL ? labels : "") == 0 &&
		    weir_segment_read(segment, id, ret) == 0)
			return 0;
	}
	return -ENOENT;
}

int weir_segment_read_histogram(struct weir_segment *segment, uint32_t id,
				struct weir_histogram *ret)
{
	struct weir_metric shown;
	const struct wr_segment_entry *entry = peek(segment, id, &shown);

	if (entry == NULL)
		return -ENOENT;
	if (!wr_metrics_has_buckets(shown.kind) || (entry->flags & WR_ENTRY_FAMILY))
		return -EINVAL;
	sum_histogram(segment, entry, id, ret);
	return 0;
}

int weir_segment_history(struct weir_segment *segment, uint32_t id, int ring, uint32_t max,
			 struct weir_point *ret)
{
	const struct wr_segment_entry *entry = entry_at(segment, id);
	const struct history_times *times;
	const struct history *history;
	uint32_t at;

	if (entry == NULL)
		return -ENOENT;
	if (ring < WEIR_HISTORY_1S || ring > WEIR_HISTORY_60S)
		return -EINVAL;
	/* S2: pairs with the releases in metrics.c and history.c. */
	at = wr_load_acquire(&head_of(segment)->times);
	times = at != 0 ? wr_segment_part(segment, at, sizeof(*times)) : NULL;
	at = wr_load_acquire(&entry->history);
	history = at != 0 ? wr_segment_part(segment, at, sizeof(*history)) : NULL;
	if (times == NULL || history == NULL)
		return 0;
	return (int)wr_history_read(times, history, (uint32_t)ring, max, ret);
}

static int view_histogram(void *source, uint32_t id, struct weir_histogram *ret)
{
	return weir_segment_read_histogram(source, id, ret);
}

static int view_history(void *source, uint32_t id, int ring, uint32_t max, struct weir_point *ret)
{
	return weir_segment_history(source, id, ring, max, ret);
}

int weir_segments_export(struct weir_segment *const *segments, uint32_t nr, int format,
			 int (*write)(void *arg, const char *text, size_t bytes), void *arg)
{
	struct wr_view views[WEIR_SEGMENTS_MAX];
	struct weir_segment_info info;

	if (nr > wr_array_size(views))
		return -EINVAL;
	for (uint32_t i = 0; i < nr; i++) {
		struct wr_view *view = &views[i];

		*view = (struct wr_view){
			.source = segments[i],
			.nr = segment_nr,
			.show = segment_show,
			.peek = segment_peek,
			.next = segment_next,
			.histogram = view_histogram,
			.history = view_history,
		};
		weir_segment_info(segments[i], &info);
		for (char *c = info.command; *c != '\0'; c++) {
			if (*c == '"' || *c == '\\')
				*c = '?';
		}
		snprintf(view->labels, sizeof(view->labels),
			 "pid=\"%u\",context=\"%u\",command=\"%s\"", info.pid, info.context,
			 info.command);
	}
	return wr_views_export(views, nr, format, write, arg);
}
