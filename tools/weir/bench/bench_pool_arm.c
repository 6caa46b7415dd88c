/* SPDX-License-Identifier: MIT */
/*
 * Who takes part in `weir bench pool`.
 *
 * A peer is loaded with RTLD_LOCAL: its malloc() does not become that of the process, and
 * several live side by side. RTLD_DEEPBIND makes its inner calls its own; sanitizers do not
 * bear that and do without.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gnu/libc-version.h>

#include <weir/pool_malloc.h>

#include "base/sanitizer.h"
#include "bench_pool.h"

#if WR_SANITIZE_ADDRESS || WR_SANITIZE_THREAD
#define LOAD_FLAGS (RTLD_NOW | RTLD_LOCAL)
#else
#define LOAD_FLAGS (RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND)
#endif

/* jemalloc's thread data is 2.8 KB (Debian 5.3.0-1); glibc sets 1.6 KB aside. */
#define TLS_TUNABLE "glibc.rtld.optional_static_tls=16384"

#define POOL_BYTES ((size_t)1 << 30)

static const struct {
	enum wr_pb_who who;
	const char *file, *alloc, *release;
} peers[] = {
	{WR_PB_TCMALLOC, "libtcmalloc_minimal.so.4", "tc_malloc", "tc_free"},
	{WR_PB_MIMALLOC, "libmimalloc.so.2", "mi_malloc", "mi_free"},
	{WR_PB_JEMALLOC, "libjemalloc.so.2", "malloc", "free"},
	{WR_PB_TBB, "libtbbmalloc.so.2", "scalable_malloc", "scalable_free"},
};

static const char *const names[WR_PB_ARMS] = {
	[WR_PB_WEIR] = "weir",	       [WR_PB_NULL] = "again",	      [WR_PB_COPY] = "copy",
	[WR_PB_FRONT] = "front",       [WR_PB_TCMALLOC] = "tcmalloc", [WR_PB_MIMALLOC] = "mimalloc",
	[WR_PB_JEMALLOC] = "jemalloc", [WR_PB_TBB] = "tbb",	      [WR_PB_GLIBC] = "glibc",
};

bool wr_pb_has_tls_room(void)
{
	const char *tunables = getenv("GLIBC_TUNABLES");

	return tunables && strstr(tunables, TLS_TUNABLE);
}

int wr_pb_exec_with_tls_room(const char *bench, const struct wr_bench_args *args)
{
	const char *before = getenv("GLIBC_TUNABLES");
	char tunables[512], rounds[16];
	const char *argv[10] = {"weir", "bench", bench, "--rounds", rounds};
	int n, argc = 5;

	n = snprintf(tunables, sizeof(tunables), "%s%s%s", before ? before : "",
		     before && *before ? ":" : "", TLS_TUNABLE);
	if (n < 0 || (size_t)n >= sizeof(tunables))
		return -E2BIG;
	snprintf(rounds, sizeof(rounds), "%u", args->rounds);
	if (args->json)
		argv[argc++] = "--json";
	if (args->svg) {
		argv[argc++] = "--svg";
		argv[argc++] = args->svg;
	}
	if (setenv("GLIBC_TUNABLES", tunables, 1) != 0)
		return -errno;
	execv("/proc/self/exe", (char *const *)(const void *)argv);
	return -errno;
}

/* The file that a function came from, without its folder, and what the peer says of itself. */
static void describe(struct wr_pb_arm *arm, void *library)
{
	const char *(*tc_version)(int *, int *, const char **);
	int (*mi_version)(void);
	const char *file = "";
	Dl_info info;

	if (dladdr(*(void **)(void *)&arm->alloc, &info) && info.dli_fname)
		file = info.dli_fname;
	if (strrchr(file, '/'))
		file = strrchr(file, '/') + 1;
	*(void **)(void *)&tc_version = dlsym(library, "tc_version");
	*(void **)(void *)&mi_version = dlsym(library, "mi_version");
	if (tc_version)
		snprintf(arm->note, sizeof(arm->note), "%s (%s)", file,
			 tc_version(NULL, NULL, NULL));
	else if (mi_version)
		snprintf(arm->note, sizeof(arm->note), "%s (%d)", file, mi_version());
	else
		snprintf(arm->note, sizeof(arm->note), "%s", file);
}

static void load_peer(struct wr_pb_arm *arm, const char *file, const char *alloc,
		      const char *release)
{
	void *library = dlopen(file, LOAD_FLAGS);
	const char *why = library ? NULL : dlerror();

	if (!library) {
		snprintf(arm->note, sizeof(arm->note), "%s", why ? why : "not found");
		return;
	}
	/* POSIX gives functions as void *; C has no cast for that. */
	*(void **)(void *)&arm->alloc = dlsym(library, alloc);
	*(void **)(void *)&arm->release = dlsym(library, release);
	if (!arm->alloc || !arm->release) {
		snprintf(arm->note, sizeof(arm->note), "%s has no %s", file, alloc);
		dlclose(library);
		return;
	}
	describe(arm, library);
	arm->is_there = true;
	/* An allocator stays until the program ends: what it gave out may be everywhere. */
	/* cppcheck-suppress resourceLeak ; as said above */
}

static int open_weir(struct wr_pb_arm *arm, struct weir_error *err)
{
	struct weir_pool_opts opts = {.size = sizeof(opts),
				      .capacity_bytes = POOL_BYTES,
				      .page_kinds = 1u << WEIR_PAGE_THP | 1u << WEIR_PAGE_4K,
				      .flags = WEIR_POOL_LAZY};
	int rc = weir_pool_open(&opts, &arm->pool, err);

	if (rc)
		return rc;
	arm->form = WR_PB_SPANS;
	arm->take = weir_pool_alloc;
	arm->give = weir_pool_span_free;
	arm->give_copy = weir_pool_free;
	arm->pool_alloc = weir_pool_malloc;
	arm->pool_release = weir_pool_ptr_free;
	snprintf(arm->note, sizeof(arm->note), "%s", weir_version());
	arm->is_there = true;
	return 0;
}

int wr_pb_arms_open(struct wr_pb_arm *arms, struct weir_error *err)
{
	int rc;

	memset(arms, 0, WR_PB_ARMS * sizeof(*arms));
	for (int i = 0; i < WR_PB_ARMS; i++)
		arms[i].name = names[i];
	for (int i = WR_PB_WEIR; i <= WR_PB_FRONT; i++) {
		rc = open_weir(&arms[i], err);
		if (rc) {
			wr_pb_arms_close(arms);
			return rc;
		}
	}
	arms[WR_PB_COPY].form = WR_PB_COPIED_SPANS;
	arms[WR_PB_FRONT].form = WR_PB_POOL_POINTERS;
	for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++)
		load_peer(&arms[peers[i].who], peers[i].file, peers[i].alloc, peers[i].release);
	arms[WR_PB_GLIBC].alloc = malloc;
	arms[WR_PB_GLIBC].release = free;
	arms[WR_PB_GLIBC].is_there = true;
	snprintf(arms[WR_PB_GLIBC].note, sizeof(arms[0].note), "%s", gnu_get_libc_version());
	return 0;
}

void wr_pb_arms_close(struct wr_pb_arm *arms)
{
	for (int i = 0; i < WR_PB_ARMS; i++)
		weir_pool_close(arms[i].pool);
	memset(arms, 0, WR_PB_ARMS * sizeof(*arms));
}
