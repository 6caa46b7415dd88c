/* SPDX-License-Identifier: MIT */
/*
 * Samples by name. Checked first, without a lock, since the rules are the host's functions; then
 * counted and remembered under one lock, so that no reader finds a sample in the buffer and not in
 * the value, or the other way round: who read the value may have to wait for the buffer, and then
 * finds it there.
 */
#include <weir/metrics_sample.h>

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "lock/lock.h"
#include "metrics/registry.h"
#include "metrics/sample.h"

/* A ring. All [METRICS_DATA]. */
struct recent {
	uint64_t nr; /* samples ever */
	uint32_t max;
	struct weir_remembered samples[];
};

uint64_t wr_unix_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int weir_metrics_rule(struct weir_metrics *metrics, const char *name,
		      bool (*accept)(void *arg, double value), void *arg)
{
	struct rule *rule;

	if (name == NULL || accept == NULL || !wr_metrics_is_name(name))
		return -EINVAL;
	rule = wr_calloc(1, sizeof(*rule) + strlen(name) + 1);
	if (rule == NULL)
		return -ENOMEM;
	rule->accept = accept;
	rule->arg = arg;
	memcpy(rule->name, name, strlen(name) + 1);
	rule->next = wr_load_relaxed(&metrics->rules);
	/* A3: pairs with the acquire in obeys(). */
	while (!wr_cas_acq_rel(&metrics->rules, &rule->next, rule))
		;
	return 0;
}

static bool obeys(struct weir_metrics *metrics, const struct weir_sample *sample)
{
	/* A3: pairs with the release in weir_metrics_rule(). */
	for (struct rule *r = wr_load_acquire(&metrics->rules); r != NULL; r = r->next) {
		if (strcmp(r->name, sample->name) == 0 && !r->accept(r->arg, sample->value))
			return false;
	}
	return true;
}

static bool is_value(int kind, double value)
{
	if (!isfinite(value))
		return false;
	switch (kind) {
	case WEIR_METRIC_COUNTER:
		return value >= 0 && value < 9223372036854775808.0 && value == floor(value);
	case WEIR_METRIC_GAUGE:
		return fabs(value) < 9223372036854775808.0;
	case WEIR_METRIC_HISTOGRAM:
	case WEIR_METRIC_SUMMARY:
		return value > -0.5 && value < 18446744073709551616.0;
	default:
		return true;
	}
}

static struct weir_metric_desc desc_of(const struct weir_sample *sample)
{
	struct weir_metric_desc desc = {
		.kind = sample->kind,
		.name = sample->name,
		.unit = sample->unit != NULL ? sample->unit : "",
		.help = sample->help != NULL ? sample->help : "",
	};

	return desc;
}

/* The values in the order of the family's names; false when the names are others. */
static bool match_labels(const struct labels *labels, const struct weir_sample *sample,
			 const char **ret)
{
	if ((labels != NULL ? labels->nr : 0) != sample->nr_labels)
		return false;
	for (uint32_t i = 0; i < sample->nr_labels; i++) {
		ret[i] = NULL;
		for (uint32_t k = 0; k < sample->nr_labels; k++) {
			if (strcmp(labels->names[i], sample->labels[k].name) == 0)
				ret[i] = sample->labels[k].value;
		}
		if (ret[i] == NULL)
			return false;
	}
	return true;
}

/* -ENOENT when the name is new. */
static int find_family(struct weir_metrics *metrics, const struct weir_sample *sample,
		       const char **values, uint32_t *ret)
{
	struct entry *entry;
	uint32_t id;

	if (weir_metrics_find(metrics, sample->name, &id) != 0)
		return -ENOENT;
	entry = wr_metrics_entry(metrics, id);
	if (entry->kind != sample->kind || entry->read != NULL ||
	    strcmp(entry->unit, sample->unit != NULL ? sample->unit : "") != 0 ||
	    !match_labels(entry->labels, sample, values))
		return -EEXIST;
	*ret = id;
	return 0;
}

static bool has_labels(const struct weir_sample *sample)
{
	if (sample->nr_labels > WEIR_METRICS_LABELS_MAX ||
	    (sample->nr_labels > 0 && sample->labels == NULL))
		return false;
	for (uint32_t i = 0; i < sample->nr_labels; i++) {
		if (sample->labels[i].name == NULL || sample->labels[i].value == NULL)
			return false;
	}
	return true;
}

static int check(struct weir_metrics *metrics, const struct weir_sample *sample)
{
	const char *values[WEIR_METRICS_LABELS_MAX];
	struct weir_metric_desc desc = desc_of(sample);
	char text[WR_LABELS_TEXT];
	uint32_t id;
	int rc;

	if (!wr_metrics_is_valid(&desc) || !has_labels(sample) ||
	    !is_value(sample->kind, sample->value))
		return -EINVAL;
	rc = find_family(metrics, sample, values, &id);
	if (rc == -EEXIST)
		return rc;
	if (rc == 0 && sample->nr_labels > 0)
		rc = wr_metrics_labels_text(wr_metrics_entry(metrics, id)->labels, values, text);
	else
		rc = wr_metrics_check_labels(sample->labels, sample->nr_labels);
	if (rc != 0)
		return rc;
	return obeys(metrics, sample) ? 0 : -ERANGE;
}

int weir_metrics_check(struct weir_metrics *metrics, const struct weir_sample *sample)
{
	return check(metrics, sample);
}

