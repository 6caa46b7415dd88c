/* SPDX-License-Identifier: MIT */
/*
 * Options structs and numbers that people type. An options struct is read exactly as far as its
 * own size field says, so an older caller on a newer library and the reverse both work, or are
 * refused; they never read past what the caller owns.
 */
#include "base/util.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

int wr_opts_copy(void *dst, size_t dst_size, const void *src)
{
	const unsigned char *bytes = src;
	size_t src_size;

	wr_assert(dst_size >= sizeof(size_t));
	if (src == NULL) {
		memset(dst, 0, dst_size);
		memcpy(dst, &dst_size, sizeof(dst_size));
		return 0;
	}
	memcpy(&src_size, src, sizeof(src_size));
	if (src_size < sizeof(src_size))
		return -EINVAL;
	for (size_t i = dst_size; i < src_size; i++) {
		if (bytes[i] != 0)
			return -E2BIG;
	}
	memset(dst, 0, dst_size);
	memcpy(dst, src, wr_min(src_size, dst_size));
	memcpy(dst, &dst_size, sizeof(dst_size));
	return 0;
}

int wr_parse_size(const char *text, uint64_t *ret)
{
	static const char units[] = "KMGT";
	const char *at = text, *unit;
	uint64_t value = 0;
	bool wraps = false;

	if (!isdigit((unsigned char)*at))
		return -EINVAL;
	for (; isdigit((unsigned char)*at); at++) {
		wraps |= wr_mul_overflow(value, 10u, &value);
		wraps |= wr_add_overflow(value, (unsigned)(*at - '0'), &value);
	}
	if (*at != '\0') {
		unit = strchr(units, toupper((unsigned char)*at));
		if (unit == NULL || (at[1] != '\0' && strcasecmp(at + 1, "iB") != 0))
			return -EINVAL;
		for (const char *u = units; u <= unit; u++)
			wraps |= wr_mul_overflow(value, 1024u, &value);
	}
	if (wraps)
		return -ERANGE;
	*ret = value;
	return 0;
}
