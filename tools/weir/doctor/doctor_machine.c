/* SPDX-License-Identifier: MIT */
/*
 * doctor_machine.c - Processors and memory.
 *
 * What matters for streaming weights: how wide the arithmetic is, where memory lies,
 * and whether it comes in large pages, because a direct read into 4 KiB pages costs
 * the kernel one segment per page.
 */
#include "doctor.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <weir/topo.h>

#include "gemv.h"
#include "ui.h"

#define CAP_IPC_LOCK_NR 14 /* linux/capability.h */

/* ---- processors ---- */

static void model_name(char *text, size_t size)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[512];

	snprintf(text, size, "unknown");
	while (f && fgets(line, sizeof(line), f)) {
		const char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) || !colon)
			continue;
		snprintf(text, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
		break;
	}
	if (f)
		fclose(f);
}

static void look_at_load(struct wr_doctor *d, uint32_t nr_cpus)
{
	double load = 0;

	if (getloadavg(&load, 1) != 1)
		return;
	json_object_set_new(d->facts, "load", json_real(load));
	/* Not advice: others' work is not ours to stop. */
	if (load > nr_cpus * 0.5)
		wr_doctor_add(d, WR_DOCTOR_NOTE, "load",
			      "%.1f on %u processors: times will not repeat well", load, nr_cpus);
}

static void look_at_nodes(struct wr_doctor *d, const struct weir_topo *topo, uint32_t nr)
{
	json_t *nodes = json_array();
	char text[WR_UI_TEXT];

	for (uint32_t i = 0; i < nr; i++) {
		struct weir_topo_node n;

		if (weir_topo_node_at(topo, i, &n))
			continue;
		json_array_append_new(nodes, json_pack("{s:i, s:i, s:o}", "node", (int)n.node,
						       "cpus", (int)n.nr_cpus, "memory_bytes",
						       wr_ui_json_u64(n.memory_bytes)));
		if (nr > 1)
			wr_doctor_add(d, WR_DOCTOR_OK, "NUMA node", "node %u: %u processors, %s",
				      n.node, n.nr_cpus, wr_ui_memory(text, n.memory_bytes));
	}
	if (nr == 1)
		wr_doctor_add(d, WR_DOCTOR_OK, "NUMA", "one node: all memory is equally near");
	json_object_set_new(d->facts, "numa_nodes", nodes);
}

void wr_doctor_processor(struct wr_doctor *d)
{
	const char *variant = wr_gemv_find(NULL)->name;
	char l2[WR_UI_TEXT], l3[WR_UI_TEXT], model[128];
	struct weir_topo_counts c;
	struct weir_topo *topo;
	struct weir_error err;

	model_name(model, sizeof(model));
	if (weir_topo_open(NULL, &topo, &err)) {
		wr_doctor_add(d, WR_DOCTOR_NOTE, "processor",
			      "%s; its topology is not readable: %s", model, err.message);
		return;
	}
	weir_topo_counts(topo, &c);
	json_object_set_new(d->facts, "processor",
			    json_pack("{s:o, s:i, s:i, s:i, s:o, s:o, s:s}", "model",
				      wr_ui_json_text(model), "packages", (int)c.nr_packages,
				      "cores", (int)c.nr_cores, "cpus", (int)c.nr_cpus, "l2_bytes",
				      wr_ui_json_u64(c.l2_bytes), "l3_bytes",
				      wr_ui_json_u64(c.l3_bytes), "gemv", variant));
	wr_doctor_add(d, WR_DOCTOR_OK, "processor",
		      "%s: %u core%s, %u hardware thread%s, %u package%s", model, c.nr_cores,
		      c.nr_cores == 1 ? "" : "s", c.nr_cpus, c.nr_cpus == 1 ? "" : "s",
		      c.nr_packages, c.nr_packages == 1 ? "" : "s");
	wr_doctor_add(d, strcmp(variant, "scalar") ? WR_DOCTOR_OK : WR_DOCTOR_NOTE, "vectors",
		      strcmp(variant, "scalar")
			      ? "matrix-vector products run with %s"
			      : "matrix-vector products run %s: slower than memory",
		      variant);
	wr_doctor_add(d, WR_DOCTOR_OK, "caches", "%u x L2 %s, %u x L3 %s", c.nr_l2,
		      wr_ui_memory(l2, c.l2_bytes), c.nr_l3, wr_ui_memory(l3, c.l3_bytes));
	look_at_nodes(d, topo, c.nr_nodes);
	look_at_load(d, c.nr_cpus);
	weir_topo_close(topo);
}

/* ---- memory ---- */

/* The value of @key in /proc/meminfo, in bytes; 0 when it is not there. */
static uint64_t meminfo(const char *key)
{
	FILE *f = fopen("/proc/meminfo", "re");
	uint64_t kb, bytes = 0;
	char line[256], name[64];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%63[^:]: %" SCNu64, name, &kb) == 2 && !strcmp(name, key))
			bytes = kb << 10;
	if (f)
		fclose(f);
	return bytes;
}