int wr_metrics_check_counted(struct weir_metrics *metrics, const struct weir_sample *sample)
{
	int rc = check(metrics, sample);

	if (rc != 0)
		wr_fetch_add_relaxed(&metrics->nr_refused, 1);
	return rc;
}

static int register_sample(struct weir_metrics *metrics, const struct weir_sample *sample,
			   uint32_t *ret)
{
	struct weir_metric_desc desc = desc_of(sample);
	const char *names[WEIR_METRICS_LABELS_MAX];

	if (sample->nr_labels == 0)
		return weir_metrics_register(metrics, &desc, ret);
	for (uint32_t i = 0; i < sample->nr_labels; i++)
		names[i] = sample->labels[i].name;
	return weir_metrics_register_labels(metrics, &desc, names, sample->nr_labels, 0, ret);
}

/* The series of @sample, made when it is not there. */
static int series_of(struct weir_metrics *metrics, const struct weir_sample *sample, uint32_t *ret)
{
	const char *values[WEIR_METRICS_LABELS_MAX];
	uint32_t family;
	int rc = find_family(metrics, sample, values, &family);

	if (rc == -ENOENT) {
		rc = register_sample(metrics, sample, &family);
		/* Another thread may have been faster, with the labels in another order. */
		if (rc == 0 || rc == -EEXIST)
			rc = find_family(metrics, sample, values, &family);
	}
	if (rc != 0)
		return rc;
	if (sample->nr_labels == 0) {
		*ret = family;
		return 0;
	}
	return weir_metrics_series(metrics, family, values, ret);
}

static void count_locked(struct weir_metrics *metrics, const struct weir_sample *sample,
			 uint32_t id) WR_REQUIRES(metrics->data)
{
	wr_lock_assert_held(&metrics->data);
	switch (sample->kind) {
	case WEIR_METRIC_COUNTER:
		weir_metrics_add(metrics, id, (int64_t)sample->value);
		break;
	case WEIR_METRIC_GAUGE:
		weir_metrics_set(metrics, id, llround(sample->value));
		break;
	case WEIR_METRIC_FLOAT:
		wr_store_relaxed(&wr_metrics_entry(metrics, id)->live->base,
				 wr_bits_of(sample->value));
		break;
	default:
		weir_metrics_observe(metrics, id, (uint64_t)round(sample->value));
	}
}

static void remember_locked(struct weir_metrics *metrics, const struct weir_sample *sample,
			    uint32_t id) WR_REQUIRES(metrics->data)
{
	struct recent *recent = metrics->recent;

	wr_lock_assert_held(&metrics->data);
	recent->samples[recent->nr++ % recent->max] = (struct weir_remembered){
		.time_ms = sample->time_ms != WEIR_TIME_NOW ? sample->time_ms : wr_unix_ms(),
		.value = sample->value,
		.id = id,
		.kind = sample->kind,
	};
}

/* The first sample of a registry makes the buffer. Outside of the lock: memory may block. */
static int make_recent(struct weir_metrics *metrics)
{
	struct recent *recent;
	bool there;

	wr_mutex_lock(&metrics->data);
	there = metrics->recent != NULL;
	wr_mutex_unlock(&metrics->data);
	if (there)
		return 0;
	recent = wr_calloc(1, sizeof(*recent) + (size_t)metrics->opts.buffer_max *
							sizeof(recent->samples[0]));
	if (recent == NULL)
		return -ENOMEM;
	recent->max = metrics->opts.buffer_max;
	wr_mutex_lock(&metrics->data);
	if (metrics->recent == NULL) {
		metrics->recent = recent;
		recent = NULL;
	}
	wr_mutex_unlock(&metrics->data);
	wr_free(recent);
	return 0;
}

int wr_metrics_take(struct weir_metrics *metrics, const struct weir_sample *sample)
{
	uint32_t id;
	int rc = make_recent(metrics);

	if (rc == 0)
		rc = series_of(metrics, sample, &id);
	if (rc != 0)
		return rc;
	wr_mutex_lock(&metrics->data);
	count_locked(metrics, sample, id);
	remember_locked(metrics, sample, id);
	wr_mutex_unlock(&metrics->data);
	wr_fetch_add_relaxed(&metrics->nr_samples, 1);
	return 0;
}

int weir_metrics_put(struct weir_metrics *metrics, const struct weir_sample *sample)
{
	int rc = wr_metrics_check_counted(metrics, sample);

	return rc != 0 ? rc : wr_metrics_take(metrics, sample);
}

uint32_t weir_metrics_recent(struct weir_metrics *metrics, uint32_t max,
			     struct weir_remembered *ret)
{
	struct recent *recent;
	uint32_t nr = 0;

	wr_mutex_lock(&metrics->data);
	recent = metrics->recent;
	if (recent != NULL) {
		nr = wr_min(max, (uint32_t)wr_min(recent->nr, (uint64_t)recent->max));
		for (uint32_t i = 0; i < nr; i++)
			ret[i] = recent->samples[(recent->nr - nr + i) % recent->max];
	}
	wr_mutex_unlock(&metrics->data);
	return nr;
}

void wr_recent_free(struct recent *recent)
{
	wr_free(recent);
}

void wr_recent_reset_locked(struct weir_metrics *metrics)
{
	wr_lock_assert_held(&metrics->data);
	if (metrics->recent != NULL)
		metrics->recent->nr = 0;
}

uint32_t wr_recent_nr_locked(const struct weir_metrics *metrics)
{
	const struct recent *recent = metrics->recent;

	return recent != NULL ? (uint32_t)wr_min(recent->nr, (uint64_t)recent->max) : 0;
}
