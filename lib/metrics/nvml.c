/* SPDX-License-Identifier: MIT */
/*
 * GPUs, through the driver's management library when there is one. It is loaded once; a machine
 * without it says so and costs nothing more. Numbers that a board does not give (old ones have no
 * power meter) are unavailable one by one.
 */
#include "metrics/nvml.h"

#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "metrics/system.h"

int wr_nvml_open(struct wr_nvml *nvml, const char *library, const char **ret_reason)
{
	memset(nvml, 0, sizeof(*nvml));
	nvml->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	if (nvml->library == NULL) {
		*ret_reason = "the driver's library is not there";
		return -ENODEV;
	}
#define X(field, name, type)                                                      \
	{                                                                         \
		void *symbol = dlsym(nvml->library, name);                        \
                                                                                  \
		/* What POSIX asks of dlsym(): the same bits are the function. */ \
		memcpy(&nvml->field, &symbol, sizeof(symbol));                    \
		if (symbol == NULL) {                                             \
			*ret_reason = "the driver's library lacks " name;         \
			goto close_library;                                       \
		}                                                                 \
	}
	WR_NVML_CALLS(X)
#undef X
	if (nvml->init() == 0)
		return 0;
	*ret_reason = "the driver does not answer";
close_library:
	dlclose(nvml->library);
	memset(nvml, 0, sizeof(*nvml));
	return -ENODEV;
}

void wr_nvml_close(struct wr_nvml *nvml)
{
	if (nvml->library == NULL)
		return;
	nvml->shutdown();
	dlclose(nvml->library);
	memset(nvml, 0, sizeof(*nvml));
}

static void read_device(struct wr_system *s, void *device, const char *gpu)
{
	struct wr_nvml_utilization utilization;
	struct wr_nvml_memory memory;
	unsigned value;

	/* Sensor 0 is the die. */
	wr_system_set(s, SYS_GPU_TEMPERATURE, gpu, NULL,
		      s->nvml.temperature(device, 0, &value) == 0 ? value : WR_NOTHING);
	wr_system_set(s, SYS_GPU_POWER, gpu, NULL,
		      s->nvml.power(device, &value) == 0 ? value / 1e3 : WR_NOTHING);
	wr_system_set(s, SYS_GPU_UTILIZATION, gpu, NULL,
		      s->nvml.utilization(device, &utilization) == 0 ? utilization.gpu / 1e2
								     : WR_NOTHING);
	if (s->nvml.memory(device, &memory) != 0) {
		wr_system_set(s, SYS_GPU_MEMORY_USED, gpu, NULL, WR_NOTHING);
		wr_system_set(s, SYS_GPU_MEMORY_TOTAL, gpu, NULL, WR_NOTHING);
		return;
	}
	wr_system_set(s, SYS_GPU_MEMORY_USED, gpu, NULL, (double)memory.used);
	wr_system_set(s, SYS_GPU_MEMORY_TOTAL, gpu, NULL, (double)memory.total);
}

/* Without it the reason stays what it was: it is looked for once. */
static int open_once(struct wr_system *s)
{
	const char *reason = "";

	if (s->nvml.count != NULL)
		return 0;
	if (s->nvml_tried)
		return -ENODEV;
	s->nvml_tried = true;
	if (*s->nvml_library == '\0')
		return wr_system_reason(s, WR_SOURCE_gpu, -ENODEV, "switched off");
	if (wr_nvml_open(&s->nvml, s->nvml_library, &reason) != 0)
		return wr_system_reason(s, WR_SOURCE_gpu, -ENODEV, "%s: %s", s->nvml_library,
					reason);
	return 0;
}

int wr_system_read_gpu(struct wr_system *s)
{
	unsigned nr = 0;
	char gpu[16];
	void *device;
	int rc = open_once(s);

	if (rc != 0)
		return rc;
	for (int m = SYS_GPU_TEMPERATURE; m <= SYS_GPU_MEMORY_TOTAL; m++)
		wr_system_clear(s, (enum wr_system_metric)m);
	if (s->nvml.count(&nr) != 0 || nr == 0)
		return wr_system_reason(s, WR_SOURCE_gpu, -ENODEV, "the driver shows no GPU");
	for (unsigned i = 0; i < nr; i++) {
		snprintf(gpu, sizeof(gpu), "%u", i);
		if (s->nvml.device(i, &device) == 0)
			read_device(s, device, gpu);
	}
	return 0;
}
