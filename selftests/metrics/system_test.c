/* SPDX-License-Identifier: MIT */
/* The collector on an invented machine: right numbers, honest gaps, a stop that does not wait. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/metrics_sample.h>
#include <weir/metrics_system.h>

#include "base/alloc.h"
#include "base/sanitizer.h"
#include "base/util.h"
#include "harness/run_weir.h"
#include "metrics/registry.h"
#include "metrics/system.h"

/* clang-format off */
FIXTURE(system) {
	char dir[200];
	char proc[256], sys[256];
	struct weir_metrics *m;
	int64_t live;
};
/* clang-format on */

/* Write @text to a file below @root, with the folders on the way. */
static void put(const char *root, const char *path, const char *text)
{
	char whole[512];
	FILE *file;

	snprintf(whole, sizeof(whole), "%s/%s", root, path);
	for (char *c = whole + strlen(root) + 1; *c != '\0'; c++) {
		if (*c == '/') {
			*c = '\0';
			mkdir(whole, 0700);
			*c = '/';
		}
	}
	file = fopen(whole, "w");
	if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
		abort();
}

FIXTURE_SETUP(system)
{
	wt_dir_make(self->dir, sizeof(self->dir), NULL);
	snprintf(self->proc, sizeof(self->proc), "%s/proc", self->dir);
	snprintf(self->sys, sizeof(self->sys), "%s/sys", self->dir);
	mkdir(self->proc, 0700);
	mkdir(self->sys, 0700);
	self->live = wr_test_alloc_live();
	ASSERT_EQ(weir_metrics_open(&self->m), 0);
}

FIXTURE_TEARDOWN(system)
{
	weir_metrics_close(self->m);
	EXPECT_EQ(wr_test_alloc_live(), self->live);
	wt_dir_remove(self->dir);
}

/* A collector whose own rounds are an hour apart, after its first one. */
static int start(struct weir_metrics *m, const char *proc, const char *sys)
{
	struct weir_collector_opts opts = {.size = sizeof(opts),
					   .proc_dir = proc,
					   .sys_dir = sys,
					   .nvml_library = "",
					   .interval_ms = 3600000};
	struct weir_metrics_stats stats;
	int rc = weir_collector_start(m, &opts, NULL);

	for (int i = 0; rc == 0 && i < 2000; i++) {
		weir_metrics_stats(m, &stats);
		if (stats.nr_collections > 0)
			return 0;
		usleep(1000);
	}
	return rc != 0 ? rc : -ETIMEDOUT;
}

struct wanted {
	const char *name, *labels;
	struct weir_metric found;
	char text[256];
};

static int find(void *arg, const struct weir_metric *metric)
{
	struct wanted *w = arg;

	if (strcmp(metric->name, w->name) != 0 || strcmp(metric->labels, w->labels) != 0)
		return 0;
	w->found = *metric;
	return 1;
}

/* The number of a series; -1 unavailable, -2 not there. */
static double number(struct weir_metrics *m, const char *name, const char *labels)
{
	struct wanted w = {.name = name, .labels = labels};

	if (weir_metrics_for_each(m, find, &w) != 1)
		return -2;
	return w.found.available ? w.found.number : -1;
}

static bool available(struct weir_metrics *m, const char *name, char *ret_reason)
{
	struct weir_source source;

	for (uint32_t i = 0; weir_collector_source(m, i, &source) == 0; i++) {
		if (strcmp(source.name, name) == 0) {
			strcpy(ret_reason, source.reason);
			return source.available;
		}
	}
	strcpy(ret_reason, "no such source");
	return false;
}

TEST_F(system, processors_are_compared_with_the_round_before)
{
	put(self->proc, "stat",
	    "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 100 0 100 800 0 0 0 0 0 0\nintr 5\n");
	ASSERT_EQ(start(self->m, self->proc, self->sys), 0);
	EXPECT_EQ(number(self->m, "weir_system_cpus", ""), 1.0);
	/* Nothing to compare with: not even a series. */
	EXPECT_EQ(number(self->m, "weir_system_cpu_ratio", "cpu=\"0\""), -2.0);
	put(self->proc, "stat",
	    "cpu  130 0 120 830 20 0 0 0 0 0\ncpu0 130 0 120 830 20 0 0 0 0 0\ncpu3 1 0 0 9 0 0 0 "
	    "0 0 0\n");
	weir_collector_round(self->m);
	EXPECT_EQ(number(self->m, "weir_system_cpu_ratio", "cpu=\"all\""), 0.5);
	EXPECT_EQ(number(self->m, "weir_system_cpu_ratio", "cpu=\"0\""), 0.5);
	EXPECT_EQ(number(self->m, "weir_system_cpus", ""), 2.0);
	/* One that goes offline is no longer known. */
	put(self->proc, "stat", "cpu  140 0 120 830 20 0 0 0 0 0\n");
	weir_collector_round(self->m);
	EXPECT_EQ(number(self->m, "weir_system_cpu_ratio", "cpu=\"0\""), -1.0);
}

