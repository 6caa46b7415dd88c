/* SPDX-License-Identifier: MIT */
/*
 * Text in pieces to a function, through a buffer of its own: no memory is taken, and after the
 * first piece that was not wanted nothing more is written.
 */
#ifndef WR_METRICS_TEXT_H
#define WR_METRICS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wr_out {
	int (*write)(void *arg, const char *text, size_t bytes);
	void *arg;
	int rc; /* what write returned to end it */
	size_t used;
	char buffer[4096];
};

void wr_out_flush(struct wr_out *out);
void wr_out_put(struct wr_out *out, const char *text, size_t bytes);
void wr_out_text(struct wr_out *out, const char *text);

/* Decimal; with @digits after the point, of which those that are 0 at the end are left out. */
void wr_out_u64(struct wr_out *out, uint64_t value, unsigned digits);
void wr_out_i64(struct wr_out *out, int64_t value, unsigned digits);

/* The shortest text that reads back as the same number; @value is finite. */
void wr_out_double(struct wr_out *out, double value);

/* Backslash, quote and newline, as the formats for Prometheus want it; JSON escapes more. */
void wr_out_escaped(struct wr_out *out, const char *text, bool json);

#endif /* WR_METRICS_TEXT_H */
