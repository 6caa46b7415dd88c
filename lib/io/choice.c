/* SPDX-License-Identifier: MIT */
/*
 * The choice, and nothing but it; measure.c finds out what it is made of.
 *
 * In this order:
 *   somebody has chosen                            that
 *   memory is short, as stalls or refaults show    direct: a page cache would be thrown out again
 *   nearly all of the file is in the page cache,   from there
 *   and that is much faster than the device
 *   the host gives spare memory away, and there    through the page cache, and it stays there
 *   is more of it than the file needs
 *   else                                           direct
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/util.h"
#include "io/choice.h"

/* Seven eighths: the rest would have to come through the page cache, slower than past it. */
#define WARM_PERMYRIAD 8750u
/* One task in twenty waits: the kernel's own default for "some trouble" in triggers of user space. */
#define STALL_PERMYRIAD 500u
/* Pages that were dropped too early, as a rate that a disk would notice. */
#define REFAULT_BPS ((uint64_t)64 << 20)
/*
 * A read from the page cache is a copy and takes three to five times the processor's time of a
 * direct one; one direct read at a time is half of what many at a time give. Below that it does
 * not pay.
 */
#define FASTER 3u
/* Of all memory, what must be left when spare memory is used. */
#define RESERVE_PART 8u

/*
 * Of a choice that stands: so much less of the file need be in the page cache, and so much less of
 * memory be left, and so many times in a row something else must be better.
 */
#define STAYS_PERMYRIAD	   7500u
#define STAYS_RESERVE_PART 2u
#define NR_SAID		   2u
/* It stands for so long at least, twice as long after each change; after memory was short, longer. */
#define HOLD_NS	     ((uint64_t)5 * 1000000000u)
#define SHORT_NS     ((uint64_t)30 * 1000000000u)
#define MOST_DOUBLED 12u

static double gb(uint64_t bytes)
{
	return (double)bytes / 1e9;
}

static uint64_t warm_permyriad(const struct wr_io_facts *f)
{
	return f->file_bytes ? (uint64_t)(10000.0 * (double)wr_min(f->cached_bytes, f->file_bytes) /
					  (double)f->file_bytes)
			     : 0;
}

bool wr_io_is_warm(const struct wr_io_facts *f)
{
	return warm_permyriad(f) >= WARM_PERMYRIAD;
}

static bool is_asked_for(const struct wr_io_facts *f)
{
	return f->mode == WEIR_IO_CACHE_NEVER || f->mode == WEIR_IO_CACHE_ALWAYS;
}

static bool is_short(const struct wr_io_facts *f, char why[WR_IO_CHOICE_BYTES])
{
	if (f->stall_permyriad >= STALL_PERMYRIAD) {
		snprintf(why, WR_IO_CHOICE_BYTES,
			 "direct: memory is short, tasks waited for it %.1f %% of the last 10 s",
			 (double)f->stall_permyriad / 100);
		return true;
	}
	if (f->refault_bps >= REFAULT_BPS) {
		snprintf(why, WR_IO_CHOICE_BYTES,
			 "direct: memory is short, %.2f GB/s of file pages come back soon after "
			 "they were dropped",
			 gb(f->refault_bps));
		return true;
	}
	return false;
}

static enum wr_io_access warm(const struct wr_io_facts *f, char why[WR_IO_CHOICE_BYTES])
{
	double share = (double)warm_permyriad(f) / 100;

	if (!f->device_bps || !f->cache_bps) {
		snprintf(why, WR_IO_CHOICE_BYTES,
			 "direct: %.0f %% of it is in the page cache, but the rates are not known",
			 share);
		return WR_IO_DIRECT;
	}
	if (f->cache_bps / FASTER < f->device_bps) {
		snprintf(
			why, WR_IO_CHOICE_BYTES,
			"direct: %.0f %% of it is in the page cache, which gives %.1f GB/s, not %u "
			"times the device's %.1f",
			share, gb(f->cache_bps), FASTER, gb(f->device_bps));
		return WR_IO_DIRECT;
	}
	snprintf(why, WR_IO_CHOICE_BYTES,
		 "page cache: %.0f %% of it is there, which gives %.1f GB/s, the device %.1f",
		 share, gb(f->cache_bps), gb(f->device_bps));
	return WR_IO_FROM_CACHE;
}

