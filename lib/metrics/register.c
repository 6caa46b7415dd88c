/* SPDX-License-Identifier: MIT */
/*
 * Names: the rules for them, registering, finding. Entries are made complete before the lock is
 * taken and only linked under it, since nothing may block under METRICS. An entry is never changed
 * or removed while the registry lives, so finding takes no lock: a table of ids by the hash of
 * name and labels, in which places are only filled.
 */
#include <weir/metrics.h>

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "lock/lock.h"
#include "metrics/registry.h"
#include "metrics/set.h"

/* One list of a module is below this; it bounds what is on the stack here. */
#define MAX_JOIN 128u

struct entry *wr_metrics_entry(struct weir_metrics *metrics, uint32_t id)
{
	/* A1: pairs with the release in link_locked(). */
	return id < wr_load_acquire(&metrics->nr_metrics) ? metrics->entries[id] : NULL;
}

static bool ends_in(const char *text, const char *end)
{
	size_t length = strlen(text), end_length = strlen(end);

	return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

bool wr_metrics_is_name(const char *name)
{
	if (*name < 'a' || *name > 'z')
		return false;
	return name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

bool wr_metrics_is_valid(const struct weir_metric_desc *desc)
{
	/* What the text export appends to names must not be in them. */
	static const char *const reserved[] = {"_total", "_bucket", "_count", "_sum", "_created"};

	if (desc->kind < WEIR_METRIC_COUNTER || desc->kind > WEIR_METRIC_FLOAT)
		return false;
	if (desc->name == NULL || desc->unit == NULL || desc->help == NULL ||
	    !wr_metrics_is_name(desc->name))
		return false;
	for (size_t i = 0; i < wr_array_size(reserved); i++) {
		if (ends_in(desc->name, reserved[i]))
			return false;
	}
	if (*desc->unit == '\0')
		return true;
	return wr_metrics_is_name(desc->unit) && ends_in(desc->name, desc->unit) &&
	       strlen(desc->name) > strlen(desc->unit) + 1 &&
	       desc->name[strlen(desc->name) - strlen(desc->unit) - 1] == '_';
}

void wr_metrics_free_entry(struct weir_metrics *metrics, struct entry *entry)
{
	if (entry == NULL)
		return;
	wr_metrics_free(metrics, wr_load_relaxed(&entry->baseline));
	wr_metrics_free(metrics, wr_load_relaxed(&entry->history));
	wr_window_free(entry->window);
	for (uint32_t i = 0; entry->labels != NULL && i < entry->labels->nr; i++)
		wr_free(entry->labels->names[i]);
	wr_free(entry->labels);
	wr_free(entry->name);
	wr_free(entry->unit);
	wr_free(entry->help);
	wr_free(entry->text);
	wr_free(entry);
}

struct entry *wr_metrics_make_entry(const struct weir_metric_desc *desc)
{
	struct entry *entry = wr_calloc(1, sizeof(*entry));

	if (entry == NULL)
		return NULL;
	entry->name = wr_strdup(desc->name);
	entry->unit = wr_strdup(desc->unit);
	entry->help = wr_strdup(desc->help);
	entry->text = wr_strdup("");
	entry->kind = desc->kind;
	entry->live = &entry->own;
	wr_store_relaxed(&entry->next, NO_ID);
	if (desc->kind == WEIR_METRIC_FLOAT)
		wr_store_relaxed(&entry->own.base, WR_UNAVAILABLE);
	if (desc->kind == WEIR_METRIC_SUMMARY)
		entry->window = wr_window_make();
	if (entry->name == NULL || entry->unit == NULL || entry->help == NULL ||
	    entry->text == NULL || (desc->kind == WEIR_METRIC_SUMMARY && entry->window == NULL)) {
		wr_metrics_free_entry(NULL, entry);
		return NULL;
	}
	return entry;
}

/* FNV-1a over the name, a zero and the labels. */
static uint32_t hash_of(const char *name, const char *labels)
{
	uint32_t hash = 2166136261u;

	for (; *name != '\0'; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619u;
	hash *= 16777619u;
	for (; *labels != '\0'; labels++)
		hash = (hash ^ (unsigned char)*labels) * 16777619u;
	return hash ^ hash >> 15;
}

/* The place of these texts in the table: filled with them, or empty. There is always one. */
static _Atomic uint32_t *place_of(struct weir_metrics *metrics, const char *name,
				  const char *labels)
{
	uint32_t at = hash_of(name, labels) % NR_HASH;

	for (;; at = (at + 1) % NR_HASH) {
		/* A4: pairs with the release in link_locked(). */
		uint32_t id = wr_load_acquire(&metrics->hash[at]);

		if (id == 0 || (strcmp(metrics->entries[id - 1]->name, name) == 0 &&
				strcmp(metrics->entries[id - 1]->text, labels) == 0))
			return &metrics->hash[at];
	}
}

int wr_metrics_lookup(struct weir_metrics *metrics, const char *name, const char *labels,
		      uint32_t *ret)
{
	/* A4: pairs with the release in link_locked(). */
	uint32_t id = wr_load_acquire(place_of(metrics, name, labels));

	/* Filled before it is counted: not there yet for those who check the id. */
	if (id == 0 || id > wr_load_acquire(&metrics->nr_metrics))
		return -ENOENT;
	*ret = id - 1;
	return 0;
}

int weir_metrics_find(struct weir_metrics *metrics, const char *name, uint32_t *ret)
{
	return wr_metrics_lookup(metrics, name, "", ret);
}

static bool same(const struct entry *a, const struct entry *b)
{
	return a->kind == b->kind && a->read == NULL && b->read == NULL &&
	       (a->labels == NULL) == (b->labels == NULL) && strcmp(a->name, b->name) == 0 &&
	       strcmp(a->unit, b->unit) == 0;
}

/* 0 and @ret when all @nr are there in one row, -EEXIST when a part is, -ENOENT when none. */
static int find_row_locked(struct weir_metrics *metrics, struct entry *const *entries, uint32_t nr,
			   uint32_t *ret) WR_REQUIRES(wr_metrics_mutex)
{
	uint32_t first, id, have = wr_load_relaxed(&metrics->nr_metrics);

	wr_lock_assert_held(&wr_metrics_mutex);
	if (wr_metrics_lookup(metrics, entries[0]->name, entries[0]->text, &first) == 0) {
		if (nr > have - first)
			return -EEXIST;
		for (uint32_t i = 0; i < nr; i++) {
			if (!same(metrics->entries[first + i], entries[i]))
				return -EEXIST;
		}
		*ret = first;
		return 0;
	}
	for (uint32_t i = 1; i < nr; i++) {
		if (wr_metrics_lookup(metrics, entries[i]->name, entries[i]->text, &id) == 0)
			return -EEXIST;
	}
	return -ENOENT;
}

static uint32_t text_out(struct wr_segment *segment, const char *text)
{
	uint32_t offset = 0;
	char *copy = wr_segment_alloc(segment, strlen(text) + 1, &offset);

	if (copy == NULL)
		return 0;
	memcpy(copy, text, strlen(text) + 1);
	return offset;
}

/* Show the entry outside. What has no room there is counted inside all the same. */
static void publish_locked(struct weir_metrics *metrics, struct entry *entry)
	WR_REQUIRES(wr_metrics_mutex)
{
	struct wr_segment *segment = metrics->segment;
	struct wr_segment_entry *out;

	wr_lock_assert_held(&wr_metrics_mutex);
	if (segment == NULL || segment->fd < 0)
		return;
	out = (struct wr_segment_entry *)(void *)(segment->base + segment->head->entries) +
	      entry->id;
	out->kind = (uint32_t)entry->kind;
	out->family = entry->family;
	out->flags = (entry->read != NULL ? WR_ENTRY_PULLED : 0) |
		     (entry->labels != NULL ? WR_ENTRY_FAMILY : 0);
	/* The texts of a family are there once. */
	if (entry->family != entry->id && metrics->entries[entry->family]->out != NULL) {
		out->name = metrics->entries[entry->family]->out->name;
		out->unit = metrics->entries[entry->family]->out->unit;
		out->help = metrics->entries[entry->family]->out->help;
	} else {
		out->name = text_out(segment, entry->name);
		out->unit = text_out(segment, entry->unit);
		out->help = text_out(segment, entry->help);
	}
	out->labels = text_out(segment, entry->text);
	if (out->unit == 0 || out->help == 0 || out->labels == 0)
		out->name = 0;
	wr_store_relaxed(&out->live.base, wr_load_relaxed(&entry->own.base));
	entry->live = &out->live;
	entry->out = out;
}

/* Append a series to its family's list. */
static void append_locked(struct weir_metrics *metrics, struct entry *entry)
	WR_REQUIRES(wr_metrics_mutex)
{
	struct entry *family = metrics->entries[entry->family];
	struct entry *last = metrics->entries[family->last];

	wr_lock_assert_held(&wr_metrics_mutex);
	family->last = entry->id;
	/* A4: pairs with the acquire of who walks the family. */
	wr_store_release(&last->next, entry->id);
}

static int room_locked(struct weir_metrics *metrics, struct entry *const *entries, uint32_t nr)
	WR_REQUIRES(wr_metrics_mutex)
{
	uint32_t summaries = 0;

	wr_lock_assert_held(&wr_metrics_mutex);
	if (nr > WEIR_METRICS_MAX - wr_load_relaxed(&metrics->nr_metrics))
		return -ENOSPC;
	for (uint32_t i = 0; i < nr; i++)
		summaries += entries[i]->kind == WEIR_METRIC_SUMMARY;
	summaries += wr_load_relaxed(&metrics->nr_summaries);
	if (summaries > WEIR_METRICS_SUMMARIES_MAX)
		return -ENOSPC;
	wr_store_relaxed(&metrics->nr_summaries, summaries);
	return 0;
}

/* Link entries that are new; 1 when the registry owns them now, 0 when others stood there. */
static int link_locked(struct weir_metrics *metrics, struct entry *const *entries, uint32_t nr,
		       uint32_t *ret) WR_REQUIRES(wr_metrics_mutex)
{
	uint32_t have = wr_load_relaxed(&metrics->nr_metrics);
	int rc = find_row_locked(metrics, entries, nr, ret);

	if (rc == -ENOENT)
		rc = room_locked(metrics, entries, nr);
	else
		return rc;
	if (rc != 0)
		return rc;
	for (uint32_t i = 0; i < nr; i++) {
		struct entry *entry = entries[i];

		entry->id = have + i;
		if (*entry->text == '\0')
			entry->family = entry->last = entry->id;
		metrics->entries[entry->id] = entry;
		publish_locked(metrics, entry);
		/* A4: pairs with the acquire in place_of(). */
		wr_store_release(place_of(metrics, entry->name, entry->text), entry->id + 1);
	}
	/* A1: pairs with the acquires of readers; S1 likewise. */
	wr_store_release(&metrics->nr_metrics, have + nr);
	if (metrics->segment != NULL && metrics->segment->fd >= 0)
		wr_store_release(&metrics->segment->head->nr_entries, have + nr);
	for (uint32_t i = 0; i < nr; i++) {
		if (entries[i]->family != entries[i]->id)
			append_locked(metrics, entries[i]);
	}
	*ret = have;
	return 1;
}

int wr_metrics_link(struct weir_metrics *metrics, struct entry *const *entries, uint32_t nr,
		    uint32_t *ret)
{
	int rc;

	wr_mutex_lock(&wr_metrics_mutex);
	rc = link_locked(metrics, entries, nr, ret);
	wr_mutex_unlock(&wr_metrics_mutex);
	return rc;
}

static int join(struct weir_metrics *metrics, const struct weir_metric_desc *descs, uint32_t nr,
		int64_t (*read)(void *arg), void *arg, uint32_t *ret)
{
	struct entry *entries[MAX_JOIN] = {NULL};
	uint32_t made;
	int rc;

	if (nr == 0 || nr > MAX_JOIN)
		return -EINVAL;
	for (uint32_t i = 0; i < nr; i++) {
		if (!wr_metrics_is_valid(&descs[i]))
			return -EINVAL;
	}
	for (made = 0; made < nr; made++) {
		entries[made] = wr_metrics_make_entry(&descs[made]);
		if (entries[made] == NULL) {
			rc = -ENOMEM;
			goto free_entries;
		}
		entries[made]->read = read;
		entries[made]->arg = arg;
	}
	rc = wr_metrics_link(metrics, entries, nr, ret);
	if (rc == 1)
		return 0;
free_entries:
	while (made-- > 0)
		wr_metrics_free_entry(metrics, entries[made]);
	return rc;
}

int weir_metrics_register(struct weir_metrics *metrics, const struct weir_metric_desc *desc,
			  uint32_t *ret)
{
	return join(metrics, desc, 1, NULL, NULL, ret);
}

int weir_metrics_register_read(struct weir_metrics *metrics, const struct weir_metric_desc *desc,
			       int64_t (*read)(void *arg), void *arg, uint32_t *ret)
{
	if (read == NULL || (desc->kind != WEIR_METRIC_COUNTER && desc->kind != WEIR_METRIC_GAUGE))
		return -EINVAL;
	return join(metrics, desc, 1, read, arg, ret);
}

int wr_metrics_join(struct weir_metrics *metrics, const struct weir_metric_desc *descs, uint32_t nr,
		    struct wr_metrics_set *ret)
{
	uint32_t first = 0;
	int rc;

	if (metrics != NULL) {
		rc = join(metrics, descs, nr, NULL, NULL, &first);
		if (rc != 0)
			return rc;
	}
	ret->metrics = metrics;
	ret->first = first;
	return 0;
}