TEST_F(system, memory_and_swap_are_in_bytes)
{
	put(self->proc, "meminfo",
	    "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    400 kB\nSwapTotal: 50 "
	    "kB\nSwapFree: 20 kB\n");
	ASSERT_EQ(start(self->m, self->proc, self->sys), 0);
	EXPECT_EQ(number(self->m, "weir_system_memory_total_bytes", ""), 1024000.0);
	EXPECT_EQ(number(self->m, "weir_system_memory_available_bytes", ""), 409600.0);
	EXPECT_EQ(number(self->m, "weir_system_memory_used_bytes", ""), 614400.0);
	EXPECT_EQ(number(self->m, "weir_system_swap_total_bytes", ""), 51200.0);
	EXPECT_EQ(number(self->m, "weir_system_swap_used_bytes", ""), 30720.0);
}

TEST_F(system, pressure_zones_and_frequencies_are_read)
{
	put(self->proc, "pressure/io",
	    "some avg10=12.50 avg60=1.00 avg300=0.00 total=5\nfull avg10=2.00 avg60=1.00 "
	    "avg300=0.00 total=5\n");
	put(self->sys, "class/thermal/thermal_zone0/type", "x86_pkg_temp\n");
	put(self->sys, "class/thermal/thermal_zone0/temp", "45500\n");
	put(self->sys, "class/thermal/thermal_zone1/type", "acpitz\n");
	put(self->sys, "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1600000\n");
	put(self->sys, "devices/system/cpu/cpuidle/current_driver", "none\n");
	ASSERT_EQ(start(self->m, self->proc, self->sys), 0);
	EXPECT_EQ(number(self->m, "weir_system_pressure_ratio", "resource=\"io\",share=\"some\""),
		  0.125);
	EXPECT_EQ(number(self->m, "weir_system_pressure_ratio", "resource=\"io\",share=\"full\""),
		  0.02);
	EXPECT_EQ(number(self->m, "weir_system_pressure_ratio", "resource=\"cpu\",share=\"some\""),
		  -1.0);
	EXPECT_EQ(number(self->m, "weir_system_temperature_celsius",
			 "type=\"x86_pkg_temp\",zone=\"0\""),
		  45.5);
	/* A zone that does not tell its temperature. */
	EXPECT_EQ(number(self->m, "weir_system_temperature_celsius", "type=\"acpitz\",zone=\"1\""),
		  -1.0);
	EXPECT_EQ(number(self->m, "weir_system_cpu_frequency_hertz", "cpu=\"0\""), 1.6e9);
}

TEST_F(system, energy_adds_up_over_the_end_of_its_range)
{
	const char *labels = "domain=\"0:package-0\"";

	put(self->sys, "class/powercap/intel-rapl:0/name", "package-0\n");
	put(self->sys, "class/powercap/intel-rapl:0/energy_uj", "900\n");
	put(self->sys, "class/powercap/intel-rapl:0/max_energy_range_uj", "1000\n");
	ASSERT_EQ(start(self->m, self->proc, self->sys), 0);
	EXPECT_EQ(number(self->m, "weir_system_energy_microjoules", labels), 0.0);
	put(self->sys, "class/powercap/intel-rapl:0/energy_uj", "950\n");
	weir_collector_round(self->m);
	EXPECT_EQ(number(self->m, "weir_system_energy_microjoules", labels), 50.0);
	put(self->sys, "class/powercap/intel-rapl:0/energy_uj", "30\n");
	weir_collector_round(self->m);
	EXPECT_EQ(number(self->m, "weir_system_energy_microjoules", labels), 130.0);
}

