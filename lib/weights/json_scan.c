/* SPDX-License-Identifier: MIT */
/*
 * JSON without a tree.
 *
 * A safetensors header may have 100 MB and come from anybody. A general reader turns it into a
 * tree of about twenty times that before the first check can be made, and says at which line it
 * failed, not at which byte of the file. Here a text is read through a window of the file, each
 * string into one reused buffer, and nothing recurses; memory does not depend on the text. The
 * index and config files are read with it too: one set of rules, one bound.
 *
 * Accepts RFC 8259 and nothing else: UTF-8 checked everywhere, no control characters in strings,
 * surrogates only in pairs, no leading zeros, no comma before a closing bracket. Numbers that
 * matter must be whole and fit 64 bits, as serde_json demands for an unsigned field.
 * Duplicate members are the reader's to refuse: only it knows which matter.
 */
#include "weights/json_scan.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "weights/names.h"

/* Where p points when there is nothing to read. */
static const uint8_t nothing[1];

void wr_json_init(struct wr_json *json, struct wr_src *src, uint64_t begin, uint64_t end)
{
	*json = (struct wr_json){.src = src, .at = begin, .end = end};
	json->p = json->p_base = json->p_end = nothing;
}

void wr_json_stop(struct wr_json *json, int code)
{
	json->code = code;
	json->at = wr_json_at(json);
	json->p = json->p_base = json->p_end = nothing;
}

void wr_json_fini(struct wr_json *json)
{
	wr_free(json->text);
	json->text = NULL;
}

/* Make @n bytes contiguous at p, if the text has so many. False at its end and after a fault. */
static bool have(struct wr_json *json, size_t n)
{
	uint64_t at = wr_json_at(json);
	const uint8_t *p, *win_end;
	int code;

	if (json->code != 0)
		return false;
	if ((size_t)(json->p_end - json->p) >= n)
		return true;
	if (json->end - at < n)
		return false;
	code = wr_src_get(json->src, at, n, &p);
	if (code != 0) {
		wr_json_stop(json, code);
		return false;
	}
	win_end = json->src->win + json->src->win_bytes;
	if ((uint64_t)(win_end - p) > json->end - at)
		win_end = p + (json->end - at);
	json->p = json->p_base = p;
	json->p_end = win_end;
	json->at = at;
	return true;
}

/* The next byte, not taken; -1 at the end. */
static inline int look(struct wr_json *json)
{
	if (json->p < json->p_end || have(json, 1))
		return *json->p;
	return -1;
}

int wr_json_peek(struct wr_json *json)
{
	for (;;) {
		int c = look(json);

		if (c != ' ' && c != '\n' && c != '\t' && c != '\r')
			return c;
		json->p++;
	}
}

static void unexpected(struct wr_json *json, int c, const char *wanted)
{
	uint64_t at = wr_json_at(json);

	if (c < 0)
		wr_json_fail(json, -EBADMSG, at, "the JSON ends where %s is expected", wanted);
	else if (c > ' ' && c < 0x7f)
		wr_json_fail(json, -EBADMSG, at, "JSON has '%c' where %s is expected", c, wanted);
	else
		wr_json_fail(json, -EBADMSG, at, "JSON has byte 0x%02x where %s is expected",
			     (unsigned int)c, wanted);
}

static bool take(struct wr_json *json, char wanted)
{
	char text[] = {'\'', wanted, '\'', '\0'};
	int c = wr_json_peek(json);

	if (c != wanted) {
		unexpected(json, c, text);
		return false;
	}
	json->p++;
	return true;
}

bool wr_json_open(struct wr_json *json, char bracket)
{
	return take(json, bracket);
}

bool wr_json_next(struct wr_json *json, char bracket, bool *first)
{
	int c = wr_json_peek(json);

	if (c == bracket) {
		json->p++;
		return false;
	}
	if (*first) {
		*first = false;
		return json->code == 0;
	}
	if (c != ',') {
		unexpected(json, c, bracket == '}' ? "',' or '}'" : "',' or ']'");
		return false;
	}
	json->p++;
	return true;
}

/* Append to the kept string. */
static bool keep(struct wr_json *json, const void *bytes, size_t n, size_t most)
{
	size_t room = json->text_room;

	if (n > most || json->text_bytes > most - n) {
		wr_json_fail(json, -EFBIG, json->text_at,
			     "a string of more than %zu bytes, the most that is read here", most);
		return false;
	}
	if (json->text_bytes + n + 1 > room) {
		char *text;

		room = wr_max(json->text_bytes + n + 1, wr_max(room * 2, (size_t)256));
		text = wr_realloc(json->text, room);
		if (text == NULL) {
			wr_json_fail(json, -ENOMEM, json->text_at, "no memory for a string");
			return false;
		}
		json->text = text;
		json->text_room = room;
	}
	memcpy(json->text + json->text_bytes, bytes, n);
	json->text_bytes += n;
	json->text[json->text_bytes] = '\0';
	return true;
}

