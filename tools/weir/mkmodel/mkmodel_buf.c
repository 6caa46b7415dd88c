/* SPDX-License-Identifier: MIT */
/*
 * The growing containers of `weir mkmodel`. An addition that fails sets err and makes every later
 * addition do nothing, so that code which builds a header is not half error handling: it checks
 * err once at its end.
 */
#include "mkmodel_priv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

static bool buf_reserve(struct wr_mk_buf *b, size_t more)
{
	size_t cap = b->cap ? b->cap : 4096;
	char *data;

	if (b->err)
		return false;
	while (cap - b->len < more && cap < SIZE_MAX / 2)
		cap *= 2;
	if (cap == b->cap)
		return true;
	data = wr_realloc(b->data, cap);
	if (!data) {
		b->err = -ENOMEM;
		return false;
	}
	b->data = data;
	b->cap = cap;
	return true;
}

void wr_mk_buf_add(struct wr_mk_buf *b, const void *data, size_t len)
{
	if (!buf_reserve(b, len))
		return;
	memcpy(b->data + b->len, data, len);
	b->len += len;
}

void wr_mk_buf_str(struct wr_mk_buf *b, const char *s)
{
	wr_mk_buf_add(b, s, strlen(s));
}

void wr_mk_buf_printf(struct wr_mk_buf *b, const char *fmt, ...)
{
	char text[512];
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (len < 0 || (size_t)len >= sizeof(text)) {
		if (!b->err)
			b->err = -EOVERFLOW;
		return;
	}
	wr_mk_buf_add(b, text, (size_t)len);
}

void wr_mk_buf_fini(struct wr_mk_buf *b)
{
	wr_free(b->data);
	*b = (struct wr_mk_buf){0};
}

struct wr_mk_tensor *wr_mk_tensors_add(struct wr_mk_tensors *l)
{
	if (l->err)
		return NULL;
	if (l->nr == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		struct wr_mk_tensor *v = wr_realloc(l->v, cap * sizeof(*v));

		if (!v) {
			l->err = -ENOMEM;
			return NULL;
		}
		l->v = v;
		l->cap = cap;
	}
	l->v[l->nr] = (struct wr_mk_tensor){0};
	return &l->v[l->nr++];
}

void wr_mk_tensors_fini(struct wr_mk_tensors *l)
{
	wr_free(l->v);
	*l = (struct wr_mk_tensors){0};
}

struct wr_mk_file *wr_mk_plan_add(struct wr_mk_plan *p, const char *name)
{
	struct wr_mk_file *files = wr_realloc(p->files, (p->nr_files + 1) * sizeof(*files));
	struct wr_mk_file *f;

	if (!files)
		return NULL;
	p->files = files;
	f = &files[p->nr_files++];
	*f = (struct wr_mk_file){0};
	snprintf(f->name, sizeof(f->name), "%s", name);
	return f;
}

void wr_mk_plan_total(struct wr_mk_plan *p)
{
	p->bytes = 0;
	p->nr_tensors = 0;
	for (size_t i = 0; i < p->nr_files; i++) {
		p->bytes += p->files[i].bytes;
		p->nr_tensors += p->files[i].tensors.nr;
	}
}

void wr_mk_plan_fini(struct wr_mk_plan *p)
{
	for (size_t i = 0; i < p->nr_files; i++) {
		wr_mk_buf_fini(&p->files[i].head);
		wr_mk_tensors_fini(&p->files[i].tensors);
	}
	wr_free(p->files);
	*p = (struct wr_mk_plan){0};
}
