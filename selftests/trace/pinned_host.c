/* SPDX-License-Identifier: MIT */
/* See trace/pinned_host.h. */
#include "trace/pinned_host.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "harness/run_weir.h"

bool bpf_fs_mount(void)
{
	return unshare(CLONE_NEWNS) == 0 &&
	       mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=1777") == 0;
}

const char *pinned_start(pid_t pid)
{
	char text[4096];

	if (wt_shell(text, sizeof(text), "trace start --pid %d --json 2>&1", (int)pid) == 0)
		return NULL;
	if (getenv("WEIR_REQUIRE_BPF")) {
		fprintf(stderr, "%s: %s\n", NO_BPF, text);
		abort();
	}
	return NO_BPF;
}

void pinned_stop(pid_t pid)
{
	char text[4096];

	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	wt_shell(text, sizeof(text), "trace stop --pid %d 2>&1", (int)pid);
}
