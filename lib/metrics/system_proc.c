/* SPDX-License-Identifier: MIT */
/*
 * What /proc says: processors, memory, swap, this process, pressure. Formats: proc(5), and
 * Documentation/accounting/psi.rst of the kernel.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "metrics/registry.h"
#include "metrics/system.h"

/* "cpu" or "cpu7", then user nice system idle iowait irq softirq steal; guests are in user. */
static bool parse_cpu(const char *line, uint32_t *ret_index, struct wr_cpu_times *ret)
{
	uint64_t t[8] = {0};
	char *at;

	if (strncmp(line, "cpu", 3) != 0)
		return false;
	*ret_index = line[3] == ' ' ? 0 : (uint32_t)strtoul(line + 3, &at, 10) + 1;
	at = strchr(line, ' ');
	if (at == NULL || *ret_index > WR_SYSTEM_CPUS_MAX)
		return false;
	ret->all = 0;
	for (size_t i = 0; i < wr_array_size(t); i++) {
		t[i] = strtoull(at, &at, 10);
		ret->all += t[i];
	}
	ret->busy = ret->all - t[3] - t[4];
	return true;
}

static void set_cpu(struct wr_system *s, uint32_t index, const struct wr_cpu_times *now)
{
	struct wr_cpu_times *last = &s->cpus[index];
	char cpu[16] = "all";

	if (index > 0)
		snprintf(cpu, sizeof(cpu), "%u", index - 1);
	/* The first look has nothing to compare with; a processor that was off begins again. */
	if (last->all != 0 && now->all > last->all && now->busy >= last->busy)
		wr_system_set(s, SYS_CPU, cpu, NULL,
			      (double)(now->busy - last->busy) / (double)(now->all - last->all));
	*last = *now;
}

int wr_system_read_cpu(struct wr_system *s)
{
	struct wr_cpu_times times;
	uint32_t index, nr = 0;
	int rc = wr_system_file(s, WR_SOURCE_cpu, s->proc_dir, "stat");

	wr_system_clear(s, SYS_CPU);
	wr_system_set(s, SYS_CPUS, NULL, NULL, WR_NOTHING);
	if (rc != 0)
		return rc;
	for (char *line = s->text; line != NULL; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!parse_cpu(line, &index, &times))
			break;
		set_cpu(s, index, &times);
		nr += index > 0;
	}
	if (nr == 0)
		return wr_system_reason(s, WR_SOURCE_cpu, -ENODATA, "no processors in stat");
	wr_system_set(s, SYS_CPUS, NULL, NULL, nr);
	return 0;
}

/* "Name:   123 kB" in bytes, or WR_NOTHING. */
static double field_bytes(const char *text, const char *name)
{
	size_t length = strlen(name);

	for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, length) == 0 && line[length] == ':')
			return (double)strtoull(line + length + 1, NULL, 10) * 1024;
	}
	return WR_NOTHING;
}

int wr_system_read_memory(struct wr_system *s)
{
	int rc = wr_system_file(s, WR_SOURCE_memory, s->proc_dir, "meminfo");
	double total = rc == 0 ? field_bytes(s->text, "MemTotal") : WR_NOTHING;
	double available = rc == 0 ? field_bytes(s->text, "MemAvailable") : WR_NOTHING;

	wr_system_set(s, SYS_MEMORY_TOTAL, NULL, NULL, total);
	wr_system_set(s, SYS_MEMORY_AVAILABLE, NULL, NULL, available);
	wr_system_set(s, SYS_MEMORY_USED, NULL, NULL, total - available);
	if (rc == 0 && !isfinite(total))
		rc = wr_system_reason(s, WR_SOURCE_memory, -ENODATA, "no MemTotal in meminfo");
	return rc;
}

