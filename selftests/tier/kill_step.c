/* SPDX-License-Identifier: MIT */
/* Killing at a step; see the header. */
#include "tier/kill_step.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child that does not come to its step in this time is killed wherever it is. */
#define AIMED_US 600000u
#define POLL_US	 200u

static struct kill_steps *armed;

static const char *const texts[] = {
#define X(name, text) text,
	WR_STORE_STEPS(X)
#undef X
};

static const char *const names[] = {
#define X(name, text) #name,
	WR_STORE_STEPS(X)
#undef X
};

struct kill_steps *kill_steps_alloc(void)
{
	void *mem = mmap(NULL, sizeof(struct kill_steps), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		return NULL;
	return mem;
}

void kill_steps_free(struct kill_steps *k)
{
	if (k != NULL)
		munmap(k, sizeof(*k));
}

static bool is_of_manifest(uint32_t step)
{
	return step >= WR_STORE_STEP_MANIFEST_CREATED && step <= WR_STORE_STEP_MANIFEST_DONE;
}

void kill_steps_aim(struct kill_steps *k, uint32_t round, const char *dir, unsigned int *seed)
{
	bool is_once;

	k->aim = round % 2 != 0 ? round / 2 % WR_STORE_NR_STEPS : WR_STORE_NR_STEPS;
	is_once = is_of_manifest(k->aim) || k->aim == WR_STORE_STEP_OPEN_LOCKED ||
		  k->aim == WR_STORE_STEP_OPEN_LISTED;
	atomic_store(&k->left, is_once ? 0 : rand_r(seed) % 4);
	atomic_store(&k->now, 0);
	atomic_store(&k->has_hit, false);
	if (is_of_manifest(k->aim)) {
		char path[320];

		snprintf(path, sizeof(path), "%s/MANIFEST", dir);
		(void)unlink(path);
	}
}

static void passed(enum wr_store_step step)
{
	atomic_fetch_add(&armed->nr_passed[step], 1);
	atomic_store(&armed->now, step + 1u);
	if (step != armed->aim || atomic_fetch_sub(&armed->left, 1) != 0)
		return;
	atomic_store(&armed->has_hit, true);
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

void kill_steps_arm(struct kill_steps *k)
{
	armed = k;
	wr_test_store_step = passed;
}

int kill_steps_end(struct kill_steps *k, pid_t pid, uint64_t us)
{
	bool is_aimed = k->aim != WR_STORE_NR_STEPS;
	int status = 0;

	us = is_aimed ? AIMED_US : us;
	for (uint64_t at = 0; at < us && waitpid(pid, &status, WNOHANG) != pid; at += POLL_US) {
		usleep(POLL_US);
		if (at + POLL_US < us)
			continue;
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		break;
	}
	if (us == 0) {
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
	}
	if (atomic_load(&k->has_hit))
		k->nr_at[k->aim]++;
	else if (atomic_load(&k->now) != 0)
		k->nr_after[atomic_load(&k->now) - 1]++;
	else
		k->nr_after[WR_STORE_NR_STEPS]++;
	return status;
}

uint32_t kill_steps_print(const struct kill_steps *k)
{
	uint32_t nr_never = 0;

	fprintf(stderr, "# %-18s %9s %6s %6s  %s\n", "step", "passed", "at", "after", "meaning");
	for (uint32_t i = 0; i < WR_STORE_NR_STEPS; i++) {
		fprintf(stderr, "# %-18s %9llu %6llu %6llu  %s\n", names[i],
			(unsigned long long)k->nr_passed[i], (unsigned long long)k->nr_at[i],
			(unsigned long long)k->nr_after[i], texts[i]);
		nr_never += k->nr_at[i] + k->nr_after[i] == 0;
	}
	fprintf(stderr, "# %-18s %9s %6s %6llu  %s\n", "(none)", "", "",
		(unsigned long long)k->nr_after[WR_STORE_NR_STEPS], "before the first");
	return nr_never;
}
