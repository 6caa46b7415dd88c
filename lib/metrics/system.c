/* SPDX-License-Identifier: MIT */
/*
 * The sources of the machine's numbers: their series, their states, and what reading a file is.
 * Every path is below one of two folders that a test can replace.
 */
#include "metrics/system.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/util.h"
#include "metrics/registry.h"

static const struct {
	struct weir_metric_desc desc;
	const char *labels[2];
} metrics[SYS_NR_METRICS] = {
#define X(id, kind, name, unit, help, label, label2) \
	[id] = {{WEIR_METRIC_##kind, name, unit, help}, {label, label2}},
	WR_SYSTEM_METRICS(X)
#undef X
};

static const struct {
	const char *name;
	int (*read)(struct wr_system *s);
} sources[WR_NR_SOURCES] = {
#define X(name) {#name, wr_system_read_##name},
	WR_SOURCES(X)
#undef X
};

/* Room for what one machine has; a processor each, the rest is fewer. */
static int join(struct wr_system *s)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < SYS_NR_METRICS; i++) {
		const struct weir_metric_desc *desc = &metrics[i].desc;
		const char *const *labels = metrics[i].labels;
		uint32_t nr = labels[0] == NULL ? 0 : labels[1] == NULL ? 1 : 2;

		rc = nr == 0 ? weir_metrics_register(s->metrics, desc, &s->families[i])
			     : weir_metrics_register_labels(s->metrics, desc, labels, nr,
							    WR_SYSTEM_CPUS_MAX + 1,
							    &s->families[i]);
	}
	return rc;
}

int wr_system_open(struct weir_metrics *m, const struct weir_collector_opts *opts,
		   struct wr_system **ret)
{
	struct wr_system *s = wr_calloc(1, sizeof(*s));
	int rc = -ENOMEM;

	if (s == NULL)
		return rc;
	s->metrics = m;
	s->proc_dir = wr_strdup(opts->proc_dir != NULL ? opts->proc_dir : "/proc");
	s->sys_dir = wr_strdup(opts->sys_dir != NULL ? opts->sys_dir : "/sys");
	s->nvml_library =
		wr_strdup(opts->nvml_library != NULL ? opts->nvml_library : "libnvidia-ml.so.1");
	if (s->proc_dir != NULL && s->sys_dir != NULL && s->nvml_library != NULL)
		rc = join(s);
	if (rc != 0) {
		wr_system_close(s);
		return rc;
	}
	for (uint32_t i = 0; i < WR_NR_SOURCES; i++) {
		snprintf(s->sources[i].name, sizeof(s->sources[i].name), "%s", sources[i].name);
		snprintf(s->sources[i].reason, sizeof(s->sources[i].reason), "not read yet");
	}
	*ret = s;
	return 0;
}

void wr_system_close(struct wr_system *s)
{
	if (s == NULL)
		return;
	/* Nobody looks any more: what was seen last is not what is. */
	for (int i = 0; i < SYS_NR_METRICS; i++)
		wr_system_clear(s, (enum wr_system_metric)i);
	wr_nvml_close(&s->nvml);
	wr_free(s->proc_dir);
	wr_free(s->sys_dir);
	wr_free(s->nvml_library);
	wr_free(s);
}

void wr_system_read(struct wr_system *s)
{
	for (uint32_t i = 0; i < WR_NR_SOURCES; i++) {
		int rc = sources[i].read(s);

		s->sources[i].available = rc == 0;
		if (rc == 0)
			s->sources[i].reason[0] = '\0';
		wr_system_set(s, SYS_SOURCE, sources[i].name, NULL, rc == 0);
	}
}

int wr_system_source(const struct wr_system *s, uint32_t index, struct weir_source *ret)
{
	if (index >= WR_NR_SOURCES)
		return -ENOENT;
	*ret = s->sources[index];
	return 0;
}

int wr_system_reason(struct wr_system *s, enum wr_source_id source, int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(s->sources[source].reason, sizeof(s->sources[source].reason), fmt, args);
	va_end(args);
	return code;
}

/* A whole file; what is longer than the room is cut at the end. */
static int read_file(const char *path, char *text, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t used = 0;
	ssize_t nr;
	int rc = 0;

	if (fd < 0)
		return -errno;
	do {
		nr = read(fd, text + used, room - 1 - used);
		if (nr > 0)
			used += (size_t)nr;
		else if (nr < 0 && errno != EINTR)
			rc = -errno;
	} while (rc == 0 && nr != 0 && used < room - 1);
	close(fd);
	text[used] = '\0';
	return rc;
}

int wr_system_file(struct wr_system *s, enum wr_source_id source, const char *root, const char *fmt,
		   ...)
{
	char path[512];
	va_list args;
	size_t used = (size_t)snprintf(path, sizeof(path), "%s/", root);
	int rc;

	if (used >= sizeof(path))
		return wr_system_reason(s, source, -ENAMETOOLONG, "the path is too long");
	va_start(args, fmt);
	vsnprintf(path + used, sizeof(path) - used, fmt, args);
	va_end(args);
	rc = read_file(path, s->text, sizeof(s->text));
	return rc == 0 ? 0 : wr_system_reason(s, source, rc, "%.80s: %s", path, weir_strerror(rc));
}

void wr_system_set(struct wr_system *s, enum wr_system_metric metric, const char *label,
		   const char *label2, double value)
{
	const char *values[] = {label, label2};
	uint32_t id = s->families[metric];

	if (label != NULL && weir_metrics_series(s->metrics, id, values, &id) != 0)
		return;
	if (metrics[metric].desc.kind == WEIR_METRIC_GAUGE)
		weir_metrics_set(s->metrics, id, (int64_t)value);
	else if (!isfinite(value) || weir_metrics_set_float(s->metrics, id, value) != 0)
		weir_metrics_set_unavailable(s->metrics, id);
}

void wr_system_clear(struct wr_system *s, enum wr_system_metric metric)
{
	struct entry *entry = wr_metrics_entry(s->metrics, s->families[metric]);

	/* A4: pairs with the release in append_locked(). */
	for (; entry != NULL && entry->kind == WEIR_METRIC_FLOAT;
	     entry = wr_metrics_entry(s->metrics, wr_load_acquire(&entry->next)))
		weir_metrics_set_unavailable(s->metrics, entry->id);
}
