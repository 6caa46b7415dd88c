/* SPDX-License-Identifier: MIT */
/*
 * A set of names: each is kept once, and gets a number in the order of coming.
 */
#ifndef WR_WEIGHTS_NAMES_H
#define WR_WEIGHTS_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/base.h>

/* No such name. */
#define WR_NAMES_NONE UINT32_MAX
/* Longest name that any parser here takes; GGUF keys may have as much. */
#define WR_NAME_MOST 65535u

struct wr_name {
	uint64_t at; /* in text */
	uint32_t bytes;
	uint32_t hash;
};

/* All zero is an empty set. */
struct wr_names {
	struct wr_name *item;
	uint32_t nr;
	uint32_t room;
	char *text; /* every name, each with a NUL behind it */
	size_t text_bytes;
	size_t text_room;
	uint32_t *slot; /* number + 1, or 0 */
	uint32_t nr_slots;
	uint64_t key[2];
};

/*
 * Returns 0, -EEXIST (it is there; *ret is its number, as in the other case), -EFBIG (too many),
 * -ENOMEM.
 */
int wr_names_add(struct wr_names *names, const char *name, size_t bytes, uint32_t *ret);
uint32_t wr_names_find(const struct wr_names *names, const char *name, size_t bytes);
void wr_names_fini(struct wr_names *names);

/* NUL-terminated; moves when a name is added. */
static inline const char *wr_names_text(const struct wr_names *names, uint32_t nr)
{
	return names->text + names->item[nr].at;
}

/* Length of the valid UTF-8 sequence at @p, 0 when there is none within @n bytes. */
size_t wr_utf8_step(const uint8_t *p, size_t n);
bool wr_utf8_valid(const void *text, size_t n);

#endif /* WR_WEIGHTS_NAMES_H */
