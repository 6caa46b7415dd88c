/* SPDX-License-Identifier: MIT */
/* Copies what a trace holds, and writes its events as lanes; see tracing.h. */
#include "tracing.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

/* Append @item of @bytes to the array at @list. */
static int append(void *list, size_t *nr, const void *item, size_t bytes)
{
	void *old, *grown;

	memcpy(&old, list, sizeof(old));
	if ((*nr & (*nr - 1)) == 0) {
		grown = reallocarray(old, *nr ? *nr * 2 : 1, bytes);
		if (!grown)
			return -ENOMEM;
		memcpy(list, &grown, sizeof(grown));
		old = grown;
	}
	memcpy((char *)old + *nr * bytes, item, bytes);
	(*nr)++;
	return 0;
}

static int add_lock(void *arg, const struct weir_trace_lock *lock)
{
	struct wr_tracing *t = arg;

	return append(&t->locks, &t->nr_locks, lock, sizeof(*lock));
}

static int add_holder(void *arg, const struct weir_site_key *key, const struct weir_site *site)
{
	struct wr_tracing *t = arg;
	struct wr_tracing_holder holder = {*key, *site};

	/* One thread at one lock is one holder here, wherever in the code it let go. */
	for (size_t i = 0; i < t->nr_holders; i++) {
		struct wr_tracing_holder *h = &t->holders[i];

		if (h->key.addr != key->addr || h->key.tid != key->tid)
			continue;
		h->site.times += site->times;
		h->site.ns += site->ns;
		return 0;
	}
	return append(&t->holders, &t->nr_holders, &holder, sizeof(holder));
}

static int add_file(void *arg, const struct weir_file_key *key, const struct weir_file *file)
{
	struct wr_tracing *t = arg;
	struct wr_tracing_file f = {*key, *file};

	return append(&t->files, &t->nr_files, &f, sizeof(f));
}

static int add_io(void *arg, const struct weir_io_key *key, const struct weir_io_times *times)
{
	struct wr_tracing *t = arg;
	struct wr_tracing_io io = {*key, *times};

	return append(&t->ios, &t->nr_ios, &io, sizeof(io));
}

static int add_miss(void *arg, const struct weir_miss_key *key, const struct weir_miss *miss)
{
	struct wr_tracing *t = arg;
	struct wr_tracing_miss m = {*key, *miss};

	return append(&t->misses, &t->nr_misses, &m, sizeof(m));
}

static int by_wait(const void *a, const void *b)
{
	const struct weir_trace_lock *x = a, *y = b;

	return x->waits.wait_ns < y->waits.wait_ns   ? 1
	       : x->waits.wait_ns > y->waits.wait_ns ? -1
						     : 0;
}

static int by_misses(const void *a, const void *b)
{
	const struct wr_tracing_file *x = a, *y = b;

	return x->file.miss_pages < y->file.miss_pages	 ? 1
	       : x->file.miss_pages > y->file.miss_pages ? -1
							 : 0;
}

int wr_tracing_read(struct weir_trace *trace, struct wr_tracing *ret)
{
	int rc;

	memset(ret, 0, sizeof(*ret));
	weir_trace_meta(trace, &ret->meta);
	weir_trace_totals(trace, &ret->totals);
	rc = weir_trace_each_lock(trace, add_lock, ret);
	if (!rc)
		rc = weir_trace_each_holder(trace, add_holder, ret);
	if (!rc)
		rc = weir_trace_each_file(trace, add_file, ret);
	if (!rc)
		rc = weir_trace_each_io(trace, add_io, ret);
	if (!rc)
		rc = weir_trace_each_miss(trace, add_miss, ret);
	if (rc) {
		wr_tracing_fini(ret);
		return rc;
	}
	if (ret->nr_locks)
		qsort(ret->locks, ret->nr_locks, sizeof(*ret->locks), by_wait);
	if (ret->nr_files)
		qsort(ret->files, ret->nr_files, sizeof(*ret->files), by_misses);
	return 0;
}

void wr_tracing_fini(struct wr_tracing *t)
{
	free(t->locks);
	free(t->holders);
	free(t->files);
	free(t->ios);
	free(t->misses);
}

const struct wr_tracing_holder *wr_tracing_worst(const struct wr_tracing *t, uint64_t addr)
{
	const struct wr_tracing_holder *worst = NULL;

	for (size_t i = 0; i < t->nr_holders; i++) {
		const struct wr_tracing_holder *h = &t->holders[i];

		if (h->key.addr == addr && (!worst || h->site.ns > worst->site.ns))
			worst = h;
	}
	return worst;
}