static enum wr_io_access spare(const struct wr_io_facts *f, char why[WR_IO_CHOICE_BYTES])
{
	uint64_t needed = f->file_bytes - wr_min(f->cached_bytes, f->file_bytes);
	uint64_t reserve = f->total_bytes / RESERVE_PART;

	if (f->spare_bytes < reserve || f->spare_bytes - reserve < needed) {
		snprintf(why, WR_IO_CHOICE_BYTES,
			 "direct: %.1f GB of memory are spare, %.1f would be needed and %.1f left",
			 gb(f->spare_bytes), gb(needed), gb(reserve));
		return WR_IO_DIRECT;
	}
	snprintf(why, WR_IO_CHOICE_BYTES,
		 "page cache: %.1f GB of memory are spare, the file needs %.1f of them",
		 gb(f->spare_bytes), gb(needed));
	return WR_IO_THROUGH;
}

enum wr_io_access wr_io_choose(const struct wr_io_facts *f, char why[WR_IO_CHOICE_BYTES])
{
	switch (f->mode) {
	case WEIR_IO_CACHE_NEVER:
		snprintf(why, WR_IO_CHOICE_BYTES, "direct: asked for");
		return WR_IO_DIRECT;
	case WEIR_IO_CACHE_ALWAYS:
		snprintf(why, WR_IO_CHOICE_BYTES, "page cache: asked for");
		return WR_IO_THROUGH;
	default:
		break;
	}
	if (is_short(f, why))
		return WR_IO_DIRECT;
	if (wr_io_is_warm(f))
		return warm(f, why);
	if (f->mode == WEIR_IO_CACHE_SPARE)
		return spare(f, why);
	snprintf(why, WR_IO_CHOICE_BYTES, "direct: %.0f %% of it is in the page cache",
		 (double)warm_permyriad(f) / 100);
	return WR_IO_DIRECT;
}

/* ---- again ---- */

/* What stands through the page cache may go on where it would not have begun. */
static bool may_stay(const struct wr_io_standing *s, const struct wr_io_facts *f)
{
	if (is_asked_for(f))
		return false;
	if (s->now == WR_IO_FROM_CACHE)
		return warm_permyriad(f) >= STAYS_PERMYRIAD;
	if (s->now == WR_IO_THROUGH && f->mode == WEIR_IO_CACHE_SPARE)
		return f->spare_bytes >= f->total_bytes / RESERVE_PART / STAYS_RESERVE_PART;
	return false;
}

bool wr_io_wants_rates(const struct wr_io_standing *s, const struct wr_io_facts *f, uint64_t now_ns)
{
	char why[WR_IO_CHOICE_BYTES];

	return s->now == WR_IO_DIRECT && !is_asked_for(f) && now_ns >= s->until_ns &&
	       wr_io_is_warm(f) && !is_short(f, why);
}

static void change_to(struct wr_io_standing *s, enum wr_io_access next, uint64_t for_ns,
		      uint64_t now_ns)
{
	s->now = next;
	s->nr_said = 0;
	s->until_ns = now_ns + (for_ns << wr_min(s->nr_changes, MOST_DOUBLED));
	s->nr_changes++;
}

bool wr_io_choose_again(struct wr_io_standing *s, const struct wr_io_facts *f, uint64_t now_ns,
			char why[WR_IO_CHOICE_BYTES])
{
	bool is_other_mode = s->mode != f->mode, is_now_short;
	enum wr_io_access next;

	if (is_asked_for(f) && !is_other_mode)
		return false;
	s->mode = f->mode;
	is_now_short = !is_asked_for(f) && is_short(f, why);
	if (is_now_short)
		s->until_ns = wr_max(s->until_ns, now_ns + SHORT_NS);
	next = may_stay(s, f) && !is_now_short ? s->now : wr_io_choose(f, why);
	if (next == s->now) {
		s->nr_said = 0;
		return false;
	}
	if (is_asked_for(f) || is_other_mode || is_now_short) {
		change_to(s, next, is_now_short ? SHORT_NS : HOLD_NS, now_ns);
		return true;
	}
	s->nr_said = next == s->next ? s->nr_said + 1 : 1;
	s->next = next;
	if (s->nr_said < NR_SAID || now_ns < s->until_ns)
		return false;
	change_to(s, next, HOLD_NS, now_ns);
	return true;
}
