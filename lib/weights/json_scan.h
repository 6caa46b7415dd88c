/* SPDX-License-Identifier: MIT */
/*
 * A JSON text read once from front to back, without a tree. See json_scan.c for why.
 *
 * Calls fail softly: after the first fault every further call returns false and does nothing, and
 * json->code says what it was; the error of the source is filled. So a reader is written as
 *
 *	wr_json_open(&json, '{');
 *	for (bool first = true; wr_json_next(&json, '}', &first);) {
 *		wr_json_key(&json, NAME_MOST);	... json.text, json.text_bytes, json.text_at
 *		wr_json_u64(&json, &value);
 *	}
 *	return json.code;
 */
#ifndef WR_WEIGHTS_JSON_SCAN_H
#define WR_WEIGHTS_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "weights/window.h"

/* Deepest nesting inside a skipped value. serde_json stops at 128 levels in all. */
#define WR_JSON_DEPTH 125

struct wr_json {
	struct wr_src *src;
	const uint8_t *p; /* next byte, at @at in the file */
	const uint8_t *p_end;
	uint64_t at; /* of p_base */
	const uint8_t *p_base;
	uint64_t end;
	int code;

	char *text; /* the last string or key: UTF-8, NUL-terminated, may hold NUL */
	size_t text_bytes;
	size_t text_room;
	uint64_t text_at; /* of its opening quote */
};

/* The text is bytes [@begin, @end) of @src, which nobody else reads meanwhile. */
void wr_json_init(struct wr_json *json, struct wr_src *src, uint64_t begin, uint64_t end);
void wr_json_fini(struct wr_json *json);

/* Take the bracket that begins an object or array. */
bool wr_json_open(struct wr_json *json, char bracket);
/* Is there a further member? Takes the comma before it, or the closing @bracket. */
bool wr_json_next(struct wr_json *json, char bracket, bool *first);
/* A member's name and colon; -EFBIG above @most bytes. */
bool wr_json_key(struct wr_json *json, size_t most);
bool wr_json_string(struct wr_json *json, size_t most);
/* A whole number of 64 bits without sign, fraction or exponent. */
bool wr_json_u64(struct wr_json *json, uint64_t *ret);
/* Any value; when it is such a number, it is kept. */
bool wr_json_maybe_u64(struct wr_json *json, bool *ret_is, uint64_t *ret);
/* The value null, if it is that. */
bool wr_json_null(struct wr_json *json);
/* Any value. Checked like all else, and forgotten. */
bool wr_json_skip(struct wr_json *json);
bool wr_json_skip_string(struct wr_json *json);
/* Only blanks are left. */
bool wr_json_finish(struct wr_json *json);

/* The next character that is not blank, not taken; -1 at the end or after a fault. */
int wr_json_peek(struct wr_json *json);
static inline uint64_t wr_json_at(const struct wr_json *json)
{
	return json->at + (uint64_t)(json->p - json->p_base);
}

/* Is the last string this one? */
static inline bool wr_json_is(const struct wr_json *json, const char *word)
{
	size_t n = strlen(word);

	return json->text_bytes == n && memcmp(json->text, word, n) == 0;
}

/* After a fault: nothing is left to read. */
void wr_json_stop(struct wr_json *json, int code);

/* Report what is wrong with the value at @value_at; the first fault counts. */
#define wr_json_fail(json, fault, value_at, ...)                                                \
	((json)->code == 0                                                                      \
		 ? wr_json_stop((json), wr_src_fail((json)->src, fault, value_at, __VA_ARGS__)) \
		 : (void)0)

#endif /* WR_WEIGHTS_JSON_SCAN_H */