int wr_system_read_swap(struct wr_system *s)
{
	int rc = wr_system_file(s, WR_SOURCE_swap, s->proc_dir, "meminfo");
	double total = rc == 0 ? field_bytes(s->text, "SwapTotal") : WR_NOTHING;
	double unused = rc == 0 ? field_bytes(s->text, "SwapFree") : WR_NOTHING;

	wr_system_set(s, SYS_SWAP_TOTAL, NULL, NULL, total);
	wr_system_set(s, SYS_SWAP_USED, NULL, NULL, total - unused);
	if (rc == 0 && !isfinite(total))
		rc = wr_system_reason(s, WR_SOURCE_swap, -ENODATA, "no SwapTotal in meminfo");
	return rc;
}

static double count_fds(const struct wr_system *s)
{
	char path[512];
	double nr = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/self/fd", s->proc_dir);
	dir = opendir(path);
	if (dir == NULL)
		return WR_NOTHING;
	for (struct dirent *d = readdir(dir); d != NULL; d = readdir(dir))
		nr += d->d_name[0] != '.';
	closedir(dir);
	/* Not the one that is open to count them. */
	return strcmp(s->proc_dir, "/proc") == 0 ? nr - 1 : nr;
}

/* The fields behind the name, which stands in parentheses and may hold any. utime is the 14th. */
static void set_process_cpus(struct wr_system *s)
{
	const char *at = strrchr(s->text, ')');
	uint64_t now = s->metrics->now_ns(), ticks;
	double cpus = WR_NOTHING;
	char *end;

	for (int field = 2; at != NULL && field < 14; field++)
		at = strchr(at + 1, ' ');
	if (at == NULL)
		return;
	ticks = strtoull(at, &end, 10);
	ticks += strtoull(end, NULL, 10);
	if (s->process_ns != 0 && now > s->process_ns && ticks >= s->process_ticks)
		cpus = (double)(ticks - s->process_ticks) / (double)sysconf(_SC_CLK_TCK) /
		       ((double)(now - s->process_ns) / 1e9);
	s->process_ticks = ticks;
	s->process_ns = now;
	wr_system_set(s, SYS_PROCESS_CPUS, NULL, NULL, cpus);
}

int wr_system_read_process(struct wr_system *s)
{
	int rc = wr_system_file(s, WR_SOURCE_process, s->proc_dir, "self/status");
	double threads = WR_NOTHING;

	wr_system_set(s, SYS_RESIDENT, NULL, NULL,
		      rc == 0 ? field_bytes(s->text, "VmRSS") : WR_NOTHING);
	wr_system_set(s, SYS_VIRTUAL, NULL, NULL,
		      rc == 0 ? field_bytes(s->text, "VmSize") : WR_NOTHING);
	if (rc == 0)
		threads = field_bytes(s->text, "Threads") / 1024;
	wr_system_set(s, SYS_THREADS, NULL, NULL, threads);
	wr_system_set(s, SYS_FDS, NULL, NULL, count_fds(s));
	wr_system_set(s, SYS_PROCESS_CPUS, NULL, NULL, WR_NOTHING);
	if (rc == 0)
		rc = wr_system_file(s, WR_SOURCE_process, s->proc_dir, "self/stat");
	if (rc == 0)
		set_process_cpus(s);
	return rc;
}

/* "some avg10=1.23 avg60=...": per cent. */
static double pressure(const char *text, const char *share)
{
	char name[32];
	const char *at;

	snprintf(name, sizeof(name), "%s avg10=", share);
	at = strstr(text, name);
	return at != NULL ? strtod(at + strlen(name), NULL) / 100 : WR_NOTHING;
}

int wr_system_read_pressure(struct wr_system *s)
{
	static const char *const resources[] = {"cpu", "memory", "io"};
	int rc = -ENODATA;

	for (size_t i = 0; i < wr_array_size(resources); i++) {
		int one = wr_system_file(s, WR_SOURCE_pressure, s->proc_dir, "pressure/%s",
					 resources[i]);

		wr_system_set(s, SYS_PRESSURE, resources[i], "some",
			      one == 0 ? pressure(s->text, "some") : WR_NOTHING);
		wr_system_set(s, SYS_PRESSURE, resources[i], "full",
			      one == 0 ? pressure(s->text, "full") : WR_NOTHING);
		rc = one == 0 || rc == -ENODATA ? one : rc;
	}
	return rc;
}