/* Four hexadecimal digits at p + @from; -1 when they are not. */
static int hex4(struct wr_json *json, size_t from)
{
	int value = 0;

	if (!have(json, from + 4))
		return -1;
	for (size_t i = from; i < from + 4; i++) {
		uint8_t c = json->p[i];
		int digit;

		if (c >= '0' && c <= '9')
			digit = c - '0';
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			digit = (c | 0x20) - 'a' + 10;
		else
			return -1;
		value = value << 4 | digit;
	}
	return value;
}

static size_t encode_utf8(uint32_t rune, uint8_t out[4])
{
	if (rune < 0x80) {
		out[0] = (uint8_t)rune;
		return 1;
	}
	if (rune < 0x800) {
		out[0] = (uint8_t)(0xc0 | rune >> 6);
		out[1] = (uint8_t)(0x80 | (rune & 0x3f));
		return 2;
	}
	if (rune < 0x10000) {
		out[0] = (uint8_t)(0xe0 | rune >> 12);
		out[1] = (uint8_t)(0x80 | (rune >> 6 & 0x3f));
		out[2] = (uint8_t)(0x80 | (rune & 0x3f));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | rune >> 18);
	out[1] = (uint8_t)(0x80 | (rune >> 12 & 0x3f));
	out[2] = (uint8_t)(0x80 | (rune >> 6 & 0x3f));
	out[3] = (uint8_t)(0x80 | (rune & 0x3f));
	return 4;
}

/* A \u escape, or the pair of them that makes one character. p is at the backslash. */
static size_t unicode_escape(struct wr_json *json, uint8_t out[4])
{
	int high = hex4(json, 2), low;

	if (high < 0xd800 || high > 0xdfff) {
		if (high < 0)
			return 0;
		json->p += 6;
		return encode_utf8((uint32_t)high, out);
	}
	if (high >= 0xdc00 || !have(json, 12) || json->p[6] != '\\' || json->p[7] != 'u')
		return 0;
	low = hex4(json, 8);
	if (low < 0xdc00 || low > 0xdfff)
		return 0;
	json->p += 12;
	return encode_utf8(0x10000u + (((uint32_t)high & 0x3ff) << 10 | ((uint32_t)low & 0x3ff)),
			   out);
}

/* Bytes that the escape at p stands for; 0 when it is none. */
static size_t escape(struct wr_json *json, uint8_t out[4])
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *found;

	if (!have(json, 2))
		return 0;
	if (json->p[1] == 'u')
		return unicode_escape(json, out);
	found = json->p[1] != '\0' ? strchr(from, json->p[1]) : NULL;
	if (found == NULL)
		return 0;
	json->p += 2;
	out[0] = (uint8_t)to[found - from];
	return 1;
}

/* What is not plain ASCII: an escape or a UTF-8 sequence. */
static bool special(struct wr_json *json, bool kept, size_t most)
{
	uint64_t at = wr_json_at(json);
	uint8_t out[4];
	size_t n, left = 4;

	if (*json->p == '\\') {
		n = escape(json, out);
		if (n == 0) {
			wr_json_fail(json, -EBADMSG, at, "not an escape that JSON knows");
			return false;
		}
		return !kept || keep(json, out, n, most);
	}
	if (*json->p < 0x20) {
		wr_json_fail(json, -EBADMSG, at, "a string has the control character 0x%02x",
			     *json->p);
		return false;
	}
	while (left > 1 && !have(json, left))
		left--;
	if (json->code != 0)
		return false;
	n = wr_utf8_step(json->p, left);
	if (n == 0) {
		wr_json_fail(json, -EBADMSG, at, "byte 0x%02x is not valid UTF-8", *json->p);
		return false;
	}
	memcpy(out, json->p, n);
	json->p += n;
	return !kept || keep(json, out, n, most);
}