const char *wr_tracing_wait(int kind)
{
	return kind == WEIR_WAIT_LOCK	      ? "lock"
	       : kind == WEIR_WAIT_MAYBE_LOCK ? "maybe lock"
					      : "condition";
}

const char *wr_tracing_miss_source(int source)
{
	static const char *const words[] = {
		[WEIR_MISS_NONE] = "none",
		[WEIR_MISS_HW_LLC] = "cpu-cache",
		[WEIR_MISS_HW_LL_READ] = "cpu-cache-read",
		[WEIR_MISS_FAULT_MAJOR] = "major-fault",
		[WEIR_MISS_FAULT_MINOR] = "minor-fault",
	};

	return source >= 0 && (size_t)source < wr_array_size(words) ? words[source] : "unknown";
}

/* ---- lanes ---- */

struct lanes {
	FILE *f;
	bool comma;
	uint32_t tgid;
};

/* A name is bytes of the process's choosing. */
static void write_name(FILE *f, const char *name, size_t size)
{
	for (size_t i = 0; i < size && name[i] != '\0'; i++)
		fputc(name[i] < ' ' || name[i] > '~' || name[i] == '"' || name[i] == '\\' ? '?'
											  : name[i],
		      f);
}

/* I/O overlaps in one thread, which a lane cannot show: it is written as begin and end by id. */
static void write_io(struct lanes *l, const struct weir_trace_event *e)
{
	const char *name = e->kind == WEIR_EVENT_IO_URING ? "io_uring" : "block";

	for (int end = 0; end < 2; end++)
		fprintf(l->f,
			"%s{\"ph\":\"%c\",\"cat\":\"io\",\"name\":\"%s op %" PRIu32
			"\",\"id\":%" PRIu64 ",\"pid\":%" PRIu32 ",\"tid\":%" PRIu32
			",\"ts\":%.3f}",
			end || l->comma ? ",\n" : "", end ? 'e' : 'b', name, e->other,
			(uint64_t)e->seq, l->tgid, e->tid,
			(double)(end ? e->end_ns : e->start_ns) / 1e3);
}

static int write_event(void *arg, const struct weir_trace_event *e)
{
	struct lanes *l = arg;

	if (e->kind == WEIR_EVENT_IO_URING || e->kind == WEIR_EVENT_BLOCK_IO) {
		write_io(l, e);
	} else {
		fprintf(l->f,
			"%s{\"ph\":\"X\",\"cat\":\"wait\",\"name\":\"%s\",\"pid\":%" PRIu32
			",\"tid\":%" PRIu32
			",\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"futex\":\"0x%" PRIx64
			"\",\"woken_by\":%" PRIu32 ",\"held_us\":%.3f,\"cpu_wait_us\":%.3f,"
			"\"thread\":\"",
			l->comma ? ",\n" : "", wr_tracing_wait((int)e->kind), l->tgid, e->tid,
			(double)e->start_ns / 1e3, (double)(e->end_ns - e->start_ns) / 1e3,
			(uint64_t)e->addr, e->other, (double)(e->woken_ns - e->start_ns) / 1e3,
			(double)(e->end_ns - e->woken_ns) / 1e3);
		write_name(l->f, e->comm, sizeof(e->comm));
		fputs("\"}}", l->f);
	}
	l->comma = true;
	return ferror(l->f) ? -EIO : 0;
}

int wr_tracing_perfetto(struct weir_trace *trace, const char *path, struct weir_error *err)
{
	struct lanes lanes = {.f = fopen(path, "we")};
	struct weir_trace_meta meta;
	int rc;

	if (!lanes.f) {
		rc = -errno;
		return wr_error_set(err, rc, path, WEIR_OFFSET_NONE, "cannot write: %s",
				    weir_strerror(rc));
	}
	weir_trace_meta(trace, &meta);
	lanes.tgid = meta.tgid;
	fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n", lanes.f);
	rc = weir_trace_each_event(trace, write_event, &lanes);
	fputs("\n]}\n", lanes.f);
	if (fclose(lanes.f) != 0 && !rc)
		rc = -errno;
	return rc ? wr_error_set(err, rc, path, WEIR_OFFSET_NONE, "cannot write: %s",
				 weir_strerror(rc))
		  : 0;
}
