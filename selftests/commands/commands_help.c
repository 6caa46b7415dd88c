/* SPDX-License-Identifier: MIT */
/* What the tests of the commands share; see the header. */
#include "commands_help.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct ct_path ct_join(const char *dir, const char *name)
{
	struct ct_path path;

	snprintf(path.text, sizeof(path.text), "%s/%s", dir, name);
	return path;
}

/* ---- models ---- */

const char *const ct_model_names[CT_NR_MODELS] = {
	[CT_SINGLE] = "single", [CT_SHARDED] = "sharded", [CT_GGUF] = "gguf",
	[CT_MOE] = "moe",	[CT_OTHER] = "other",	  [CT_BIG] = "big",
};

int ct_make(enum ct_model kind, const char *dir)
{
	/* With the vocabulary cut the pass is mostly layers, as in the real ones. */
	static const struct {
		const char *model, *layers, *shrink, *vocab, *option, *value;
	} m[CT_NR_MODELS] = {
		[CT_SINGLE] = {"2b", "2", "16", "256", "--seed", "7"},
		[CT_SHARDED] = {"2b", "2", "16", "256", "--shard-bytes", "300KB"},
		[CT_GGUF] = {"2b", "2", "16", "256", "--format", "gguf"},
		[CT_MOE] = {"30b-a3b", "2", "16", "256", "--seed", "7"},
		[CT_OTHER] = {"2b", "2", "16", "256", "--seed", "8"},
		[CT_BIG] = {"2b", "1", "1", "4096", "--seed", "7"},
	};
	struct wt_run run = {0};
	int status =
		wt_weir(&run, "mkmodel", "--model", m[kind].model, "--layers", m[kind].layers,
			"--vision-blocks", "1", "--shrink", m[kind].shrink, "--vocab",
			m[kind].vocab, "--seed", "7", m[kind].option, m[kind].value, dir, NULL);

	wt_run_fini(&run);
	return status;
}

/* ---- files ---- */

int ct_write(const char *path, const void *data, size_t bytes)
{
	FILE *f = fopen(path, "wbe");
	bool ok = f && (!bytes || fwrite(data, 1, bytes, f) == bytes);

	return (f && fclose(f)) || !ok ? -1 : 0;
}

int ct_write_header(const char *path, const char *header, size_t tail)
{
	size_t len = strlen(header), all = 8 + len + tail;
	unsigned char *data = calloc(1, all);
	int rc = -1;

	if (data) {
		for (int i = 0; i < 8; i++)
			data[i] = (unsigned char)((uint64_t)len >> 8 * i);
		memcpy(data + 8, header, len);
		rc = ct_write(path, data, all);
	}
	free(data);
	return rc;
}

/* A whole file with a NUL behind it, to be freed, or NULL. */
static char *slurp(const char *path, size_t *ret_bytes)
{
	FILE *f = fopen(path, "rbe");
	struct stat st;
	char *data = NULL;

	if (!f)
		return NULL;
	if (!fstat(fileno(f), &st))
		data = malloc((size_t)st.st_size + 1);
	*ret_bytes = data ? fread(data, 1, (size_t)st.st_size, f) : 0;
	if (data)
		data[*ret_bytes] = '\0';
	fclose(f);
	return data;
}

int ct_copy(const char *from, const char *to)
{
	DIR *d = opendir(from);
	struct dirent *e;
	int rc = !d || mkdir(to, 0755) ? -1 : 0;

	while (!rc && (e = readdir(d))) {
		size_t bytes = 0;
		char *data;

		if (e->d_name[0] == '.')
			continue;
		data = slurp(ct_join(from, e->d_name).text, &bytes);
		rc = data ? ct_write(ct_join(to, e->d_name).text, data, bytes) : -1;
		free(data);
	}
	if (d)
		closedir(d);
	return rc;
}

int ct_replace(const char *path, const char *old, const char *new)
{
	size_t bytes = 0, room;
	char *data = slurp(path, &bytes), *at = data ? strstr(data, old) : NULL, *all = NULL;
	int rc = -1;

	if (at) {
		room = bytes + strlen(new) + 1;
		all = malloc(room);
	}
	if (all) {
		snprintf(all, room, "%.*s%s%s", (int)(at - data), data, new, at + strlen(old));
		rc = ct_write(path, all, strlen(all));
	}
	free(all);
	free(data);
	return rc;
}

