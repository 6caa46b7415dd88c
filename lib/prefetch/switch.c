/* SPDX-License-Identifier: MIT */
/*
 * Off when it does not pay, on again when it would.
 */
#include <string.h>

#include "prefetch/manager.h"

#define FIRST_WANTED 4u /* forecasts worth a read */
#define MOST_WANTED  1024u

void wr_switch_init(struct wr_switch *s)
{
	memset(s, 0, sizeof(*s));
	s->on = true;
	s->wanted = FIRST_WANTED;
}

static void end_window(struct wr_switch *s)
{
	bool lost = s->gained_ns < 0;

	if (lost || !s->nr_worth)
		s->nr_bad++;
	else
		s->nr_bad = 0;
	s->lossy = lost || (s->lossy && s->nr_bad);
	/* Long enough without a loss: the old ones are forgiven. */
	if (s->gained_ns > 0 && s->wanted > FIRST_WANTED)
		s->wanted /= 2;
	s->gained_ns = 0;
	s->nr_refs = 0;
	s->nr_worth = 0;
}

bool wr_switch_reference(struct wr_switch *s, uint64_t number)
{
	if (!s->on || ++s->nr_refs < WR_SWITCH_WINDOW)
		return false;
	end_window(s);
	if (s->nr_bad < WR_SWITCH_BAD)
		return false;
	s->on = false;
	s->nr_stops++;
	s->stopped_at = number;
	if (s->lossy)
		s->wanted = wr_min(4 * s->wanted, MOST_WANTED);
	return true;
}

bool wr_switch_wants(struct wr_switch *s)
{
	return s->on || s->nr_asked++ % WR_SWITCH_PROBE == 0;
}

bool wr_switch_forecast(struct wr_switch *s, uint32_t nr_worth)
{
	if (s->on) {
		s->nr_worth += nr_worth;
		return false;
	}
	s->nr_worth = nr_worth ? s->nr_worth + nr_worth : s->nr_worth / 2;
	if (s->nr_worth < s->wanted)
		return false;
	s->on = true;
	s->lossy = false;
	s->nr_refs = 0;
	s->nr_bad = 0;
	s->nr_worth = 0;
	s->gained_ns = 0;
	return true;
}
