/* SPDX-License-Identifier: MIT */
/*
 * Traces as the host sees them: begin, find, close, and the numbers that lie in mapped arrays.
 * Everything that needs libbpf is in attach.c, pin.c and read.c; a build without it has the same
 * calls, and they say what is missing.
 */
#include <weir/trace.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weir/lock_trace.h>

#include "base/alloc.h"
#include "base/process.h"
#include "base/util.h"
#include "trace/session.h"

#define ALL_PARTS                                                                       \
	(WEIR_TRACE_LOCKS | WEIR_TRACE_PAGE_CACHE | WEIR_TRACE_IO | WEIR_TRACE_FAULTS | \
	 WEIR_TRACE_CPU_MISSES | WR_TRACE_SITES | WEIR_TRACE_DEEP)
/* What slows the process is not done unasked. */
#define DEFAULT_PARTS (ALL_PARTS & ~WEIR_TRACE_DEEP)
_Static_assert(ALL_PARTS == (1u << WEIR_TRACE_NR_PARTS) - 1, "every part has a name below");

static const char *const part_names[WEIR_TRACE_NR_PARTS] = {
	"locks", "page-cache", "io", "faults", "cpu-misses", "holds", "cache", "deep", "stages"};
static const char *const part_texts[WEIR_TRACE_NR_PARTS] = {
	"waits at futexes, who let go, waits for a CPU",
	"pages looked up, pages that were missing",
	"io_uring and block device requests",
	"page faults: the major ones counted, minor ones sampled",
	"last-level cache misses by hardware counters, sampled",
	"holds of weir's own locks, sampled when nobody waited",
	"hits, misses and evictions of weir's own caches",
	"all takes and holds of mutexes, by breakpoints in the C library",
	"reads, waits and computing of weir's streams, fetches of its caches",
};

static const char *no_entry(uint32_t part)
{
	if (part == WEIR_TRACE_CPU_MISSES)
		return "unavailable: this machine shows no hardware counters";
	if (part & WR_TRACE_SITES)
		return "this process has no probe sites of weir";
	if (part == WEIR_TRACE_DEEP)
		return "no C library with locks, or a kernel without links of many places";
	return "this kernel has no such event";
}

const char *weir_trace_part_name(uint32_t index)
{
	return index < WEIR_TRACE_NR_PARTS ? part_names[index] : NULL;
}

int weir_trace_part(const struct weir_trace *trace, uint32_t index, const char **ret_name,
		    const char **ret_reason)
{
	int rc;

	if (index >= WEIR_TRACE_NR_PARTS)
		return -EINVAL;
	rc = -(int)trace->meta->part_errno[index];
	*ret_name = part_names[index];
	*ret_reason = rc == 0		 ? part_texts[index]
		      : rc == -ECANCELED ? "not asked for"
		      : rc == -EPERM || rc == -EACCES
			      ? "not permitted: needs CAP_BPF and CAP_PERFMON"
		      : rc == -ESRCH  ? "this kernel has no BTF"
		      : rc == -ENOENT ? no_entry(1u << index)
		      : rc == -EOPNOTSUPP && 1u << index == WEIR_TRACE_DEEP
			      ? "refused: the kernel would have to execute single steps"
			      : weir_strerror(rc);
	return rc;
}

/* The arrays only grow, by the kernel and by nobody of ours. */
static void copy_words(void *to, const void *from, size_t bytes)
{
	const uint64_t *in = from;

	for (size_t i = 0; i < bytes / sizeof(*in); i++) {
		uint64_t word = __atomic_load_n(&in[i], __ATOMIC_RELAXED);

		memcpy((char *)to + i * sizeof(word), &word, sizeof(word));
	}
}

void weir_trace_meta(const struct weir_trace *trace, struct weir_trace_meta *ret)
{
	copy_words(ret, trace->meta, sizeof(*ret));
}

void weir_trace_totals(const struct weir_trace *trace, struct weir_trace_totals *ret)
{
	copy_words(ret, trace->totals, sizeof(*ret));
}

uint32_t weir_trace_slot_shift(const struct weir_trace *trace)
{
	return trace->config->slot_shift & 63;
}