/* ---- JSON ---- */

static bool is_of_type(const json_t *value, char type)
{
	switch (type) {
	case 's':
		return json_is_string(value);
	case 'i':
		return json_is_integer(value);
	case 'r':
		return json_is_real(value);
	case 'b':
		return json_is_boolean(value);
	case 'o':
		return json_is_object(value);
	case 'a':
		return json_is_array(value);
	default:
		return type == 'n' && json_is_null(value);
	}
}

/* @path ends at the colon before the types. */
static bool has(json_t *root, const char *path)
{
	size_t len = strcspn(path, ".:");
	char key[64];

	while (*path && *path != ':') {
		if (!strncmp(path, "[]", 2)) {
			size_t i;
			json_t *each;

			if (!json_array_size(root))
				return false;
			json_array_foreach(root, i, each)
				if (!has(each, path + 2 + (path[2] == '.')))
					return false;
			return true;
		}
		len = strcspn(path, ".:");
		snprintf(key, sizeof(key), "%.*s", (int)len, path);
		root = json_object_get(root, key);
		path += len + (path[len] == '.');
	}
	for (const char *type = path + 1; root && *type; type++)
		if (is_of_type(root, *type))
			return true;
	return false;
}

const char *ct_lacks(json_t *root, const char *const *members)
{
	for (; *members; members++)
		if (!has(root, *members))
			return *members;
	return NULL;
}

/* The text of a page without its escapes: "page_kind" is written so, "weir\-load" is not. */
static char *page_text(const char *page)
{
	char path[CT_PATH];
	size_t bytes = 0, n = 0;
	char *text;

	snprintf(path, sizeof(path), "%s/docs/man/%s.1", WR_TEST_SRCDIR, page);
	text = slurp(path, &bytes);
	for (size_t i = 0; text && i < bytes; i++) {
		if (text[i] == '\\' && text[i + 1] == 'f')
			i += 2;
		else if (text[i] != '\\')
			text[n++] = text[i];
	}
	if (text)
		text[n] = '\0';
	return text;
}

static bool names_word(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = strstr(text, word); p; p = strstr(p + 1, word))
		if ((p == text || (!isalnum((unsigned char)p[-1]) && p[-1] != '_')) &&
		    !isalnum((unsigned char)p[len]) && p[len] != '_')
			return true;
	return false;
}

static const char *unnamed(json_t *value, const char *text)
{
	const char *key, *found = NULL;
	json_t *each;
	size_t i;

	if (json_is_array(value)) {
		json_array_foreach(value, i, each)
			if (!found)
				found = unnamed(each, text);
		return found;
	}
	json_object_foreach(value, key, each) {
		if (!names_word(text, key))
			return key;
		found = unnamed(each, text);
		if (found)
			return found;
	}
	return NULL;
}

bool ct_undocumented(json_t *root, const char *page, char *ret, size_t size)
{
	char *text = page_text(page);
	const char *found = text ? unnamed(root, text) : "?";

	if (found)
		snprintf(ret, size, "%s", found);
	free(text);
	return found;
}

/* ---- text ---- */

/* Columns that @line takes; what stands for a character in UTF-8 after its first byte takes none. */
static size_t width_of(const char *line, size_t len, const char *path)
{
	size_t width = 0, path_len = path ? strlen(path) : 0;

	for (size_t i = 0; i < len; i++) {
		if (path_len && len - i >= path_len && !memcmp(line + i, path, path_len)) {
			i += path_len - 1;
			continue;
		}
		width += ((unsigned char)line[i] & 0xc0) != 0x80;
	}
	return width;
}

char *ct_wide_line(const char *text, const char *path)
{
	while (*text) {
		size_t len = strcspn(text, "\n");

		if (width_of(text, len, path) > 80)
			return strndup(text, len);
		text += len + (text[len] == '\n');
	}
	return NULL;
}

uint64_t ct_least_budget(const struct wt_run *run)
{
	static const char before[] = "the smallest that does is ";
	const char *text = run->json ? wt_text(run->json, "error.message") : run->err;
	const char *at = text ? strstr(text, before) : NULL;

	return at ? strtoull(at + strlen(before), NULL, 10) : 0;
}
