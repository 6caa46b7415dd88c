/* SPDX-License-Identifier: MIT */
/*
 * Labels: the series of a family. A series is named by one text, its labels sorted by name with the
 * values escaped as the exports want them, so that finding one is finding a text, and an export
 * copies it. What is above the family's limit is refused before anything is made for it.
 */
#include <weir/metrics.h>

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "lock/lock.h"
#include "metrics/registry.h"
#include "metrics/sample.h"

#define NAME_BYTES_MAX 63u

static bool is_label_name(const char *name)
{
	/* The first two belong to histograms and summaries, the others to the exporter. */
	static const char *const reserved[] = {"le", "quantile", "pid", "context", "command"};

	if ((*name < 'a' || *name > 'z') && *name != '_')
		return false;
	if (strncmp(name, "__", 2) == 0 || strlen(name) > NAME_BYTES_MAX)
		return false;
	for (size_t i = 0; i < wr_array_size(reserved); i++) {
		if (strcmp(name, reserved[i]) == 0)
			return false;
	}
	return name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

/* The length of the sequence at @at when it is one of UTF-8, without surrogates; else 0. */
static unsigned utf8_sequence(const unsigned char *at)
{
	unsigned nr = *at < 0x80 ? 1 : *at < 0xc2 ? 0 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : 4;

	if (*at > 0xf4)
		return 0;
	for (unsigned i = 1; i < nr; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
	    (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
		return 0;
	return nr;
}

/* Append @value escaped to @to; NULL when it is against the rules. */
static char *put_value(char *to, const char *value)
{
	const unsigned char *at = (const unsigned char *)value;

	if (strnlen(value, WEIR_METRICS_LABEL_BYTES_MAX + 1) > WEIR_METRICS_LABEL_BYTES_MAX)
		return NULL;
	while (*at != '\0') {
		unsigned nr = utf8_sequence(at);

		if (nr == 0)
			return NULL;
		if (*at == '"' || *at == '\\' || *at == '\n') {
			*to++ = '\\';
			*to++ = *at == '\n' ? 'n' : (char)*at;
		} else {
			memcpy(to, at, nr);
			to += nr;
		}
		at += nr;
	}
	return to;
}

bool wr_metrics_is_label_value(const char *value)
{
	char text[2 * WEIR_METRICS_LABEL_BYTES_MAX];

	return put_value(text, value) != NULL;
}

int wr_metrics_labels_text(const struct labels *labels, const char *const *values, char *ret)
{
	for (uint32_t i = 0; i < labels->nr; i++) {
		uint32_t which = labels->order[i];
		size_t bytes = strlen(labels->names[which]);

		if (i > 0)
			*ret++ = ',';
		memcpy(ret, labels->names[which], bytes);
		ret += bytes;
		*ret++ = '=';
		*ret++ = '"';
		if (values[which] == NULL)
			return -EINVAL;
		ret = put_value(ret, values[which]);
		if (ret == NULL)
			return -EINVAL;
		*ret++ = '"';
	}
	*ret = '\0';
	return 0;
}

/* Sort by name; -EINVAL for a name that is none or stands twice. */
static int sort_names(const char *const *names, uint32_t nr, uint8_t *ret)
{
	for (uint32_t i = 0; i < nr; i++) {
		uint32_t at = i;

		if (names[i] == NULL || !is_label_name(names[i]))
			return -EINVAL;
		for (; at > 0; at--) {
			int order = strcmp(names[ret[at - 1]], names[i]);

			if (order == 0)
				return -EINVAL;
			if (order < 0)
				break;
			ret[at] = ret[at - 1];
		}
		ret[at] = (uint8_t)i;
	}
	return 0;
}

int wr_metrics_check_labels(const struct weir_label *labels, uint32_t nr)
{
	const char *names[WEIR_METRICS_LABELS_MAX];
	uint8_t order[WEIR_METRICS_LABELS_MAX];

	for (uint32_t i = 0; i < nr; i++) {
		names[i] = labels[i].name;
		if (!wr_metrics_is_label_value(labels[i].value))
			return -EINVAL;
	}
	return sort_names(names, nr, order);
}

static struct labels *make_labels(const char *const *names, uint32_t nr, uint32_t limit)
{
	struct labels *labels = wr_calloc(1, sizeof(*labels));
	bool whole = true;

	if (labels == NULL)
		return NULL;
	labels->nr = nr;
	labels->limit = limit;
	for (uint32_t i = 0; i < nr; i++) {
		labels->names[i] = wr_strdup(names[i]);
		whole = whole && labels->names[i] != NULL;
	}
	if (!whole) {
		for (uint32_t i = 0; i < nr; i++)
			wr_free(labels->names[i]);
		wr_free(labels);
		return NULL;
	}
	return labels;
}

/* The family that is there: the same labels in the same order, whatever its limit. */
static bool same_labels(const struct labels *labels, const char *const *names, uint32_t nr)
{
	if (labels == NULL || labels->nr != nr)
		return false;
	for (uint32_t i = 0; i < nr; i++) {
		if (strcmp(labels->names[i], names[i]) != 0)
			return false;
	}
	return true;
}

int weir_metrics_register_labels(struct weir_metrics *metrics, const struct weir_metric_desc *desc,
				 const char *const *labels, uint32_t nr, uint32_t limit,
				 uint32_t *ret)
{
	uint8_t order[WEIR_METRICS_LABELS_MAX];
	struct entry *entry;
	uint32_t id = NO_ID;
	int rc;

	if (!wr_metrics_is_valid(desc) || nr == 0 || nr > WEIR_METRICS_LABELS_MAX ||
	    sort_names(labels, nr, order) != 0)
		return -EINVAL;
	entry = wr_metrics_make_entry(desc);
	if (entry == NULL)
		return -ENOMEM;
	entry->labels = make_labels(labels, nr, limit != 0 ? limit : metrics->opts.label_limit);
	if (entry->labels == NULL) {
		wr_metrics_free_entry(metrics, entry);
		return -ENOMEM;
	}
	memcpy(entry->labels->order, order, nr);
	/* The family observes nothing itself. */
	wr_window_free(entry->window);
	entry->window = NULL;
	rc = wr_metrics_link(metrics, &entry, 1, &id);
	if (rc != 1)
		wr_metrics_free_entry(metrics, entry);
	if (rc == 0 && !same_labels(metrics->entries[id]->labels, labels, nr))
		rc = -EEXIST;
	if (rc >= 0)
		*ret = id;
	return rc < 0 ? rc : 0;
}

/* One more series of @labels, or -ENOSPC. */
static int count_series(struct weir_metrics *metrics, struct labels *labels)
{
	bool room;

	wr_mutex_lock(&wr_metrics_mutex);
	room = labels->nr_series < labels->limit;
	if (room)
		labels->nr_series++;
	wr_mutex_unlock(&wr_metrics_mutex);
	if (room)
		return 0;
	wr_fetch_add_relaxed(&labels->nr_overflow, 1);
	wr_fetch_add_relaxed(&metrics->nr_overflow, 1);
	return -ENOSPC;
}

static void uncount_series(struct labels *labels)
{
	wr_mutex_lock(&wr_metrics_mutex);
	labels->nr_series--;
	wr_mutex_unlock(&wr_metrics_mutex);
}

static int make_series(struct weir_metrics *metrics, struct entry *family, const char *text,
		       uint32_t *ret)
{
	struct weir_metric_desc desc = {family->kind, family->name, family->unit, family->help};
	struct entry *entry;
	int rc = count_series(metrics, family->labels);

	if (rc != 0)
		return rc;
	entry = wr_metrics_make_entry(&desc);
	rc = -ENOMEM;
	if (entry != NULL) {
		wr_free(entry->text);
		entry->text = wr_strdup(text);
		entry->family = family->id;
		if (entry->text != NULL)
			rc = wr_metrics_link(metrics, &entry, 1, ret);
	}
	if (rc == 1)
		return 0;
	/* Another thread made the same one in between, or it cannot be made. */
	wr_metrics_free_entry(metrics, entry);
	uncount_series(family->labels);
	return rc;
}

int weir_metrics_series(struct weir_metrics *metrics, uint32_t family, const char *const *values,
			uint32_t *ret)
{
	struct entry *entry = wr_metrics_entry(metrics, family);
	char text[WR_LABELS_TEXT];
	int rc;

	if (entry == NULL || entry->labels == NULL)
		return -ENOENT;
	rc = wr_metrics_labels_text(entry->labels, values, text);
	if (rc != 0)
		return rc;
	rc = wr_metrics_lookup(metrics, entry->name, text, ret);
	return rc == -ENOENT ? make_series(metrics, entry, text, ret) : rc;
}

uint64_t weir_metrics_overflow(struct weir_metrics *metrics, uint32_t family)
{
	struct entry *entry = wr_metrics_entry(metrics, family);

	return entry != NULL && entry->labels != NULL ? wr_load_relaxed(&entry->labels->nr_overflow)
						      : 0;
}
