/* SPDX-License-Identifier: MIT */
/*
 * Contended waits of the lock ranks as metrics. The arrow points down: locks keep counters of their
 * own and know nothing of metrics; a reader pulls them.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "lock/lock.h"
#include "metrics/set.h"

/* The rank comes as the argument: ranks[i] is i. */
static const enum wr_lock_rank ranks[] = {
#define RANK(name, flags, text) WR_RANK_##name,
	WR_LOCK_RANKS(RANK)
#undef RANK
};

static int64_t read_contended(void *arg)
{
	struct wr_lock_stats stats;

	wr_lock_rank_stats(*(const enum wr_lock_rank *)arg, &stats);
	return (int64_t)stats.nr_contended;
}

static int64_t read_wait_ns(void *arg)
{
	struct wr_lock_stats stats;

	wr_lock_rank_stats(*(const enum wr_lock_rank *)arg, &stats);
	return (int64_t)stats.wait_ns;
}

static int watch(struct weir_metrics *metrics, const enum wr_lock_rank *rank, const char *what,
		 const char *unit, const char *help, int64_t (*read)(void *arg))
{
	char name[64];
	struct weir_metric_desc desc = {WEIR_METRIC_COUNTER, name, unit, help};
	uint32_t id;

	snprintf(name, sizeof(name), "weir_lock_%s_%s", wr_lock_rank_name(*rank), what);
	for (char *c = name; *c != '\0'; c++)
		*c = (char)tolower((unsigned char)*c);
	/* The readers only look at it. */
	return weir_metrics_register_read(metrics, &desc, read, (void *)(uintptr_t)rank, &id);
}

int wr_metrics_watch_locks(struct weir_metrics *metrics)
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < WR_NR_RANKS; i++) {
		rc = watch(metrics, &ranks[i], "contended", "", "Takes that had to wait",
			   read_contended);
		if (rc == 0)
			rc = watch(metrics, &ranks[i], "wait_ns", "ns", "Time spent waiting",
				   read_wait_ns);
	}
	return rc;
}
