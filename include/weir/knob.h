/* SPDX-License-Identifier: MIT */
/**
 * weir/knob.h - The numbers that steer a running weir.
 *
 * A table of named numbers. Modules register theirs with default and bounds and
 * read them where they decide; whoever tunes, a person or the optimizer, sees
 * names and numbers only. Reading is one relaxed load, so a change is seen by
 * later decisions soon, not at one instant; a module never depends on two knobs
 * changing together.
 */
#ifndef WEIR_KNOB_H
#define WEIR_KNOB_H

#include <weir/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_knobs;

/* The most knobs of one table. */
#define WEIR_KNOBS_MAX 256u

/**
 * struct weir_knob_desc - One knob as it is registered.
 * @name:          [a-z][a-z0-9_.]*, at most 63 bytes, for instance "io.chunk_bytes".
 * @unit:          "bytes", "ns", "permille", ... or "" for plain counts.
 * @help:          One line: what moves with it.
 * @default_value: Within the bounds.
 * @min:           The smallest value allowed.
 * @max:           The largest value allowed.
 *
 * The texts are copied; none is NULL.
 *
 * Since: 0.1
 */
struct weir_knob_desc {
	const char *name;
	const char *unit;
	const char *help;
	uint64_t default_value;
	uint64_t min;
	uint64_t max;
};

/**
 * struct weir_knob - One knob as weir_knob_at() shows it.
 * @desc:  What was registered; the texts are valid until the table is closed.
 * @value: What it is now.
 *
 * Since: 0.1
 */
struct weir_knob {
	struct weir_knob_desc desc;
	uint64_t value;
};

/**
 * weir_knobs_open() - Make an empty table.
 * @ret: The table.
 *
 * Context: Any thread. Takes no lock.
 * Owner:   The caller, until weir_knobs_close().
 * Return:  0, -ENOMEM.
 * Since:   0.1
 */
WEIR_API int weir_knobs_open(struct weir_knobs **ret) WEIR_MUST_CHECK;

/**
 * weir_knobs_close() - Give a table back.
 * @knobs: Table that nobody uses any more, or NULL.
 *
 * Context: Any thread. Takes no lock.
 * Since:   0.1
 */
WEIR_API void weir_knobs_close(struct weir_knobs *knobs);

/**
 * weir_knob_register() - Add a knob, or find it again.
 * @knobs: Table.
 * @desc:  The knob.
 * @ret:   Its id: 0 for the first, then 1, and so on.
 *
 * A name that is there with the same bounds and default gives the id it has; the
 * value stays as somebody may have set it.
 *
 * Context: Any thread. Takes KNOB.
 * Return:  0, -EINVAL (name against the rules, or default and bounds do not fit),
 *          -EEXIST (the name is there with other numbers), -ENOSPC (table full), -ENOMEM.
 * Since:   0.1
 */
WEIR_API int weir_knob_register(struct weir_knobs *knobs, const struct weir_knob_desc *desc,
				uint32_t *ret) WEIR_MUST_CHECK;

/**
 * weir_knob_get() - What a knob stands at.
 * @knobs: Table.
 * @id:    From weir_knob_register() or weir_knob_find().
 *
 * Context: Any thread. Takes no lock.
 * Cost:    One relaxed load.
 * Return:  The value; 0 for an id that does not exist.
 * Since:   0.1
 */
WEIR_API uint64_t weir_knob_get(const struct weir_knobs *knobs, uint32_t id);

/**
 * weir_knob_set() - Move a knob.
 * @knobs: Table.
 * @id:    The knob.
 * @value: Where to.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -ENOENT (no such knob), -ERANGE (outside its bounds; nothing changed).
 * Since:   0.1
 */
WEIR_API int weir_knob_set(struct weir_knobs *knobs, uint32_t id, uint64_t value) WEIR_MUST_CHECK;

/**
 * weir_knob_set_text() - Move a knob by what a person wrote: "name=value".
 * @knobs: Table.
 * @text:  The value is decimal, with K, M, G or T (or KiB, ...) for powers of 1024, or
 *         the word "default". No spaces.
 * @err:   Filled on failure, when not NULL: what is wrong, with the bounds.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -EINVAL (not of this form), -ENOENT (no such knob), -ERANGE (outside its bounds).
 * Since:   0.1
 */
WEIR_API int weir_knob_set_text(struct weir_knobs *knobs, const char *text,
				struct weir_error *err) WEIR_MUST_CHECK;

/**
 * weir_knob_find() - The id of a name.
 * @knobs: Table.
 * @name:  As registered.
 * @ret:   The id.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -ENOENT.
 * Since:   0.1
 */
WEIR_API int weir_knob_find(const struct weir_knobs *knobs, const char *name,
			    uint32_t *ret) WEIR_MUST_CHECK;

/**
 * weir_knob_count() - How many knobs there are; their ids are below this.
 * @knobs: Table.
 *
 * Context: Any thread. Takes no lock.
 * Return:  The count.
 * Since:   0.1
 */
WEIR_API uint32_t weir_knob_count(const struct weir_knobs *knobs);

/**
 * weir_knob_at() - Everything about one knob.
 * @knobs: Table.
 * @id:    Below weir_knob_count().
 * @ret:   The knob.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -ENOENT.
 * Since:   0.1
 */
WEIR_API int weir_knob_at(const struct weir_knobs *knobs, uint32_t id,
			  struct weir_knob *ret) WEIR_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif /* WEIR_KNOB_H */
