/* SPDX-License-Identifier: MIT */
/*
 * Names: the rules for them, registering, finding. Entries are made complete before the lock is
 * taken and only linked under it, since nothing may block under METRICS. An entry is never changed
 * or removed while the registry lives, so finding takes no lock.
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

static bool is_name(const char *name)
{
	if (*name < 'a' || *name > 'z')
		return false;
	return name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

static bool is_valid(const struct weir_metric_desc *desc)
{
	/* What the text export appends to names must not be in them. */
	static const char *const reserved[] = {"_total", "_bucket", "_count", "_sum", "_created"};

	if (desc->kind < WEIR_METRIC_COUNTER || desc->kind > WEIR_METRIC_HISTOGRAM)
		return false;
	if (desc->name == NULL || desc->unit == NULL || desc->help == NULL || !is_name(desc->name))
		return false;
	for (size_t i = 0; i < wr_array_size(reserved); i++) {
		if (ends_in(desc->name, reserved[i]))
			return false;
	}
	if (*desc->unit == '\0')
		return true;
	return is_name(desc->unit) && ends_in(desc->name, desc->unit) &&
	       strlen(desc->name) > strlen(desc->unit) + 1 &&
	       desc->name[strlen(desc->name) - strlen(desc->unit) - 1] == '_';
}

void wr_metrics_free_entry(struct entry *entry)
{
	if (entry == NULL)
		return;
	wr_free(entry->name);
	wr_free(entry->unit);
	wr_free(entry->help);
	wr_free(entry);
}

static struct entry *make_entry(const struct weir_metric_desc *desc, int64_t (*read)(void *arg),
				void *arg)
{
	struct entry *entry = wr_calloc(1, sizeof(*entry));

	if (entry == NULL)
		return NULL;
	entry->name = wr_strdup(desc->name);
	entry->unit = wr_strdup(desc->unit);
	entry->help = wr_strdup(desc->help);
	entry->kind = desc->kind;
	entry->read = read;
	entry->arg = arg;
	if (entry->name == NULL || entry->unit == NULL || entry->help == NULL) {
		wr_metrics_free_entry(entry);
		return NULL;
	}
	return entry;
}

int weir_metrics_find(struct weir_metrics *metrics, const char *name, uint32_t *ret)
{
	/* A1: pairs with the release in link_locked(). */
	uint32_t nr = wr_load_acquire(&metrics->nr_metrics);

	for (uint32_t id = 0; id < nr; id++) {
		if (strcmp(metrics->entries[id]->name, name) == 0) {
			*ret = id;
			return 0;
		}
	}
	return -ENOENT;
}

static bool same(const struct entry *a, const struct entry *b)
{
	return a->kind == b->kind && a->read == NULL && b->read == NULL &&
	       strcmp(a->name, b->name) == 0 && strcmp(a->unit, b->unit) == 0;
}

/* 0 and @ret when all @nr are there in one row, -EEXIST when a part is, -ENOENT when none. */
static int find_row_locked(struct weir_metrics *metrics, struct entry *const *entries, uint32_t nr,
			   uint32_t *ret) WR_REQUIRES(wr_metrics_mutex)
{
	uint32_t first, id, have = wr_load_relaxed(&metrics->nr_metrics);

	wr_lock_assert_held(&wr_metrics_mutex);
	if (weir_metrics_find(metrics, entries[0]->name, &first) == 0) {
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
		if (weir_metrics_find(metrics, entries[i]->name, &id) == 0)
			return -EEXIST;
	}
	return -ENOENT;
}

/* Link entries that are new; 1 when the registry owns them now, 0 when others stood there. */
static int link_locked(struct weir_metrics *metrics, struct entry *const *entries, uint32_t nr,
		       uint32_t *ret) WR_REQUIRES(wr_metrics_mutex)
{
	uint32_t have = wr_load_relaxed(&metrics->nr_metrics);
	int rc = find_row_locked(metrics, entries, nr, ret);

	if (rc != -ENOENT)
		return rc;
	if (nr > WEIR_METRICS_MAX - have)
		return -ENOSPC;
	memcpy(&metrics->entries[have], entries, nr * sizeof(entries[0]));
	/* A1: pairs with the acquires of readers. */
	wr_store_release(&metrics->nr_metrics, have + nr);
	*ret = have;
	return 1;
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
		if (!is_valid(&descs[i]))
			return -EINVAL;
	}
	for (made = 0; made < nr; made++) {
		entries[made] = make_entry(&descs[made], read, arg);
		if (entries[made] == NULL) {
			rc = -ENOMEM;
			goto free_entries;
		}
	}
	wr_mutex_lock(&wr_metrics_mutex);
	rc = link_locked(metrics, entries, nr, ret);
	wr_mutex_unlock(&wr_metrics_mutex);
	if (rc == 1)
		return 0;
free_entries:
	while (made-- > 0)
		wr_metrics_free_entry(entries[made]);
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
	if (read == NULL || desc->kind == WEIR_METRIC_HISTOGRAM)
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
