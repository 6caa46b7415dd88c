/* SPDX-License-Identifier: MIT */
/*
 * What /sys says: thermal zones, energy, frequencies. Formats: the kernel's
 * Documentation/ABI/testing/sysfs-class-thermal and sysfs-class-powercap, and
 * Documentation/admin-guide/pm/cpufreq.rst.
 */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "metrics/registry.h"
#include "metrics/system.h"

/* The first line of s->text, without its end. */
static void first_line(struct wr_system *s, char *ret, size_t room)
{
	snprintf(ret, room, "%.*s", (int)strcspn(s->text, "\n"), s->text);
}

static DIR *open_dir(struct wr_system *s, enum wr_source_id source, const char *below)
{
	char path[512];
	DIR *dir;

	snprintf(path, sizeof(path), "%s/%s", s->sys_dir, below);
	dir = opendir(path);
	if (dir == NULL)
		wr_system_reason(s, source, -errno, "%.80s: %s", path, weir_strerror(-errno));
	return dir;
}

/* A number alone in a file, or WR_NOTHING. */
static double number(const struct wr_system *s)
{
	char *end;
	double value = strtod(s->text, &end);

	return end != s->text ? value : WR_NOTHING;
}

static int read_zone(struct wr_system *s, const char *name)
{
	char type[64] = "";
	int rc;

	rc = wr_system_file(s, WR_SOURCE_thermal, s->sys_dir, "class/thermal/%s/type", name);
	if (rc == 0)
		first_line(s, type, sizeof(type));
	rc = wr_system_file(s, WR_SOURCE_thermal, s->sys_dir, "class/thermal/%s/temp", name);
	wr_system_set(s, SYS_TEMPERATURE, name + strlen("thermal_zone"), type,
		      rc == 0 ? number(s) / 1000 : WR_NOTHING);
	return rc;
}

int wr_system_read_thermal(struct wr_system *s)
{
	DIR *dir = open_dir(s, WR_SOURCE_thermal, "class/thermal");
	int rc = -ENODEV;

	wr_system_clear(s, SYS_TEMPERATURE);
	if (dir == NULL)
		return rc;
	wr_system_reason(s, WR_SOURCE_thermal, 0, "no thermal zones");
	for (struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
		if (strncmp(d->d_name, "thermal_zone", strlen("thermal_zone")) == 0 &&
		    read_zone(s, d->d_name) == 0)
			rc = 0;
	}
	closedir(dir);
	return rc;
}

/* Where the last reading of this domain is kept, or NULL when there are too many. */
static int find_domain(struct wr_system *s, const char *domain)
{
	for (uint32_t i = 0; i < WR_SYSTEM_DOMAINS; i++) {
		if (s->energy[i].domain[0] == '\0')
			snprintf(s->energy[i].domain, sizeof(s->energy[i].domain), "%s", domain);
		if (strcmp(s->energy[i].domain, domain) == 0)
			return (int)i;
	}
	return -1;
}

/* The meter counts up to a range and begins again at 0. */
static void count_energy(struct wr_system *s, const char *domain, uint64_t now, uint64_t range)
{
	int at = find_domain(s, domain);
	const char *values[] = {domain};
	uint64_t grown = 0;
	uint32_t id;

	if (at < 0 || weir_metrics_series(s->metrics, s->families[SYS_ENERGY], values, &id) != 0)
		return;
	if (s->energy[at].known)
		grown = now >= s->energy[at].last ? now - s->energy[at].last
						  : range - s->energy[at].last + now;
	s->energy[at].known = true;
	s->energy[at].last = now;
	weir_metrics_add(s->metrics, id, (int64_t)wr_min(grown, range));
}

static int read_domain(struct wr_system *s, const char *name)
{
	char domain[40] = "";
	uint64_t now;
	int rc;

	rc = wr_system_file(s, WR_SOURCE_energy, s->sys_dir, "class/powercap/%s/name", name);
	if (rc != 0)
		return rc;
	snprintf(domain, sizeof(domain), "%.16s:%.*s", strchr(name, ':') + 1,
		 (int)strcspn(s->text, "\n") < 20 ? (int)strcspn(s->text, "\n") : 20, s->text);
	rc = wr_system_file(s, WR_SOURCE_energy, s->sys_dir, "class/powercap/%s/energy_uj", name);
	if (rc != 0)
		return rc;
	now = strtoull(s->text, NULL, 10);
	rc = wr_system_file(s, WR_SOURCE_energy, s->sys_dir,
			    "class/powercap/%s/max_energy_range_uj", name);
	if (rc == 0)
		count_energy(s, domain, now, strtoull(s->text, NULL, 10));
	return rc;
}

int wr_system_read_energy(struct wr_system *s)
{
	DIR *dir = open_dir(s, WR_SOURCE_energy, "class/powercap");
	int rc = -ENODEV;

	if (dir == NULL)
		return rc;
	wr_system_reason(s, WR_SOURCE_energy, 0, "no energy meters");
	for (struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
		if (strchr(d->d_name, ':') != NULL && d->d_name[0] != '.' &&
		    read_domain(s, d->d_name) == 0)
			rc = 0;
	}
	closedir(dir);
	return rc;
}

int wr_system_read_frequency(struct wr_system *s)
{
	DIR *dir = open_dir(s, WR_SOURCE_frequency, "devices/system/cpu");
	int rc = -ENODEV;

	wr_system_clear(s, SYS_FREQUENCY);
	if (dir == NULL)
		return rc;
	wr_system_reason(s, WR_SOURCE_frequency, 0, "no processors");
	for (struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
		const char *cpu = d->d_name + strlen("cpu");

		if (strncmp(d->d_name, "cpu", 3) != 0 || *cpu < '0' || *cpu > '9')
			continue;
		if (wr_system_file(s, WR_SOURCE_frequency, s->sys_dir,
				   "devices/system/cpu/%s/cpufreq/scaling_cur_freq",
				   d->d_name) != 0)
			continue;
		/* In kHz. */
		wr_system_set(s, SYS_FREQUENCY, cpu, NULL, number(s) * 1000);
		rc = 0;
	}
	closedir(dir);
	return rc;
}
