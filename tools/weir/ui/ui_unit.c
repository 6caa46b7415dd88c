/* SPDX-License-Identifier: MIT */
/*
 * ui_unit.c - Sizes, rates and durations, from text and to text.
 *
 * Reading is exact: integers only, so that "1.5GiB" is 1610612736 and not what a
 * double makes of it. Printing keeps three significant digits.
 */
#include "ui.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
	const char *name;
	uint64_t factor;
} units[] = {
	{"", 1},
	{"B", 1},
	{"K", 1ull << 10},
	{"KiB", 1ull << 10},
	{"KB", 1000ull},
	{"M", 1ull << 20},
	{"MiB", 1ull << 20},
	{"MB", 1000000ull},
	{"G", 1ull << 30},
	{"GiB", 1ull << 30},
	{"GB", 1000000000ull},
	{"T", 1ull << 40},
	{"TiB", 1ull << 40},
	{"TB", 1000000000000ull},
};

/* Digits at *@text into *@ret; moves *@text behind them. */
static int parse_digits(const char **text, uint64_t *ret)
{
	uint64_t value = 0;
	const char *p = *text;

	if (!isdigit((unsigned char)*p))
		return -EINVAL;
	for (; isdigit((unsigned char)*p); p++)
		if (__builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
			return -EOVERFLOW;
	*text = p;
	*ret = value;
	return 0;
}

/* An optional ".dddddd" at *@text, in millionths. */
static int parse_fraction(const char **text, uint64_t *ret)
{
	uint64_t value = 0;
	unsigned int digits = 0;
	const char *p = *text;

	if (*p == '.') {
		for (p++; isdigit((unsigned char)*p) && digits < 6; p++, digits++)
			value = value * 10 + (uint64_t)(*p - '0');
		if (!digits || isdigit((unsigned char)*p))
			return -EINVAL;
		for (; digits < 6; digits++)
			value *= 10;
	}
	*text = p;
	*ret = value;
	return 0;
}

int wr_ui_parse_u64(const char *text, uint64_t *ret)
{
	uint64_t value;
	int code = parse_digits(&text, &value);

	if (code)
		return code;
	if (*text)
		return -EINVAL;
	*ret = value;
	return 0;
}

static int size_from(uint64_t whole, uint64_t millionths, uint64_t factor, struct wr_ui_size *ret)
{
	/* millionths < 2^20 and factor <= 2^40: the product cannot wrap. */
	uint64_t bytes, part = millionths * factor / 1000000u;

	if (__builtin_mul_overflow(whole, factor, &bytes) ||
	    __builtin_add_overflow(bytes, part, &bytes))
		return -EOVERFLOW;
	*ret = (struct wr_ui_size){.given = true, .bytes = bytes};
	return 0;
}

int wr_ui_parse_size(const char *text, struct wr_ui_size *ret)
{
	uint64_t whole, millionths;
	int code = parse_digits(&text, &whole);

	if (!code)
		code = parse_fraction(&text, &millionths);
	if (code)
		return code;
	if (!strcmp(text, "%")) {
		if (whole > 100000)
			return -EOVERFLOW;
		*ret = (struct wr_ui_size){
			.given = true,
			.relative = true,
			.permyriad = (uint32_t)(whole * 100 + millionths / 10000),
		};
		return 0;
	}
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (!strcasecmp(text, units[i].name))
			return size_from(whole, millionths, units[i].factor, ret);
	return -EINVAL;
}

uint64_t wr_ui_size_bytes(const struct wr_ui_size *size, uint64_t base)
{
	uint64_t whole, rest;

	if (!size->relative)
		return size->bytes;
	if (__builtin_mul_overflow(base / 10000, (uint64_t)size->permyriad, &whole))
		return UINT64_MAX;
	rest = base % 10000 * size->permyriad / 10000;
	return whole > UINT64_MAX - rest ? UINT64_MAX : whole + rest;
}

static const char *scaled(char text[static WR_UI_TEXT], double value, double step,
			  const char *const *names, size_t nr)
{
	size_t i = 0;
	int digits;

	/* 999.5 would print as "1000": step up before the rounding does. */
	while (value >= (step == 1000 ? 999.5 : 1023.5) && i + 1 < nr) {
		value /= step;
		i++;
	}
	digits = i == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
	snprintf(text, WR_UI_TEXT, "%.*f %s", digits, value, names[i]);
	return text;
}

const char *wr_ui_bytes(char text[static WR_UI_TEXT], uint64_t bytes)
{
	static const char *const names[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};

	return scaled(text, (double)bytes, 1000, names, 7);
}

const char *wr_ui_memory(char text[static WR_UI_TEXT], uint64_t bytes)
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};

	return scaled(text, (double)bytes, 1024, names, 7);
}

const char *wr_ui_rate(char text[static WR_UI_TEXT], double bytes_per_second)
{
	static const char *const names[] = {"B/s", "kB/s", "MB/s", "GB/s", "TB/s"};

	return scaled(text, bytes_per_second, 1000, names, 5);
}

const char *wr_ui_duration(char text[static WR_UI_TEXT], double seconds)
{
	if (seconds < 0.9995e-6)
		snprintf(text, WR_UI_TEXT, "%.0f ns", seconds * 1e9);
	else if (seconds < 0.9995e-3)
		snprintf(text, WR_UI_TEXT, "%.3g us", seconds * 1e6);
	else if (seconds < 0.9995)
		snprintf(text, WR_UI_TEXT, "%.3g ms", seconds * 1e3);
	else if (seconds < 59.95)
		snprintf(text, WR_UI_TEXT, "%.*f s", seconds < 9.995 ? 2 : 1, seconds);
	else if (seconds < 3599.5)
		snprintf(text, WR_UI_TEXT, "%u min %02u s", (unsigned int)(seconds + 0.5) / 60,
			 (unsigned int)(seconds + 0.5) % 60);
	else if (seconds < 360000)
		snprintf(text, WR_UI_TEXT, "%u h %02u min", (unsigned int)(seconds / 60 + 0.5) / 60,
			 (unsigned int)(seconds / 60 + 0.5) % 60);
	else
		snprintf(text, WR_UI_TEXT, "%.3g h", seconds / 3600);
	return text;
}
