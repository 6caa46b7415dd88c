/* SPDX-License-Identifier: MIT */
/* Traces pinned by the command, in a BPF file system that goes away with the test. */
#ifndef WR_SELFTESTS_PINNED_HOST_H
#define WR_SELFTESTS_PINNED_HOST_H

#include <stdbool.h>
#include <sys/types.h>

#define NO_BPF	  "BPF: root, a kernel with BTF, libbpf and clang"
#define NO_BPF_FS "root, to mount a BPF file system of its own"

/* What this process and its children find at /sys/fs/bpf is theirs alone; false: it may not be. */
bool bpf_fs_mount(void);

/*
 * Trace @pid, which the command does until it is told to stop. NULL, or what is missing; where
 * WEIR_REQUIRE_BPF is set nothing may be, and the process ends.
 */
const char *pinned_start(pid_t pid);

/* End the process, when it is one, and the trace. */
void pinned_stop(pid_t pid);

#endif /* WR_SELFTESTS_PINNED_HOST_H */
