/* SPDX-License-Identifier: MIT */
/*
 * The table of knobs. The values stand in an array of their own, so that what modules read often
 * shares lines only with other values. Descriptions are written once, before the count that makes
 * them visible is released, and never change; registering is the only thing that takes the lock.
 */
#include <weir/knob.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "lock/lock.h"

/* With the NUL. */
#define NAME_BYTES 64

struct weir_knobs {
	_Atomic uint64_t values[WEIR_KNOBS_MAX]; /* [atomic] */
	struct wr_mutex lock WR_RANKED(KNOB);
	_Atomic uint32_t nr;			     /* [atomic] K1; written under [KNOB] */
	struct weir_knob_desc descs[WEIR_KNOBS_MAX]; /* [KNOB] to add; K1 to read */
};

int weir_knobs_open(struct weir_knobs **ret)
{
	struct weir_knobs *knobs = wr_calloc_aligned(WR_CACHE_LINE, sizeof(*knobs));

	if (knobs == NULL)
		return -ENOMEM;
	wr_mutex_init(&knobs->lock, WR_RANK_KNOB, "knobs");
	*ret = knobs;
	return 0;
}

static void free_texts(struct weir_knob_desc *desc)
{
	/* Ours since copy_desc(); the public struct shows them as const. */
	wr_free((void *)(uintptr_t)desc->name);
	wr_free((void *)(uintptr_t)desc->unit);
	wr_free((void *)(uintptr_t)desc->help);
}

void weir_knobs_close(struct weir_knobs *knobs)
{
	if (knobs == NULL)
		return;
	for (uint32_t i = 0; i < wr_load_relaxed(&knobs->nr); i++)
		free_texts(&knobs->descs[i]);
	wr_mutex_fini(&knobs->lock);
	wr_free(knobs);
}

static bool is_valid(const struct weir_knob_desc *desc)
{
	if (desc->name == NULL || desc->unit == NULL || desc->help == NULL)
		return false;
	if (strlen(desc->name) >= NAME_BYTES || *desc->name < 'a' || *desc->name > 'z')
		return false;
	if (desc->name[strspn(desc->name, "abcdefghijklmnopqrstuvwxyz0123456789_.")] != '\0')
		return false;
	return desc->min <= desc->default_value && desc->default_value <= desc->max;
}

static int copy_desc(struct weir_knob_desc *dst, const struct weir_knob_desc *src)
{
	*dst = *src;
	dst->name = wr_strdup(src->name);
	dst->unit = wr_strdup(src->unit);
	dst->help = wr_strdup(src->help);
	if (dst->name != NULL && dst->unit != NULL && dst->help != NULL)
		return 0;
	free_texts(dst);
	return -ENOMEM;
}

/* The number of knobs that may be read. K1: pairs with the release in register_locked(). */
static uint32_t nr_knobs(const struct weir_knobs *knobs)
{
	return wr_load_acquire(&knobs->nr);
}

int weir_knob_find(const struct weir_knobs *knobs, const char *name, uint32_t *ret)
{
	uint32_t nr = nr_knobs(knobs);

	for (uint32_t id = 0; id < nr; id++) {
		if (strcmp(knobs->descs[id].name, name) == 0) {
			*ret = id;
			return 0;
		}
	}
	return -ENOENT;
}

static int register_locked(struct weir_knobs *knobs, const struct weir_knob_desc *desc,
			   uint32_t *ret) WR_REQUIRES(knobs->lock)
{
	const struct weir_knob_desc *old;
	uint32_t id;
	int rc;

	wr_lock_assert_held(&knobs->lock);
	if (weir_knob_find(knobs, desc->name, &id) == 0) {
		old = &knobs->descs[id];
		if (old->default_value != desc->default_value || old->min != desc->min ||
		    old->max != desc->max)
			return -EEXIST;
		*ret = id;
		return 0;
	}
	id = wr_load_relaxed(&knobs->nr);
	if (id == WEIR_KNOBS_MAX)
		return -ENOSPC;
	rc = copy_desc(&knobs->descs[id], desc);
	if (rc != 0)
		return rc;
	wr_store_relaxed(&knobs->values[id], desc->default_value);
	/* K1: pairs with the acquire in nr_knobs(). */
	wr_store_release(&knobs->nr, id + 1);
	*ret = id;
	return 0;
}

int weir_knob_register(struct weir_knobs *knobs, const struct weir_knob_desc *desc, uint32_t *ret)
{
	int rc;

	if (!is_valid(desc))
		return -EINVAL;
	wr_mutex_lock(&knobs->lock);
	rc = register_locked(knobs, desc, ret);
	wr_mutex_unlock(&knobs->lock);
	return rc;
}

uint64_t weir_knob_get(const struct weir_knobs *knobs, uint32_t id)
{
	/* Values past the last knob are 0. */
	return id < WEIR_KNOBS_MAX ? wr_load_relaxed(&knobs->values[id]) : 0;
}

int weir_knob_set(struct weir_knobs *knobs, uint32_t id, uint64_t value)
{
	if (id >= nr_knobs(knobs))
		return -ENOENT;
	if (value < knobs->descs[id].min || value > knobs->descs[id].max)
		return -ERANGE;
	wr_store_relaxed(&knobs->values[id], value);
	return 0;
}

static int refuse_range(const struct weir_knob_desc *desc, const char *value,
			struct weir_error *err)
{
	return wr_error_set(err, -ERANGE, NULL, WEIR_OFFSET_NONE,
			    "knob %s cannot be '%s': it goes from %" PRIu64 " to %" PRIu64 "%s%s",
			    desc->name, value, desc->min, desc->max, *desc->unit != '\0' ? " " : "",
			    desc->unit);
}

int weir_knob_set_text(struct weir_knobs *knobs, const char *text, struct weir_error *err)
{
	const char *equals = strchr(text, '='), *value;
	char name[NAME_BYTES];
	uint64_t number;
	uint32_t id;
	int rc;

	if (equals == NULL || equals == text)
		return wr_error_set(err, -EINVAL, NULL, WEIR_OFFSET_NONE,
				    "'%s' is not of the form name=value", text);
	value = equals + 1;
	/* Registration refuses names that do not fit here. */
	if ((size_t)(equals - text) >= sizeof(name))
		return wr_error_set(err, -ENOENT, NULL, WEIR_OFFSET_NONE, "no such knob: %s", text);
	memcpy(name, text, (size_t)(equals - text));
	name[equals - text] = '\0';
	if (weir_knob_find(knobs, name, &id) != 0)
		return wr_error_set(err, -ENOENT, NULL, WEIR_OFFSET_NONE, "no such knob: %s", name);
	if (strcmp(value, "default") == 0)
		return weir_knob_set(knobs, id, knobs->descs[id].default_value);
	rc = wr_parse_size(value, &number);
	if (rc == -EINVAL)
		return wr_error_set(err, -EINVAL, NULL, WEIR_OFFSET_NONE,
				    "knob %s wants a number, not '%s'", name, value);
	if (rc == 0)
		rc = weir_knob_set(knobs, id, number);
	return rc == 0 ? 0 : refuse_range(&knobs->descs[id], value, err);
}

uint32_t weir_knob_count(const struct weir_knobs *knobs)
{
	return nr_knobs(knobs);
}

int weir_knob_at(const struct weir_knobs *knobs, uint32_t id, struct weir_knob *ret)
{
	if (id >= nr_knobs(knobs))
		return -ENOENT;
	ret->desc = knobs->descs[id];
	ret->value = wr_load_relaxed(&knobs->values[id]);
	return 0;
}