TEST_F(system, what_is_not_there_is_unavailable_with_a_reason)
{
	static const char *const names[] = {"cpu",     "memory", "swap",      "process", "pressure",
					    "thermal", "energy", "frequency", "gpu"};
	char reason[128], labels[40];

	ASSERT_EQ(start(self->m, self->proc, self->sys), 0);
	for (size_t i = 0; i < wr_array_size(names); i++) {
		EXPECT_FALSE(available(self->m, names[i], reason));
		EXPECT_NE(reason[0], '\0');
		snprintf(labels, sizeof(labels), "source=\"%s\"", names[i]);
		EXPECT_EQ(number(self->m, "weir_source_available", labels), 0.0);
	}
	EXPECT_EQ(number(self->m, "weir_system_memory_total_bytes", ""), -1.0);
	put(self->proc, "meminfo", "MemTotal: 1000 kB\n");
	weir_collector_round(self->m);
	EXPECT_TRUE(available(self->m, "memory", reason));
	EXPECT_STREQ(reason, "");
	EXPECT_EQ(number(self->m, "weir_source_available", "source=\"memory\""), 1.0);
	EXPECT_EQ(number(self->m, "weir_system_memory_available_bytes", ""), -1.0);
}

TEST_F(system, this_process_is_seen_through_the_real_proc)
{
	char reason[128];
	double fds;

	ASSERT_EQ(start(self->m, NULL, self->sys), 0);
	EXPECT_TRUE(available(self->m, "process", reason));
	EXPECT_GT(number(self->m, "weir_process_resident_bytes", ""), 100e3);
	EXPECT_GE(number(self->m, "weir_process_virtual_bytes", ""),
		  number(self->m, "weir_process_resident_bytes", ""));
	/* This one and the collector's; a sanitizer may have more. */
	EXPECT_GE(number(self->m, "weir_process_threads", ""), 2.0);
	fds = number(self->m, "weir_process_fds", "");
	EXPECT_GE(fds, 3.0);
	ASSERT_GE(dup(0), 0);
	weir_collector_round(self->m);
	EXPECT_EQ(number(self->m, "weir_process_fds", ""), fds + 1);
	EXPECT_GE(number(self->m, "weir_process_cpus", ""), 0.0);
	EXPECT_TRUE(available(self->m, "cpu", reason));
	EXPECT_TRUE(available(self->m, "memory", reason));
}

static int nvml_ok(void)
{
	return 0;
}

static int nvml_count(unsigned *ret)
{
	*ret = 2;
	return 0;
}

static int nvml_device(unsigned index, void **ret)
{
	static int devices[2];

	*ret = &devices[index];
	devices[index] = (int)index;
	return 0;
}

static int nvml_temperature(void *device, int sensor, unsigned *ret)
{
	*ret = 60 + (unsigned)*(int *)device;
	return sensor;
}

/* The second board has no meter. */
static int nvml_power(void *device, unsigned *ret)
{
	*ret = 25500;
	return *(int *)device;
}

static int nvml_utilization(void *device, struct wr_nvml_utilization *ret)
{
	(void)device;
	*ret = (struct wr_nvml_utilization){75, 10};
	return 0;
}

static int nvml_memory(void *device, struct wr_nvml_memory *ret)
{
	(void)device;
	*ret = (struct wr_nvml_memory){4096, 1024, 3072};
	return 0;
}

TEST_F(system, gpus_are_read_through_the_driver_s_table)
{
	struct weir_collector_opts opts = {.size = sizeof(opts), .nvml_library = ""};
	struct wr_system *s;

	ASSERT_EQ(wr_system_open(self->m, &opts, &s), 0);
	s->nvml = (struct wr_nvml){
		.init = nvml_ok,
		.shutdown = nvml_ok,
		.count = nvml_count,
		.device = nvml_device,
		.temperature = nvml_temperature,
		.power = nvml_power,
		.utilization = nvml_utilization,
		.memory = nvml_memory,
	};
	EXPECT_EQ(wr_system_read_gpu(s), 0);
	EXPECT_EQ(number(self->m, "weir_gpu_temperature_celsius", "gpu=\"1\""), 61.0);
	EXPECT_EQ(number(self->m, "weir_gpu_power_watts", "gpu=\"0\""), 25.5);
	EXPECT_EQ(number(self->m, "weir_gpu_power_watts", "gpu=\"1\""), -1.0);
	EXPECT_EQ(number(self->m, "weir_gpu_utilization_ratio", "gpu=\"0\""), 0.75);
	EXPECT_EQ(number(self->m, "weir_gpu_memory_used_bytes", "gpu=\"0\""), 3072.0);
	EXPECT_EQ(number(self->m, "weir_gpu_memory_total_bytes", "gpu=\"0\""), 4096.0);
	wr_system_close(s);
	EXPECT_EQ(number(self->m, "weir_gpu_memory_total_bytes", "gpu=\"0\""), -1.0);
}