int weir_trace_each_event(struct weir_trace *trace,
			  int (*fn)(void *arg, const struct weir_trace_event *event), void *arg)
{
	uint64_t last = __atomic_load_n(&trace->totals->events, __ATOMIC_ACQUIRE);
	uint64_t seq = last > WEIR_TRACE_EVENTS ? last - WEIR_TRACE_EVENTS : 0;
	int rc = 0;

	while (!rc && seq++ < last) {
		const struct weir_trace_event *in = &trace->events[(seq - 1) % WEIR_TRACE_EVENTS];
		struct weir_trace_event copy;

		copy_words(&copy, in, sizeof(copy));
		/* Being written, or written over by a later one. */
		if (copy.seq == seq && __atomic_load_n(&in->seq, __ATOMIC_ACQUIRE) == seq)
			rc = fn(arg, &copy);
	}
	return rc;
}

int weir_trace_enable(struct weir_trace *trace, uint32_t parts)
{
	if (parts & ~ALL_PARTS)
		return -EINVAL;
	__atomic_store_n(&trace->config->enabled, parts & trace->meta->parts, __ATOMIC_RELEASE);
	return 0;
}

uint64_t wr_trace_start_ticks(int pid)
{
	return wr_process_start_ticks(pid);
}

#if WR_TRACE_BPF

#include <bpf/bpf.h>

const char *const wr_trace_map_names[WR_TRACE_NR_MAPS] = {
#define MAP(name, key, value) #name,
	WR_TRACE_MAPS(MAP)
#undef MAP
};

static int map_array(int fd, size_t bytes, void *ret)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *base =
		mmap(NULL, wr_align_up(bytes, page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (base == MAP_FAILED)
		return -errno;
	memcpy(ret, &base, sizeof(base));
	/* cppcheck-suppress memleak ; handed over through ret */
	return 0;
}

static void unmap_array(void *base, size_t bytes)
{
	if (base)
		munmap(base, wr_align_up(bytes, (size_t)sysconf(_SC_PAGESIZE)));
}

int wr_trace_map_arrays(struct weir_trace *t)
{
	int rc = map_array(t->map[WR_MAP_config], sizeof(*t->config), &t->config);

	if (!rc)
		rc = map_array(t->map[WR_MAP_totals], sizeof(*t->totals), &t->totals);
	if (!rc)
		rc = map_array(t->map[WR_MAP_events], WEIR_TRACE_EVENTS * sizeof(*t->events),
			       &t->events);
	if (!rc)
		rc = map_array(t->map[WR_MAP_meta], sizeof(*t->meta), &t->meta);
	return rc;
}

void weir_trace_close(struct weir_trace *trace)
{
	if (!trace)
		return;
	wr_trace_detach(trace);
	unmap_array(trace->meta, sizeof(*trace->meta));
	unmap_array(trace->config, sizeof(*trace->config));
	unmap_array(trace->totals, sizeof(*trace->totals));
	unmap_array(trace->events, WEIR_TRACE_EVENTS * sizeof(*trace->events));
	for (int i = 0; i < WR_TRACE_NR_MAPS; i++)
		if (trace->map[i] >= 0)
			close(trace->map[i]);
	wr_free(trace);
}

static struct weir_trace *make(int pid)
{
	struct weir_trace *t = wr_calloc(1, sizeof(*t));

	for (int i = 0; t && i < WR_TRACE_NR_MAPS; i++)
		t->map[i] = -1;
	if (t)
		t->pid = pid;
	return t;
}

static int check(struct weir_trace_opts *opts, struct weir_error *err)
{
	if (opts->pid < 0 || opts->parts & ~ALL_PARTS ||
	    opts->flags & ~(WEIR_TRACE_PINNED | WEIR_TRACE_MAY_STEP))
		return wr_error_set(err, -EINVAL, NULL, WEIR_OFFSET_NONE,
				    "a trace needs a process, and parts and flags that this "
				    "library knows");
	if (!wr_process_sees_kernel_pids())
		return wr_error_set(err, -EOPNOTSUPP, NULL, WEIR_OFFSET_NONE,
				    "numbers of processes differ from the kernel's in this pid "
				    "namespace: trace from outside of it");
	if (opts->pid == 0)
		opts->pid = getpid();
	if (opts->parts == 0)
		opts->parts = DEFAULT_PARTS;
	if (wr_trace_start_ticks(opts->pid) == 0)
		return wr_error_set(err, -ENOENT, NULL, WEIR_OFFSET_NONE, "there is no process %d",
				    opts->pid);
	return 0;
}

/*
 * The process may put its own times of its locks (T0) into maps of ours; here they learn whose they
 * are. This process does at once, another one in the next round of its collector.
 */
static void offer_lock_times(struct weir_trace *t, const char *pin_dir)
{
	struct weir_lock_meta meta = {.tgid = (uint32_t)t->pid,
				      .start_ticks = wr_trace_start_ticks(t->pid)};
	uint32_t zero = 0;

	if (t->map[WR_MAP_lock_meta] < 0 ||
	    bpf_map_update_elem(t->map[WR_MAP_lock_meta], &zero, &meta, 0) != 0)
		return;
	if (t->pid == (int)getpid())
		(void)!weir_lock_trace_follow(pin_dir ? pin_dir : WEIR_TRACE_PIN_DIR);
}

static int begin(struct weir_trace *t, const struct weir_trace_opts *opts, struct weir_error *err)
{
	bool pinned = opts->flags & WEIR_TRACE_PINNED;
	int rc;

	t->may_step = opts->flags & WEIR_TRACE_MAY_STEP;
	rc = pinned ? wr_trace_pin_make(t, opts->pin_dir, err) : 0;

	if (rc)
		return rc;
	rc = wr_trace_attach(t, opts->parts, err);
	if (!rc) {
		t->meta->abi = WEIR_TRACE_ABI;
		t->meta->tgid = (uint32_t)t->pid;
		t->meta->started_ns = wr_now_ns();
		t->meta->target_start_ticks = wr_trace_start_ticks(t->pid);
		t->config->stacks = opts->stacks;
		t->config->min_event_ns = opts->min_event_ns;
		/* A quarter of a second: the timeline spans four and a half minutes. */
		t->config->slot_shift = 28;
		wr_trace_note_modules(t);
		wr_trace_note_lock_names(t);
		rc = pinned ? wr_trace_pin_all(t) : 0;
		if (rc)
			(void)wr_error_set(err, rc, t->dir, WEIR_OFFSET_NONE, "cannot pin: %s",
					   weir_strerror(rc));
	}
	if (!rc && pinned)
		offer_lock_times(t, opts->pin_dir);
	if (!rc)
		__atomic_store_n(&t->config->enabled, t->meta->parts, __ATOMIC_RELEASE);
	else if (pinned)
		(void)wr_trace_pin_remove(t->dir);
	return rc;
}

int weir_trace_start(const struct weir_trace_opts *opts_arg, struct weir_trace **ret,
		     struct weir_error *err)
{
	struct weir_trace_opts opts;
	struct weir_trace *t;
	int rc = wr_opts_copy(&opts, sizeof(opts), opts_arg);

	if (rc)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "options of another version of the library");
	rc = check(&opts, err);
	if (rc)
		return rc;
	t = make(opts.pid);
	if (!t)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory for a trace");
	rc = begin(t, &opts, err);
	if (rc) {
		weir_trace_close(t);
		return rc;
	}
	*ret = t;
	return 0;
}

