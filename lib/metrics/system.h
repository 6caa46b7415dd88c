/* SPDX-License-Identifier: MIT */
/* The eyes of the collector: what it reads of the machine, and where it looks. */
#ifndef WR_METRICS_SYSTEM_H
#define WR_METRICS_SYSTEM_H

#include <weir/metrics_system.h>

#include "metrics/nvml.h"

/* clang-format off */
#define WR_SOURCES(X) \
	X(cpu) \
	X(memory) \
	X(swap) \
	X(process) \
	X(pressure) \
	X(thermal) \
	X(energy) \
	X(frequency) \
	X(gpu)

/* id, kind, name, unit, meaning, names of the labels */
#define WR_SYSTEM_METRICS(X) \
	X(SYS_SOURCE, GAUGE, "weir_source_available", "", "Whether this machine shows it", "source", NULL) \
	X(SYS_CPU, FLOAT, "weir_system_cpu_ratio", "ratio", "Share of the time the processor worked", "cpu", NULL) \
	X(SYS_CPUS, FLOAT, "weir_system_cpus", "", "Processors that are on", NULL, NULL) \
	X(SYS_FREQUENCY, FLOAT, "weir_system_cpu_frequency_hertz", "hertz", "Frequency now", "cpu", NULL) \
	X(SYS_MEMORY_TOTAL, FLOAT, "weir_system_memory_total_bytes", "bytes", "Memory of the machine", NULL, NULL) \
	X(SYS_MEMORY_AVAILABLE, FLOAT, "weir_system_memory_available_bytes", "bytes", "Memory to be had without swapping", NULL, NULL) \
	X(SYS_MEMORY_USED, FLOAT, "weir_system_memory_used_bytes", "bytes", "Memory not to be had", NULL, NULL) \
	X(SYS_SWAP_TOTAL, FLOAT, "weir_system_swap_total_bytes", "bytes", "Swap of the machine", NULL, NULL) \
	X(SYS_SWAP_USED, FLOAT, "weir_system_swap_used_bytes", "bytes", "Swap in use", NULL, NULL) \
	X(SYS_RESIDENT, FLOAT, "weir_process_resident_bytes", "bytes", "Resident memory of the process", NULL, NULL) \
	X(SYS_VIRTUAL, FLOAT, "weir_process_virtual_bytes", "bytes", "Address space of the process", NULL, NULL) \
	X(SYS_THREADS, FLOAT, "weir_process_threads", "", "Threads of the process", NULL, NULL) \
	X(SYS_FDS, FLOAT, "weir_process_fds", "", "Open files of the process", NULL, NULL) \
	X(SYS_PROCESS_CPUS, FLOAT, "weir_process_cpus", "", "Processors' worth of work the process did", NULL, NULL) \
	X(SYS_PRESSURE, FLOAT, "weir_system_pressure_ratio", "ratio", "Share of the last ten seconds in which tasks waited", "resource", "share") \
	X(SYS_TEMPERATURE, FLOAT, "weir_system_temperature_celsius", "celsius", "Temperature", "zone", "type") \
	X(SYS_ENERGY, COUNTER, "weir_system_energy_microjoules", "microjoules", "Energy used since the collector began", "domain", NULL) \
	X(SYS_GPU_TEMPERATURE, FLOAT, "weir_gpu_temperature_celsius", "celsius", "Temperature of the GPU", "gpu", NULL) \
	X(SYS_GPU_POWER, FLOAT, "weir_gpu_power_watts", "watts", "Power the GPU draws", "gpu", NULL) \
	X(SYS_GPU_UTILIZATION, FLOAT, "weir_gpu_utilization_ratio", "ratio", "Share of the time a kernel ran", "gpu", NULL) \
	X(SYS_GPU_MEMORY_USED, FLOAT, "weir_gpu_memory_used_bytes", "bytes", "Memory of the GPU in use", "gpu", NULL) \
	X(SYS_GPU_MEMORY_TOTAL, FLOAT, "weir_gpu_memory_total_bytes", "bytes", "Memory of the GPU", "gpu", NULL)
/* clang-format on */

enum wr_system_metric {
#define X(id, kind, name, unit, help, label, label2) id,
	WR_SYSTEM_METRICS(X)
#undef X
		SYS_NR_METRICS
};

enum wr_source_id {
#define X(name) WR_SOURCE_##name,
	WR_SOURCES(X)
#undef X
		WR_NR_SOURCES
};

/* The most processors that get a series each. */
#define WR_SYSTEM_CPUS_MAX 1024u
#define WR_SYSTEM_DOMAINS  32u

struct wr_cpu_times {
	uint64_t busy, all;
};

/* All [METRICS_RUN]. */
struct wr_system {
	struct weir_metrics *metrics;
	char *proc_dir, *sys_dir;
	uint32_t families[SYS_NR_METRICS];
	struct weir_source sources[WR_NR_SOURCES];
	struct wr_cpu_times cpus[1 + WR_SYSTEM_CPUS_MAX]; /* [0] is all together */
	uint64_t process_ticks, process_ns;
	struct {
		char domain[40];
		uint64_t last;
		bool known;
	} energy[WR_SYSTEM_DOMAINS];
	uint32_t nr_gpus;
	char *nvml_library;
	bool nvml_tried;
	struct wr_nvml nvml;
	char text[65536]; /* of the file being read */
};

int wr_system_open(struct weir_metrics *metrics, const struct weir_collector_opts *opts,
		   struct wr_system **ret) WEIR_MUST_CHECK;
void wr_system_close(struct wr_system *s);
void wr_system_read(struct wr_system *s);
int wr_system_source(const struct wr_system *s, uint32_t index,
		     struct weir_source *ret) WEIR_MUST_CHECK;

/* The sources: 0, or why there is nothing, with a reason set. */
#define X(name) int wr_system_read_##name(struct wr_system *s);
WR_SOURCES(X)
#undef X

/*
 * Read the file at @fmt below @root into s->text, ended by NUL. -errno on failure, with the reason
 * of @source set to the path and the error.
 */
int wr_system_file(struct wr_system *s, enum wr_source_id source, const char *root, const char *fmt,
		   ...) WEIR_PRINTF(4, 5) WEIR_MUST_CHECK;

/* Set the reason of @source; returns @code. */
int wr_system_reason(struct wr_system *s, enum wr_source_id source, int code, const char *fmt, ...)
	WEIR_PRINTF(4, 5);

/* Set a series; a value that is not finite makes it unavailable. Labels as its list says, or NULL. */
void wr_system_set(struct wr_system *s, enum wr_system_metric metric, const char *label,
		   const char *label2, double value);
#define WR_NOTHING ((double)NAN)

/* Every series of @metric becomes unavailable. */
void wr_system_clear(struct wr_system *s, enum wr_system_metric metric);

#endif /* WR_METRICS_SYSTEM_H */
