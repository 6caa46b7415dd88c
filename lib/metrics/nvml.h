/* SPDX-License-Identifier: MIT */
/*
 * The few calls of NVIDIA's management library that the collector uses, found when it runs. The
 * prototypes are those of the library's public reference (NVML API, device queries); a status of 0
 * is success there.
 */
#ifndef WR_METRICS_NVML_H
#define WR_METRICS_NVML_H

#include <stdbool.h>
#include <stdint.h>

struct wr_nvml_memory {
	unsigned long long total, free, used;
};

struct wr_nvml_utilization {
	unsigned gpu, memory; /* per cent */
};

/* clang-format off */
#define WR_NVML_CALLS(X) \
	X(init, "nvmlInit_v2", int (*)(void)) \
	X(shutdown, "nvmlShutdown", int (*)(void)) \
	X(count, "nvmlDeviceGetCount_v2", int (*)(unsigned *)) \
	X(device, "nvmlDeviceGetHandleByIndex_v2", int (*)(unsigned, void **)) \
	X(temperature, "nvmlDeviceGetTemperature", int (*)(void *, int, unsigned *)) \
	X(power, "nvmlDeviceGetPowerUsage", int (*)(void *, unsigned *)) \
	X(utilization, "nvmlDeviceGetUtilizationRates", int (*)(void *, struct wr_nvml_utilization *)) \
	X(memory, "nvmlDeviceGetMemoryInfo", int (*)(void *, struct wr_nvml_memory *))
/* clang-format on */

/* The library while it is open; all NULL when it is not. */
struct wr_nvml {
	void *library;
	int (*init)(void);
	int (*shutdown)(void);
	int (*count)(unsigned *ret);
	int (*device)(unsigned index, void **ret);
	int (*temperature)(void *device, int sensor, unsigned *ret);
	int (*power)(void *device, unsigned *ret_milliwatts);
	int (*utilization)(void *device, struct wr_nvml_utilization *ret);
	int (*memory)(void *device, struct wr_nvml_memory *ret);
};

/* Load and start it. 0, -ENODEV (there is none, or it does not start; @ret_reason says why). */
int wr_nvml_open(struct wr_nvml *nvml, const char *library, const char **ret_reason);
void wr_nvml_close(struct wr_nvml *nvml);

#endif /* WR_METRICS_NVML_H */