TEST_F(system, a_driver_that_is_not_there_or_lacks_a_call_is_unavailable)
{
	const char *reason = "";
	struct wr_nvml nvml;

	EXPECT_EQ(wr_nvml_open(&nvml, "libweir-no-such.so", &reason), -ENODEV);
	EXPECT_NE(reason[0], '\0');
	EXPECT_EQ(nvml.library, NULL);
	EXPECT_EQ(wr_nvml_open(&nvml, "libc.so.6", &reason), -ENODEV);
	EXPECT_STREQ(reason, "the driver's library lacks nvmlInit_v2");
	wr_nvml_close(&nvml);
}

TEST_F(system, the_collector_drains_the_queue_and_counts_its_rounds)
{
	struct weir_collector_opts opts = {
		.size = sizeof(opts), .interval_ms = 10, .flags = WEIR_COLLECT_NO_SYSTEM};
	struct weir_sample s = {.kind = WEIR_METRIC_COUNTER,
				.name = "test_x",
				.value = 1,
				.time_ms = WEIR_TIME_NOW};
	struct weir_metrics_stats stats;
	struct weir_source source;

	ASSERT_EQ(weir_metrics_queue(self->m, &s), 0);
	ASSERT_EQ(weir_collector_start(self->m, &opts, NULL), 0);
	EXPECT_EQ(weir_collector_start(self->m, &opts, NULL), -EALREADY);
	do {
		usleep(1000);
		weir_metrics_stats(self->m, &stats);
	} while (stats.nr_collections < 3);
	EXPECT_EQ(stats.nr_samples, 1u);
	EXPECT_EQ(weir_collector_source(self->m, 0, &source), -ENOENT);
	weir_collector_stop(self->m);
	/* And again. */
	ASSERT_EQ(weir_collector_start(self->m, &opts, NULL), 0);
}

static void *stop(void *arg)
{
	weir_collector_stop(arg);
	return NULL;
}

TEST_F(system, stopping_does_not_wait_for_the_interval_and_may_be_repeated)
{
	pthread_t threads[3];
	struct weir_metrics_stats before, after;

	weir_collector_stop(self->m);
	ASSERT_EQ(start(self->m, self->proc, self->sys), 0);
	/* The interval is an hour: this test ends only if a stop does not wait for it. */
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, stop, self->m), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	weir_metrics_stats(self->m, &before);
	weir_collector_stop(self->m);
	weir_metrics_stats(self->m, &after);
	EXPECT_EQ(before.nr_collections, after.nr_collections);
}

TEST_F(system, a_child_has_no_collector_and_may_start_its_own)
{
	struct weir_collector_opts opts = {.size = sizeof(opts), .flags = WEIR_COLLECT_NO_SYSTEM};
	int status;
	pid_t pid;

	ASSERT_EQ(start(self->m, self->proc, self->sys), 0);
	pid = fork();
	if (pid == 0) {
		weir_collector_stop(self->m);
		/* The thread sanitizer does not let a child of threads start any. */
		status = WR_SANITIZE_THREAD ? 0 : weir_collector_start(self->m, &opts, NULL);
		weir_metrics_close(self->m);
		(_exit)(status == 0 ? 0 : 1);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
}

TEST_F(system, options_against_the_rules_are_refused)
{
	struct weir_collector_opts opts = {.size = sizeof(opts), .interval_ms = 9};

	EXPECT_EQ(weir_collector_start(self->m, &opts, NULL), -EINVAL);
	opts.interval_ms = 0;
	opts.flags = 2;
	EXPECT_EQ(weir_collector_start(self->m, &opts, NULL), -EINVAL);
}

TEST_F(system, every_refused_allocation_is_survived)
{
	struct weir_collector_opts opts = {.size = sizeof(opts),
					   .proc_dir = self->proc,
					   .sys_dir = self->sys,
					   .nvml_library = ""};
	uint64_t n = 0;
	int rc;

	do {
		int64_t live = wr_test_alloc_live();
		struct wr_system *s = NULL;
		struct weir_metrics *m;

		n++;
		ASSERT_EQ(weir_metrics_open(&m), 0);
		wr_test_alloc_fail_at(n);
		rc = wr_system_open(m, &opts, &s);
		EXPECT_EQ(rc, wr_test_alloc_failed() ? -ENOMEM : 0);
		wr_system_close(s);
		weir_metrics_close(m);
		EXPECT_EQ(wr_test_alloc_live(), live);
	} while (wr_test_alloc_failed());
	wr_test_alloc_fail_at(0);
	EXPECT_GE(n, 100u);
}

TEST_HARNESS_MAIN
