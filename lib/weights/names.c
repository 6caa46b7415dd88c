/* SPDX-License-Identifier: MIT */
/*
 * The set of names. Open addressing with linear probing over numbers, names in one growing text,
 * so that a model of 20,000 tensors is four allocations and not 20,000.
 *
 * Names come from files that may have been written to hurt: with a known hash function a header
 * of 100 MB could hold two million names of one hash, and reading it would take hours. So the hash
 * is SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF") under a key drawn for
 * each set.
 */
#include "weights/names.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/util.h"

/* Half of what 32 bits number, so that no count of slots wraps. */
#define NAMES_MOST (1u << 30)

static inline uint64_t rotl(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

static inline void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] = rotl(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] = rotl(v[2], 32);
}

static inline uint64_t load_le(const uint8_t *p, size_t n)
{
	uint64_t value = 0;

	for (size_t i = 0; i < n; i++)
		value |= (uint64_t)p[i] << (8 * i);
	return value;
}

static uint32_t hash(const struct wr_names *names, const void *text, size_t n)
{
	const uint8_t *p = text;
	uint64_t v[4] = {
		names->key[0] ^ UINT64_C(0x736f6d6570736575),
		names->key[1] ^ UINT64_C(0x646f72616e646f6d),
		names->key[0] ^ UINT64_C(0x6c7967656e657261),
		names->key[1] ^ UINT64_C(0x7465646279746573),
	};
	uint64_t m = (uint64_t)n << 56;
	size_t left = n;

	for (; left >= 8; left -= 8, p += 8) {
		uint64_t word = load_le(p, 8);

		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	m |= load_le(p, left);
	v[3] ^= m;
	sip_round(v);
	v[0] ^= m;
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	m = v[0] ^ v[1] ^ v[2] ^ v[3];
	return (uint32_t)(m ^ m >> 32);
}

/* Without randomness from the system the sets work and are only easier to attack. */
static void draw_key(struct wr_names *names)
{
	if (getrandom(names->key, sizeof(names->key), GRND_NONBLOCK) == sizeof(names->key))
		return;
	names->key[0] = wr_now_ns();
	names->key[1] = (uint64_t)(uintptr_t)names;
}

/* Where the name is, or the empty slot where it belongs. */
static uint32_t *probe(const struct wr_names *names, const char *name, size_t bytes, uint32_t h)
{
	uint32_t mask = names->nr_slots - 1;

	for (uint32_t i = h & mask;; i = (i + 1) & mask) {
		uint32_t *slot = &names->slot[i];
		const struct wr_name *item;

		if (*slot == 0)
			return slot;
		item = &names->item[*slot - 1];
		if (item->hash == h && item->bytes == bytes &&
		    memcmp(names->text + item->at, name, bytes) == 0)
			return slot;
	}
}

static int grow_slots(struct wr_names *names)
{
	uint32_t count = names->nr_slots != 0 ? names->nr_slots * 2 : 64;
	uint32_t *slot = wr_calloc(count, sizeof(*slot));

	if (slot == NULL)
		return -ENOMEM;
	if (names->nr_slots == 0)
		draw_key(names);
	wr_free(names->slot);
	names->slot = slot;
	names->nr_slots = count;
	for (uint32_t nr = 0; nr < names->nr; nr++) {
		uint32_t i = names->item[nr].hash & (count - 1);

		while (slot[i] != 0)
			i = (i + 1) & (count - 1);
		slot[i] = nr + 1;
	}
	return 0;
}

static int grow_items(struct wr_names *names)
{
	uint32_t room = names->room != 0 ? names->room * 2 : 32;
	struct wr_name *item = wr_reallocarray(names->item, room, sizeof(*item));

	if (item == NULL)
		return -ENOMEM;
	names->item = item;
	names->room = room;
	return 0;
}

static int grow_text(struct wr_names *names, size_t bytes)
{
	size_t need, room;
	char *text;

	if (wr_add_overflow(names->text_bytes, bytes + 1, &need))
		return -ENOMEM;
	if (need <= names->text_room)
		return 0;
	room = wr_max(need, names->text_room * 2);
	room = wr_max(room, (size_t)1024);
	text = wr_realloc(names->text, room);
	if (text == NULL)
		return -ENOMEM;
	names->text = text;
	names->text_room = room;
	return 0;
}

static int make_room(struct wr_names *names, size_t bytes)
{
	int code = 0;

	if (names->nr >= NAMES_MOST)
		return -EFBIG;
	/* At most two of three slots are taken. */
	if (names->nr_slots == 0 || names->nr >= names->nr_slots / 3 * 2)
		code = grow_slots(names);
	if (code == 0 && names->nr == names->room)
		code = grow_items(names);
	if (code == 0)
		code = grow_text(names, bytes);
	return code;
}

int wr_names_add(struct wr_names *names, const char *name, size_t bytes, uint32_t *ret)
{
	struct wr_name *item;
	uint32_t h, *slot;
	int code;

	wr_assert(bytes <= WR_NAME_MOST);
	code = make_room(names, bytes);
	if (code != 0)
		return code;
	h = hash(names, name, bytes);
	slot = probe(names, name, bytes, h);
	if (*slot != 0) {
		*ret = *slot - 1;
		return -EEXIST;
	}
	item = &names->item[names->nr];
	*item = (struct wr_name){
		.at = names->text_bytes,
		.bytes = (uint32_t)bytes,
		.hash = h,
	};
	if (bytes != 0)
		memcpy(names->text + names->text_bytes, name, bytes);
	names->text[names->text_bytes + bytes] = '\0';
	names->text_bytes += bytes + 1;
	*ret = names->nr++;
	*slot = names->nr;
	return 0;
}

uint32_t wr_names_find(const struct wr_names *names, const char *name, size_t bytes)
{
	uint32_t *slot;

	if (names->nr == 0 || bytes > WR_NAME_MOST)
		return WR_NAMES_NONE;
	slot = probe(names, name, bytes, hash(names, name, bytes));
	return *slot != 0 ? *slot - 1 : WR_NAMES_NONE;
}

void wr_names_fini(struct wr_names *names)
{
	wr_free(names->item);
	wr_free(names->text);
	wr_free(names->slot);
	*names = (struct wr_names){0};
}

/* Table 3-7 of the Unicode standard, "Well-Formed UTF-8 Byte Sequences". */
size_t wr_utf8_step(const uint8_t *p, size_t n)
{
	uint8_t low = 0x80, high = 0xbf;
	size_t length;

	if (n == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	length = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (n < length)
		return 0;
	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;
	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++) {
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	}
	return length;
}

bool wr_utf8_valid(const void *text, size_t n)
{
	const uint8_t *p = text;

	for (size_t i = 0; i < n;) {
		size_t step = wr_utf8_step(p + i, n - i);

		if (step == 0)
			return false;
		i += step;
	}
	return true;
}
