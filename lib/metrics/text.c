/* SPDX-License-Identifier: MIT */
/* Text in pieces. Numbers are made by hand, since printf() is most of what an export costs. */
#include "metrics/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

void wr_out_flush(struct wr_out *out)
{
	if (out->rc == 0 && out->used > 0)
		out->rc = out->write(out->arg, out->buffer, out->used);
	out->used = 0;
}

void wr_out_put(struct wr_out *out, const char *text, size_t bytes)
{
	while (bytes > 0) {
		size_t part = wr_min(bytes, sizeof(out->buffer) - out->used);

		memcpy(out->buffer + out->used, text, part);
		out->used += part;
		text += part;
		bytes -= part;
		if (out->used == sizeof(out->buffer))
			wr_out_flush(out);
	}
}

void wr_out_text(struct wr_out *out, const char *text)
{
	wr_out_put(out, text, strlen(text));
}

void wr_out_u64(struct wr_out *out, uint64_t value, unsigned digits)
{
	/* The longest number, a point and a zero before it. */
	char text[24 + 24], *end = text + sizeof(text), *at = end;
	bool begun = digits == 0;

	for (unsigned i = 0; value != 0 || i <= digits; i++, value /= 10) {
		char digit = (char)('0' + value % 10);

		if (i == digits && begun && digits > 0)
			*--at = '.';
		begun = begun || digit != '0' || i >= digits;
		if (begun)
			*--at = digit;
	}
	wr_out_put(out, at, (size_t)(end - at));
}

void wr_out_i64(struct wr_out *out, int64_t value, unsigned digits)
{
	if (value < 0)
		wr_out_put(out, "-", 1);
	wr_out_u64(out, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, digits);
}

void wr_out_double(struct wr_out *out, double value)
{
	char text[40];

	if (fabs(value) < 1e15 && value == floor(value)) {
		wr_out_i64(out, (int64_t)value, 0);
		return;
	}
	snprintf(text, sizeof(text), "%.15g", value);
	if (strtod(text, NULL) != value)
		snprintf(text, sizeof(text), "%.17g", value);
	/* A host may have a locale whose point is a comma. */
	for (char *c = text; *c != '\0'; c++) {
		if (*c == ',')
			*c = '.';
	}
	wr_out_text(out, text);
}

void wr_out_escaped(struct wr_out *out, const char *text, bool json)
{
	char code[8];

	for (; *text != '\0'; text++) {
		size_t plain = strcspn(text, "\\\"\n");

		for (size_t i = 0; json && i < plain; i++) {
			if ((unsigned char)text[i] < 0x20)
				plain = i;
		}
		wr_out_put(out, text, plain);
		text += plain;
		if (*text == '\0')
			break;
		if (*text == '\\' || *text == '"') {
			wr_out_put(out, "\\", 1);
			wr_out_put(out, text, 1);
		} else if (*text == '\n') {
			wr_out_put(out, "\\n", 2);
		} else {
			snprintf(code, sizeof(code), "\\u%04x", (unsigned)(unsigned char)*text);
			wr_out_text(out, code);
		}
	}
}
