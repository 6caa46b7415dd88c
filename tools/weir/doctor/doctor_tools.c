/* SPDX-License-Identifier: MIT */
/*
 * doctor_tools.c - What measuring and tracing need, and the GPU.
 *
 * All of it is optional: weir streams without.
 */
#include "doctor.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ui.h"

#define CAP_SYS_ADMIN_NR 21 /* linux/capability.h */
#define CAP_BPF_NR	 39

/* Is @name in a folder of PATH? */
static bool installed(const char *name)
{
	const char *dirs = getenv("PATH");
	char path[512];

	while (dirs && *dirs) {
		size_t len = strcspn(dirs, ":");

		snprintf(path, sizeof(path), "%.*s/%s", (int)(len < 400 ? len : 400), dirs, name);
		if (len && !access(path, X_OK))
			return true;
		dirs += len + (dirs[len] == ':');
	}
	return false;
}

/* 1, 2, or 0: the cgroup version that has the memory controller. */
static int memory_cgroup(void)
{
	char device[64], dir[256], type[32], options[512], controllers[256], path[320];
	FILE *f = fopen("/proc/self/mounts", "re");
	int version = 0;

	while (f && fscanf(f, "%63s %255s %31s %511s %*d %*d", device, dir, type, options) == 4) {
		if (!strcmp(type, "cgroup") && strstr(options, "memory"))
			version = 1;
		snprintf(path, sizeof(path), "%s/cgroup.controllers", dir);
		if (!strcmp(type, "cgroup2") &&
		    strstr(wr_doctor_line(controllers, sizeof(controllers), path), "memory"))
			version = 2;
	}
	if (f)
		fclose(f);
	return version;
}

static void look_at_cgroup(struct wr_doctor *d)
{
	int version = memory_cgroup();

	json_object_set_new(d->facts, "memory_cgroup_version", json_integer(version));
	if (!version)
		wr_doctor_add(d, WR_DOCTOR_NOTE, "memory cgroup",
			      "none: mmap cannot be measured under a memory limit");
	else if (geteuid())
		wr_doctor_add(d, WR_DOCTOR_NOTE, "memory cgroup",
			      "version %d; setting limits may need root", version);
	else
		wr_doctor_add(d, WR_DOCTOR_OK, "memory cgroup", "version %d", version);
}

static void look_at_fio(struct wr_doctor *d)
{
	bool there = installed("fio");
	struct wr_doctor_finding *f;

	json_object_set_new(d->facts, "fio", json_boolean(there));
	f = wr_doctor_add(d, there ? WR_DOCTOR_OK : WR_DOCTOR_NOTE, "fio",
			  there ? "installed" : "not installed: nothing to compare reads with");
	if (!there)
		wr_doctor_advise(f, "measure what the disk gives", "%sapt install fio",
				 wr_doctor_sudo());
}

static void look_at_bpf(struct wr_doctor *d)
{
	bool btf = !access("/sys/kernel/btf/vmlinux", R_OK);
	bool capable = wr_doctor_capable(CAP_BPF_NR) || wr_doctor_capable(CAP_SYS_ADMIN_NR);

	json_object_set_new(d->facts, "btf", json_boolean(btf));
	json_object_set_new(d->facts, "bpf_allowed", json_boolean(capable));
	if (!btf)
		wr_doctor_add(d, WR_DOCTOR_NOTE, "BPF",
			      "this kernel has no BTF: tracing its inside is not possible");
	else if (!capable)
		wr_doctor_add(d, WR_DOCTOR_NOTE, "BPF",
			      "BTF is there; loading programs needs root or CAP_BPF");
	else
		wr_doctor_add(d, WR_DOCTOR_OK, "BPF", "BTF is there, programs may be loaded");
}

static void look_at_gpu(struct wr_doctor *d)
{
	void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
	bool device = !access("/dev/nvidiactl", F_OK);
	struct wr_doctor_finding *f;

	if (driver)
		dlclose(driver);
	json_object_set_new(
		d->facts, "gpu",
		json_pack("{s:b, s:b}", "driver_library", driver != NULL, "device", (int)device));
	if (driver && device) {
		wr_doctor_add(d, WR_DOCTOR_OK, "GPU", "NVIDIA device and driver library are there");
	} else if (device) {
		f = wr_doctor_add(d, WR_DOCTOR_FIX, "GPU",
				  "NVIDIA device, but no libcuda.so.1 to reach it");
		wr_doctor_advise(f, "install the driver's library", "%sapt install libcuda1",
				 wr_doctor_sudo());
	} else {
		wr_doctor_add(d, WR_DOCTOR_OK, "GPU", "none, and none needed");
	}
}

void wr_doctor_tools(struct wr_doctor *d)
{
	look_at_cgroup(d);
	look_at_fio(d);
	look_at_bpf(d);
	look_at_gpu(d);
}
