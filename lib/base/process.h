/* SPDX-License-Identifier: MIT */
/* What the system says of a process. */
#ifndef WR_BASE_PROCESS_H
#define WR_BASE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * When it began, in the kernel's ticks: field 22 of /proc/PID/stat, which with the number tells a
 * process from all others. @pid 0: the calling one. 0: there is no such process, or it has ended.
 */
uint64_t wr_process_start_ticks(int pid);

/* Are the numbers of processes here the kernel's own, which BPF programs and their pins go by? */
bool wr_process_sees_kernel_pids(void);

#endif /* WR_BASE_PROCESS_H */