int weir_trace_find(int pid, const char *pin_dir, struct weir_trace **ret, struct weir_error *err)
{
	struct weir_trace *t = make(pid);
	int rc;

	if (!t)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory for a trace");
	rc = wr_trace_pin_open(t, pin_dir, err);
	if (!rc) {
		rc = wr_trace_map_arrays(t);
		if (!rc && t->meta->abi != WEIR_TRACE_ABI)
			rc = -EBADMSG;
		if (rc)
			(void)wr_error_set(err, rc, t->dir, WEIR_OFFSET_NONE,
					   "the maps are not those of this version");
	}
	if (rc) {
		weir_trace_close(t);
		return rc;
	}
	*ret = t;
	return 0;
}

int weir_trace_remove(int pid, const char *pin_dir)
{
	char dir[256];
	int rc = wr_trace_pin_name(dir, pin_dir, pid);

	if (!rc)
		rc = wr_trace_pin_remove(dir);
	if (!rc && pid == (int)getpid())
		(void)!weir_lock_trace_follow(NULL);
	return rc;
}

#else

static int absent(struct weir_error *err)
{
	return wr_error_set(err, -EOPNOTSUPP, NULL, WEIR_OFFSET_NONE,
			    "built without BPF: install %s and build again (make deps)",
			    !HAVE_LIBBPF ? "libbpf-dev" : "clang");
}

int weir_trace_start(const struct weir_trace_opts *opts, struct weir_trace **ret,
		     struct weir_error *err)
{
	(void)opts;
	(void)ret;
	return absent(err);
}

int weir_trace_find(int pid, const char *pin_dir, struct weir_trace **ret, struct weir_error *err)
{
	(void)pid;
	(void)pin_dir;
	(void)ret;
	return absent(err);
}

void weir_trace_close(struct weir_trace *trace)
{
	(void)trace;
}

int weir_trace_remove(int pid, const char *pin_dir)
{
	(void)pid;
	(void)pin_dir;
	return -ENOENT;
}

#endif
