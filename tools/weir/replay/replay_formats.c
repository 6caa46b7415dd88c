/* SPDX-License-Identifier: MIT */
/*
 * replay_formats.c - What the lines of a trace say, in four formats told apart by their first
 * line.
 *
 *	weir      "# weir trace 1", then lines of "time class name bytes"; described in
 *		  weir-replay(1), written by weir stream --trace-out
 *	route     "# route_trace v1", then lines of "turn,phase,step,layer,slot,expert,weight,
 *		  residency,expert_bytes": which experts a model used; phase 1, the tokens, counts
 *	mooncake  one JSON object a line with "hash_ids": blocks of a KV cache
 *	arc       lines of "start n 0 seq": n consecutive blocks; the ARC paper's traces
 */
#include "replay_trace.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>
#include <xxhash.h>

#include "base/util.h"

#define MAX_FIELDS  9
#define MAX_LAYERS  1024u
#define MAX_EXPERTS 65536u

struct parser {
	const char *name;
	struct wr_trace *t;
	uint64_t block_bytes;
	uint64_t number; /* of the line */
	struct weir_error *err;
	uint64_t layer_bytes[MAX_LAYERS]; /* route: of an expert, as the head says */
};

static int fault(const struct parser *p, int code, const char *what)
{
	return wr_error_set(p->err, code, p->name, WEIR_OFFSET_NONE, "line %llu: %s",
			    (unsigned long long)p->number, what);
}

static int add(const struct parser *p, struct weir_key key, uint32_t kind, uint64_t bytes)
{
	int rc = wr_trace_add(p->t, key, kind, bytes);

	if (rc == -EFBIG)
		return fault(p, rc, "more references or things than a replay holds");
	if (rc == -EOVERFLOW)
		return fault(p, rc, "the sizes add up to more than 64 bits hold");
	return rc ? fault(p, rc, "no memory for the trace") : 0;
}

/* The whole of @text as a number. */
static bool number(const char *text, uint64_t *ret)
{
	uint64_t value = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || wr_mul_overflow(value, 10, &value) ||
		    wr_add_overflow(value, (uint64_t)(*text - '0'), &value))
			return false;
	}
	*ret = value;
	return true;
}

/* Cuts @line at each of @ends; how many fields there are, MAX_FIELDS + 1 for more. */
static size_t cut(char *line, const char *ends, char *fields[MAX_FIELDS])
{
	bool runs = ends[0] == ' ';
	size_t nr = 0;

	for (;;) {
		if (runs)
			line += strspn(line, ends);
		if (runs && !*line)
			return nr;
		if (nr == MAX_FIELDS)
			return nr + 1;
		fields[nr++] = line;
		line += strcspn(line, ends);
		if (!*line)
			return nr;
		*line++ = '\0';
	}
}

static int parse_weir(const struct parser *p, char *line, size_t size)
{
	char *fields[MAX_FIELDS];
	uint64_t time, bytes;
	uint32_t kind = 0;
	XXH128_hash_t hash;

	(void)size;
	if (cut(line, " \t", fields) != 4)
		return fault(p, -EBADMSG, "not \"time class name bytes\"");
	while (kind < WR_TRACE_CLASSES && strcmp(fields[1], wr_trace_class_name(kind)))
		kind++;
	if (kind == WR_TRACE_CLASSES)
		return fault(p, -EBADMSG,
			     "the class is none of weights, experts, kv, features, other");
	if (!number(fields[0], &time))
		return fault(p, -EBADMSG, "the time is no number of nanoseconds");
	if (!number(fields[3], &bytes))
		return fault(p, -EBADMSG, "the size is no number of bytes");
	hash = XXH3_128bits(fields[2], strlen(fields[2]));
	return add(p, (struct weir_key){.hi = hash.high64, .lo = hash.low64}, kind, bytes);
}

/* "# layer=N expert_bytes=B ...": what a line says of its own is 0 where nothing was read. */
static int route_head(struct parser *p, const char *line)
{
	unsigned long long layer, bytes;

	if (sscanf(line, "# layer=%4llu expert_bytes=%15llu", &layer, &bytes) == 2 &&
	    layer < MAX_LAYERS)
		p->layer_bytes[layer] = bytes;
	return 0;
}

