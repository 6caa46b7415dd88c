/* SPDX-License-Identifier: MIT */
/**
 * weir/metrics_system.h - The collector: one thread that looks at the machine every second.
 *
 * A round takes what waits in the queue, reads the machine, reads every series so that its
 * segment and history are up to date, and ends the parts of summaries' windows. What it reads of
 * the machine, as series:
 *
 *   cpu        weir_system_cpu_ratio{cpu="all" or number}, weir_system_cpus
 *   memory     weir_system_memory_total_bytes, ..._available_bytes, ..._used_bytes
 *   swap       weir_system_swap_total_bytes, ..._used_bytes
 *   process    weir_process_resident_bytes, ..._virtual_bytes, ..._threads, ..._fds, ..._cpus
 *              (processors' worth of work since the round before)
 *   pressure   weir_system_pressure_ratio{resource="cpu|memory|io",share="some|full"}: of the
 *              last ten seconds
 *   thermal    weir_system_temperature_celsius{zone="0",type="x86_pkg_temp"}
 *   energy     weir_system_energy_microjoules{domain="0:package-0"}: a counter
 *   frequency  weir_system_cpu_frequency_hertz{cpu="0"}
 *   gpu        weir_gpu_temperature_celsius{gpu="0"}, weir_gpu_power_watts,
 *              weir_gpu_utilization_ratio, weir_gpu_memory_used_bytes, ..._total_bytes
 *
 * What this machine does not have or does not show is unavailable: a state of the series, and of
 * the source, with the reason; never a number that was made up. weir_source_available{source="..."}
 * is 1 or 0.
 */
#ifndef WEIR_METRICS_SYSTEM_H
#define WEIR_METRICS_SYSTEM_H

#include <weir/metrics.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Do not read the machine. */
#define WEIR_COLLECT_NO_SYSTEM 1u

/**
 * struct weir_collector_opts - How the collector runs; zero means the default.
 * @size:         sizeof(struct weir_collector_opts).
 * @proc_dir:     Instead of /proc.
 * @sys_dir:      Instead of /sys.
 * @nvml_library: Instead of libnvidia-ml.so.1; "" means do not look for GPUs.
 * @interval_ms:  From one round to the next: 1000; 10 at least.
 * @flags:        WEIR_COLLECT_NO_SYSTEM or 0.
 *
 * Since: 0.1
 */
struct weir_collector_opts {
	size_t size;
	const char *proc_dir;
	const char *sys_dir;
	const char *nvml_library;
	uint32_t interval_ms;
	uint32_t flags;
};

/**
 * weir_collector_start() - Start the collector of a registry.
 * @metrics: Registry. It has one collector at a time.
 * @opts:    Options, or NULL for the defaults. The texts are copied.
 * @err:     On failure: why. May be NULL.
 *
 * A child made by fork() has no collector, whatever its parent has.
 *
 * Context: Any thread. Starts a thread, which blocks all signals.
 * Return:  0, -EINVAL, -E2BIG (options), -EALREADY (it runs), -ENOMEM, -EAGAIN (the system gives no
 *          thread).
 * Since:   0.1
 */
WEIR_API int weir_collector_start(struct weir_metrics *metrics,
				  const struct weir_collector_opts *opts,
				  struct weir_error *err) WEIR_MUST_CHECK;

/**
 * weir_collector_stop() - Stop the collector.
 * @metrics: Registry. Stopping what does not run, or twice, or in several threads is well.
 *
 * The thread does not finish its interval: it ends within milliseconds, unless it is in a call of
 * the GPU's driver, which cannot be interrupted. What waits in the queue stays there.
 *
 * Context: Any thread but the collector's: not from a rule. May block.
 * Since:   0.1
 */
WEIR_API void weir_collector_stop(struct weir_metrics *metrics);

/**
 * weir_collector_round() - Do one round, now.
 * @metrics: Registry. Without a collector that was started with it, the machine is not read.
 *
 * Context: Any thread. Takes METRICS_RUN and METRICS_DATA. May block.
 * Since:   0.1
 */
WEIR_API void weir_collector_round(struct weir_metrics *metrics);

/**
 * struct weir_source - A source of numbers about the machine.
 * @name:      As in the list at the top.
 * @available: Whether the latest round found it.
 * @reason:    Why not; "" when it is available.
 *
 * Since: 0.1
 */
struct weir_source {
	char name[16];
	bool available;
	char reason[128];
};

/**
 * weir_collector_source() - What is known about a source.
 * @metrics: Registry.
 * @index:   From 0.
 * @ret:     The source.
 *
 * Context: Any thread. Takes METRICS_RUN.
 * Return:  0, -ENOENT (no more; or no collector was started that reads the machine).
 * Since:   0.1
 */
WEIR_API int weir_collector_source(struct weir_metrics *metrics, uint32_t index,
				   struct weir_source *ret) WEIR_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif /* WEIR_METRICS_SYSTEM_H */