static inline bool is_plain(uint8_t c)
{
	return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

static bool string(struct wr_json *json, bool kept, size_t most)
{
	int c = wr_json_peek(json);
	uint64_t at = wr_json_at(json);

	if (c != '"') {
		unexpected(json, c, "a string");
		return false;
	}
	json->p++;
	json->text_at = at;
	json->text_bytes = 0;
	if (kept && !keep(json, "", 0, most))
		return false;
	for (;;) {
		const uint8_t *run = json->p;

		while (json->p < json->p_end && is_plain(*json->p))
			json->p++;
		if (kept && json->p > run && !keep(json, run, (size_t)(json->p - run), most))
			return false;
		c = look(json);
		if (c < 0) {
			wr_json_fail(json, -EBADMSG, at, "the string that begins here has no end");
			return false;
		}
		if (c == '"') {
			json->p++;
			return true;
		}
		if (!is_plain((uint8_t)c) && !special(json, kept, most))
			return false;
	}
}

bool wr_json_string(struct wr_json *json, size_t most)
{
	return string(json, true, most);
}

bool wr_json_skip_string(struct wr_json *json)
{
	return string(json, false, 0);
}

bool wr_json_key(struct wr_json *json, size_t most)
{
	return string(json, true, most) && take(json, ':');
}

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

/* The digits of a number that begins with one. *@ret_fits: their value is within 64 bits. */
static bool integer(struct wr_json *json, uint64_t *ret, bool *ret_fits)
{
	uint64_t at = wr_json_at(json), value = 0;
	bool zero = look(json) == '0', fits = true;

	for (int c = look(json); is_digit(c); json->p++, c = look(json)) {
		if (zero && wr_json_at(json) != at) {
			wr_json_fail(json, -EBADMSG, at, "a number begins with 0");
			return false;
		}
		if (wr_mul_overflow(value, 10u, &value) ||
		    wr_add_overflow(value, (uint64_t)(c - '0'), &value))
			fits = false;
	}
	*ret = value;
	*ret_fits = fits;
	return json->code == 0;
}

static bool digits(struct wr_json *json)
{
	int c = look(json);

	if (!is_digit(c)) {
		unexpected(json, c, "a digit");
		return false;
	}
	while (is_digit(look(json)))
		json->p++;
	return json->code == 0;
}

/* What may follow an integer. *@ret_any: there was something. */
static bool fraction(struct wr_json *json, bool *ret_any)
{
	int c = look(json);

	*ret_any = c == '.' || c == 'e' || c == 'E';
	if (c == '.') {
		json->p++;
		if (!digits(json))
			return false;
		c = look(json);
	}
	if (c == 'e' || c == 'E') {
		json->p++;
		c = look(json);
		if (c == '+' || c == '-')
			json->p++;
		return digits(json);
	}
	return json->code == 0;
}

bool wr_json_maybe_u64(struct wr_json *json, bool *ret_is, uint64_t *ret)
{
	bool fits, more;
	uint64_t value;

	*ret_is = false;
	if (!is_digit(wr_json_peek(json)))
		return wr_json_skip(json);
	if (!integer(json, &value, &fits) || !fraction(json, &more))
		return false;
	*ret_is = fits && !more;
	if (*ret_is)
		*ret = value;
	return true;
}

bool wr_json_u64(struct wr_json *json, uint64_t *ret)
{
	int c = wr_json_peek(json);
	uint64_t at = wr_json_at(json), value;
	bool fits, more;

	if (!is_digit(c)) {
		unexpected(json, c, "a whole number");
		return false;
	}
	if (!integer(json, &value, &fits) || !fraction(json, &more))
		return false;
	if (more)
		wr_json_fail(json, -EBADMSG, at, "a number is not whole");
	else if (!fits)
		wr_json_fail(json, -EOVERFLOW, at, "a number does not fit 64 bits");
	else
		*ret = value;
	return json->code == 0;
}

static bool skip_number(struct wr_json *json)
{
	bool fits, more;
	uint64_t value;

	if (look(json) == '-')
		json->p++;
	if (!is_digit(look(json))) {
		unexpected(json, look(json), "a digit");
		return false;
	}
	return integer(json, &value, &fits) && fraction(json, &more);
}

static bool skip_word(struct wr_json *json, const char *word)
{
	size_t n = strlen(word);

	if (!have(json, n) || memcmp(json->p, word, n) != 0) {
		unexpected(json, look(json), "a value");
		return false;
	}
	json->p += n;
	return true;
}

static bool skip_scalar(struct wr_json *json)
{
	int c = wr_json_peek(json);

	switch (c) {
	case '"':
		return wr_json_skip_string(json);
	case 't':
		return skip_word(json, "true");
	case 'f':
		return skip_word(json, "false");
	case 'n':
		return skip_word(json, "null");
	default:
		if (c == '-' || is_digit(c))
			return skip_number(json);
		unexpected(json, c, "a value");
		return false;
	}
}

bool wr_json_null(struct wr_json *json)
{
	return wr_json_peek(json) == 'n' && skip_word(json, "null");
}

bool wr_json_skip(struct wr_json *json)
{
	char close[WR_JSON_DEPTH]; /* the brackets that are to come */
	bool first[WR_JSON_DEPTH];
	size_t depth = 0;

	do {
		int c = wr_json_peek(json);

		if (c == '{' || c == '[') {
			if (depth == WR_JSON_DEPTH) {
				wr_json_fail(json, -EBADMSG, wr_json_at(json),
					     "values are nested more than %d deep", WR_JSON_DEPTH);
				return false;
			}
			json->p++;
			close[depth] = c == '{' ? '}' : ']';
			first[depth++] = true;
		} else if (!skip_scalar(json)) {
			return false;
		}
		while (depth > 0 && !wr_json_next(json, close[depth - 1], &first[depth - 1])) {
			if (json->code != 0)
				return false;
			depth--;
		}
		/* cppcheck-suppress uninitvar ; below depth each was set on the way in */
		if (depth > 0 && close[depth - 1] == '}' &&
		    !(wr_json_skip_string(json) && take(json, ':')))
			return false;
	} while (depth > 0);
	return json->code == 0;
}

bool wr_json_finish(struct wr_json *json)
{
	int c = wr_json_peek(json);

	if (c >= 0)
		unexpected(json, c, "nothing more");
	return json->code == 0;
}