static int parse_route(const struct parser *p, char *line, size_t size)
{
	char *fields[MAX_FIELDS];
	uint64_t layer, expert, bytes;

	(void)size;
	if (cut(line, ",", fields) != 9)
		return fault(p, -EBADMSG, "not the nine fields of a route trace");
	/* The names of the columns; what is read before the first token is not routed one by one. */
	if (!strcmp(fields[0], "turn") || strcmp(fields[1], "1"))
		return 0;
	if (!number(fields[3], &layer) || layer >= MAX_LAYERS)
		return fault(p, -EBADMSG, "the layer is no number below 1024");
	if (!number(fields[5], &expert) || expert >= MAX_EXPERTS)
		return fault(p, -EBADMSG, "the expert is no number below 65536");
	if (!number(fields[8], &bytes))
		return fault(p, -EBADMSG, "the expert's size is no number of bytes");
	if (p->layer_bytes[layer])
		bytes = p->layer_bytes[layer];
	if (!bytes)
		bytes = p->block_bytes;
	return add(p, (struct weir_key){.hi = layer, .lo = expert}, WR_TRACE_EXPERTS, bytes);
}

static int parse_mooncake(const struct parser *p, char *line, size_t size)
{
	json_t *root = json_loadb(line, size, JSON_REJECT_DUPLICATES, NULL);
	json_t *ids = json_object_get(root, "hash_ids");
	json_t *id;
	size_t i;
	int rc = 0;

	if (!json_is_array(ids)) {
		json_decref(root);
		return fault(p, -EBADMSG, "not a JSON object with the array hash_ids");
	}
	json_array_foreach(ids, i, id) {
		if (json_is_integer(id))
			rc = add(p, (struct weir_key){.lo = (uint64_t)json_integer_value(id)},
				 WR_TRACE_KV, p->block_bytes);
		else
			rc = fault(p, -EBADMSG, "an element of hash_ids is no integer");
		if (rc)
			break;
	}
	json_decref(root);
	return rc;
}

static int parse_arc(const struct parser *p, char *line, size_t size)
{
	char *fields[MAX_FIELDS];
	uint64_t from, nr, end;
	int rc = 0;

	(void)size;
	if (cut(line, " \t", fields) != 4 || !number(fields[0], &from) || !number(fields[1], &nr))
		return fault(p, -EBADMSG, "not \"start n 0 seq\" in numbers");
	if (wr_add_overflow(from, nr, &end))
		return fault(p, -EOVERFLOW, "the blocks end beyond 64 bits");
	for (uint64_t block = from; !rc && block < end; block++)
		rc = add(p, (struct weir_key){.lo = block}, WR_TRACE_OTHER, p->block_bytes);
	return rc;
}

struct format {
	const char *name;
	const char *head; /* what the first line begins with */
	int (*parse)(const struct parser *p, char *line, size_t size);
	int (*comment)(struct parser *p, const char *line);
};

static const struct format formats[] = {
	{"weir", "# weir trace 1", parse_weir, NULL},
	{"route", "# route_trace v1", parse_route, route_head},
	{"mooncake", "{", parse_mooncake, NULL},
	{"arc", "", parse_arc, NULL},
};

/* By the first line; the last one takes all. */
static const struct format *recognise(const char *line)
{
	const struct format *format = formats;

	while (strncmp(line, format->head, strlen(format->head)))
		format++;
	return format;
}

int wr_trace_parse(struct wr_trace_lines *lines, const char *name, uint64_t block_bytes,
		   struct wr_trace *t, struct weir_error *err)
{
	struct parser p = {.name = name, .t = t, .block_bytes = block_bytes, .err = err};
	const struct format *format = NULL;
	size_t size;
	char *line;
	int rc;

	for (;;) {
		rc = wr_trace_lines_next(lines, &line, &size, err);
		if (rc <= 0)
			return rc;
		p.number = wr_trace_lines_number(lines);
		if (memchr(line, '\0', size))
			return fault(&p, -EBADMSG, "a zero byte in a text");
		if (!format)
			format = recognise(line);
		t->format = format->name;
		rc = 0;
		if (line[0] != '#' && size)
			rc = format->parse(&p, line, size);
		else if (line[0] == '#' && format->comment)
			rc = format->comment(&p, line);
		if (rc)
			return rc;
	}
}
