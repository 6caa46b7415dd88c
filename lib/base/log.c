/* SPDX-License-Identifier: MIT */
/*
 * The one log function of the process. Writers of messages take no lock: there are two slots, and
 * the one in use is counted while a call runs in it. Setting a function fills the other slot,
 * turns over, and waits until the old one is empty (the manner of "left-right").
 *
 * Guarantees: (a) a function is called with its own argument, never another's; (b) after
 * weir_log_set() returned, the former function neither runs nor will; (c) a host function that
 * makes weir speak again is not called again.
 *
 * The counts and the turning are sequentially consistent, since a reader writes its count and then
 * reads which slot is current, while the setter writes which is current and then reads the count.
 */
#include <weir/log.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "base/util.h"

#define TEXT_BYTES 512

struct slot {
	weir_log_fn fn;		/* written only while users is 0 and the slot is not current */
	void *arg;		/* likewise */
	_Atomic uint32_t users; /* [atomic] */
};

static struct slot slots[2];
static _Atomic uint32_t current;   /* [atomic] index of the slot in use */
static _Atomic int limit;	   /* [atomic] 0: silent */
static _Atomic bool setting;	   /* [atomic] one setter at a time */
static _Thread_local bool in_call; /* [thread] */

bool wr_log_enabled(int level)
{
	return level <= wr_load_relaxed(&limit);
}

static void wait_until_unused(struct slot *slot)
{
	while (wr_load_seq_cst(&slot->users) != 0)
		sched_yield();
}

int weir_log_set(weir_log_fn fn, void *arg, int max_level)
{
	uint32_t old;

	if (max_level < WEIR_LOG_NONE || max_level > WEIR_LOG_DEBUG)
		return -EINVAL;
	if (in_call)
		return -EDEADLK;
	/* S1: pairs with the release below. */
	while (wr_exchange_acquire(&setting, true))
		sched_yield();
	old = wr_load_relaxed(&current);
	/* Readers that picked this slot too late are on their way out again. */
	wait_until_unused(&slots[1 - old]);
	slots[1 - old].fn = fn;
	slots[1 - old].arg = arg;
	wr_store_seq_cst(&current, 1 - old);
	wait_until_unused(&slots[old]);
	wr_store_relaxed(&limit, fn != NULL ? max_level : WEIR_LOG_NONE);
	/* S1: pairs with the acquire above. */
	wr_store_release(&setting, false);
	return 0;
}

/* The current slot, counted. */
static struct slot *enter(void)
{
	for (;;) {
		uint32_t i = wr_load_seq_cst(&current);

		wr_fetch_add_seq_cst(&slots[i].users, 1);
		if (wr_load_seq_cst(&current) == i)
			return &slots[i];
		wr_fetch_sub_acq_rel(&slots[i].users, 1);
	}
}

void wr_log_write(int level, const char *module, const char *fmt, ...)
{
	char text[TEXT_BYTES];
	struct slot *slot;
	va_list args;

	if (in_call)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);

	slot = enter();
	in_call = true;
	if (slot->fn != NULL)
		slot->fn(slot->arg, level, module, text);
	in_call = false;
	wr_fetch_sub_acq_rel(&slot->users, 1);
}

void wr_assert_failed(const char *cond, const char *file, int line, const char *func)
{
	fprintf(stderr, "%s:%d: %s(): not true: %s\n", file, line, func, cond);
	abort();
}
