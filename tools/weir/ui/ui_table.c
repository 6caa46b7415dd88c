/* SPDX-License-Identifier: MIT */
/*
 * ui_table.c - Tables that fit a terminal of 80 columns.
 *
 * Columns are as wide as their widest cell. When the sum is too much, the column
 * marked WR_UI_WRAP gives way first (down to 24) and goes on below itself; then
 * the one marked WR_UI_CUT loses the front of its cells, because the end of a
 * path or of a tensor's name is what tells them apart. Width is counted in bytes
 * that start a UTF-8 character.
 */
#include "ui.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COLUMNS 16
#define MAX_WIDTH   80
#define GAP	    2
#define LEAST_WRAP  24
#define LEAST_CUT   12

struct wr_ui_table {
	const struct wr_ui_column *columns;
	size_t nr_columns;
	char **cells;
	size_t nr_cells, room;
	bool lost;
};

struct wr_ui_table *wr_ui_table_open(const struct wr_ui_column *columns, size_t nr)
{
	struct wr_ui_table *t = calloc(1, sizeof(*t));

	if (!t || nr > MAX_COLUMNS) {
		free(t);
		return NULL;
	}
	t->columns = columns;
	t->nr_columns = nr;
	return t;
}

void wr_ui_table_close(struct wr_ui_table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->nr_cells; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t);
}

void wr_ui_table_cell(struct wr_ui_table *t, const char *fmt, ...)
{
	char *text;
	va_list ap;
	int len;

	if (!t || t->lost)
		return;
	if (t->nr_cells == t->room) {
		size_t room = t->room ? t->room * 2 : 64;
		char **cells = realloc(t->cells, room * sizeof(*cells));

		if (!cells) {
			t->lost = true;
			return;
		}
		t->cells = cells;
		t->room = room;
	}
	va_start(ap, fmt);
	len = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (len < 0)
		t->lost = true;
	else
		t->cells[t->nr_cells++] = text;
}

void wr_ui_reason(struct wr_ui_table *t, const char *name, const char *choice, const char *reason)
{
	char line[1024];
	size_t n = 0;

	for (const char *p = reason; *p && n + 3 < sizeof(line); p++) {
		if (*p == '\n')
			line[n++] = ';';
		line[n++] = *p == '\n' ? ' ' : *p;
	}
	line[n] = '\0';
	wr_ui_table_cell(t, "%s", name);
	wr_ui_table_cell(t, "%s%s%s", choice, n ? ": " : "", line);
}

static size_t width_of(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

/* The byte at which character @nr of @text begins. */
static const char *skip(const char *text, size_t nr)
{
	while (*text && nr) {
		text++;
		if (((unsigned char)*text & 0xc0) != 0x80)
			nr--;
	}
	return text;
}

static void shrink(const struct wr_ui_table *t, size_t *width, enum wr_ui_column_kind kind,
		   size_t least)
{
	size_t sum = 0;

	for (size_t c = 0; c < t->nr_columns; c++)
		sum += width[c] + (c ? GAP : 0);
	for (size_t c = 0; c < t->nr_columns && sum > MAX_WIDTH; c++) {
		size_t give = sum - MAX_WIDTH;

		if (t->columns[c].kind != kind || width[c] <= least)
			continue;
		if (give > width[c] - least)
			give = width[c] - least;
		width[c] -= give;
		sum -= give;
	}
}

static void measure(const struct wr_ui_table *t, size_t *width)
{
	for (size_t c = 0; c < t->nr_columns; c++)
		width[c] = width_of(t->columns[c].title);
	for (size_t i = 0; i < t->nr_cells; i++) {
		size_t w = width_of(t->cells[i]);

		if (w > width[i % t->nr_columns])
			width[i % t->nr_columns] = w;
	}
	shrink(t, width, WR_UI_WRAP, LEAST_WRAP);
	shrink(t, width, WR_UI_CUT, LEAST_CUT);
}

/* How many bytes of @text go into a line of @width: up to the last space that fits. */
static size_t break_at(const char *text, size_t width)
{
	const char *end = skip(text, width);
	const char *p = end;

	if (!*end)
		return (size_t)(end - text);
	while (p > text && *p != ' ')
		p--;
	return (size_t)((p > text ? p : end) - text);
}

/* Print one cell's share of a line; returns what is left of it for the next line. */
static const char *print_cell(const struct wr_ui_column *column, const char *text, size_t width,
			      bool last, FILE *out)
{
	size_t w = width_of(text);
	size_t bytes = strlen(text);
	size_t pad;

	if (column->kind == WR_UI_CUT && w > width) {
		text = skip(text, w - width + 2);
		fprintf(out, "..");
		fputs(text, out);
		return "";
	}
	if (column->kind == WR_UI_WRAP && w > width)
		bytes = break_at(text, width);
	w = bytes == strlen(text) ? w : width_of(text) - width_of(text + bytes);
	pad = width > w ? width - w : 0;
	if (column->kind == WR_UI_RIGHT)
		fprintf(out, "%*s", (int)pad, "");
	fwrite(text, 1, bytes, out);
	if (column->kind != WR_UI_RIGHT && !last)
		fprintf(out, "%*s", (int)pad, "");
	text += bytes;
	while (*text == ' ')
		text++;
	return text;
}

static void print_row(const struct wr_ui_table *t, const char *const *cells, const size_t *width,
		      FILE *out)
{
	const char *left[MAX_COLUMNS];
	bool more = true;

	for (size_t c = 0; c < t->nr_columns; c++)
		left[c] = cells[c];
	while (more) {
		size_t last = 0;

		for (size_t c = 0; c < t->nr_columns; c++)
			if (*left[c])
				last = c;
		more = false;
		for (size_t c = 0; c <= last; c++) {
			if (c)
				fprintf(out, "%*s", GAP, "");
			left[c] = print_cell(&t->columns[c], left[c], width[c], c == last, out);
			more |= *left[c] != '\0';
		}
		fputc('\n', out);
	}
}

int wr_ui_table_print(const struct wr_ui_table *t, FILE *out)
{
	const char *row[MAX_COLUMNS];
	size_t width[MAX_COLUMNS];
	bool titled = false;

	if (!t || t->lost)
		return -ENOMEM;
	measure(t, width);
	for (size_t c = 0; c < t->nr_columns; c++) {
		row[c] = t->columns[c].title;
		titled |= *row[c] != '\0';
	}
	if (titled)
		print_row(t, row, width, out);
	for (size_t i = 0; i + t->nr_columns <= t->nr_cells; i += t->nr_columns) {
		for (size_t c = 0; c < t->nr_columns; c++)
			row[c] = t->cells[i + c];
		print_row(t, row, width, out);
	}
	return 0;
}

void wr_ui_say(const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (char *p = text; *p;) {
		size_t bytes = break_at(p, MAX_WIDTH);

		printf("%.*s\n", (int)bytes, p);
		for (p += bytes; *p == ' ';)
			p++;
	}
}