static void look_at_ram(struct wr_doctor *d)
{
	uint64_t total = meminfo("MemTotal"), available = meminfo("MemAvailable");
	char text[2][WR_UI_TEXT];

	json_object_set_new(d->facts, "memory_bytes", wr_ui_json_u64(total));
	json_object_set_new(d->facts, "memory_available_bytes", wr_ui_json_u64(available));
	wr_doctor_add(d, WR_DOCTOR_OK, "memory", "%s, %s available", wr_ui_memory(text[0], total),
		      wr_ui_memory(text[1], available));
}

/* Free and reserved pages of one size, into the facts. */
static uint64_t huge_pages(struct wr_doctor *d, const char *fact, const char *dir,
			   uint64_t *ret_total)
{
	char path[128];
	uint64_t nr_free;

	snprintf(path, sizeof(path), "%s/nr_hugepages", dir);
	*ret_total = wr_doctor_number(path, 0);
	snprintf(path, sizeof(path), "%s/free_hugepages", dir);
	nr_free = wr_doctor_number(path, 0);
	json_object_set_new(d->facts, fact,
			    json_pack("{s:o, s:o}", "reserved", wr_ui_json_u64(*ret_total), "free",
				      wr_ui_json_u64(nr_free)));
	return nr_free;
}

/* The transparent mode: "always", "madvise", "never", or "" without it. */
static const char *thp_mode(char *mode, size_t size)
{
	char text[128];
	const char *open, *close;

	wr_doctor_line(text, sizeof(text), "/sys/kernel/mm/transparent_hugepage/enabled");
	open = strchr(text, '[');
	close = open ? strchr(open, ']') : NULL;
	snprintf(mode, size, "%.*s", close ? (int)(close - open - 1) : 0, close ? open + 1 : "");
	return mode;
}

static void look_at_pages(struct wr_doctor *d)
{
	uint64_t total, nr_free;
	struct wr_doctor_finding *f;
	char mode[16];
	bool thp;

	thp_mode(mode, sizeof(mode));
	thp = !strcmp(mode, "always") || !strcmp(mode, "madvise");
	json_object_set_new(d->facts, "thp", mode[0] ? json_string(mode) : json_null());
	f = wr_doctor_add(d, thp ? WR_DOCTOR_OK : WR_DOCTOR_FIX, "THP",
			  "transparent huge pages: %s", mode[0] ? mode : "not in this kernel");
	if (!thp && mode[0])
		wr_doctor_advise(f, "let programs ask for large pages",
				 "echo madvise | %stee /sys/kernel/mm/transparent_hugepage/enabled",
				 wr_doctor_sudo());
	nr_free = huge_pages(d, "huge_2m", "/sys/kernel/mm/hugepages/hugepages-2048kB", &total);
	f = wr_doctor_add(d,
			  nr_free ? WR_DOCTOR_OK
			  : thp	  ? WR_DOCTOR_NOTE
				  : WR_DOCTOR_FIX,
			  "2 MiB pages", "%" PRIu64 " reserved, %" PRIu64 " free%s", total, nr_free,
			  !nr_free && thp ? ": transparent ones serve instead" : "");
	if (!nr_free)
		wr_doctor_advise(f,
				 "reserve the budget (here 2 GiB) so that no page can be missing",
				 "echo 1024 | %stee "
				 "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
				 wr_doctor_sudo());
	nr_free = huge_pages(d, "huge_1g", "/sys/kernel/mm/hugepages/hugepages-1048576kB", &total);
	wr_doctor_add(d, WR_DOCTOR_OK, "1 GiB pages",
		      "%" PRIu64 " reserved, %" PRIu64 " free; not needed", total, nr_free);
}

static void look_at_memlock(struct wr_doctor *d)
{
	bool exempt = wr_doctor_capable(CAP_IPC_LOCK_NR);
	struct wr_doctor_finding *f;
	char text[WR_UI_TEXT];
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit))
		return;
	json_object_set_new(d->facts, "memlock_bytes",
			    limit.rlim_cur == RLIM_INFINITY ? json_null()
							    : wr_ui_json_u64(limit.rlim_cur));
	if (limit.rlim_cur == RLIM_INFINITY) {
		wr_doctor_add(d, WR_DOCTOR_OK, "memlock", "unlimited");
		return;
	}
	wr_ui_memory(text, limit.rlim_cur);
	if (exempt) {
		wr_doctor_add(d, WR_DOCTOR_OK, "memlock",
			      "%s, which does not bind this user (CAP_IPC_LOCK)", text);
		return;
	}
	f = wr_doctor_add(d, WR_DOCTOR_FIX, "memlock",
			  "%s: larger pools cannot be registered with io_uring", text);
	wr_doctor_advise(f, "allow it, then log in again: half the CPU time per byte read",
			 "echo '* - memlock unlimited' | %stee /etc/security/limits.d/weir.conf",
			 wr_doctor_sudo());
}

void wr_doctor_memory(struct wr_doctor *d)
{
	look_at_ram(d);
	look_at_pages(d);
	look_at_memlock(d);
}
