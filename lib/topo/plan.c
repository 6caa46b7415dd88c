/* SPDX-License-Identifier: MIT */
/*
 * Which thread goes where. A plan is made from the arrays of a topology and the numbers of threads
 * and from nothing else, so the same machine and numbers always give the same plan, on whatever
 * machine it is made.
 *
 * Compute threads walk the hardware threads in one order (see by_compute_order()). I/O and
 * background threads are then placed one by one where they disturb least. Why siblings for them:
 * they mostly wait, and a sibling that waits costs its core nothing, while a compute thread that
 * shares a hardware thread loses it whenever a read completes.
 */
#include <weir/topo.h>

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/util.h"
#include "topo/machine.h"

#define NR_ROLES 3

struct seat {
	const struct weir_topo_cpu *cpu;
	uint32_t turn;	     /* how many like it come before it in its node */
	uint32_t nr_compute; /* threads planned here */
	uint32_t nr_threads; /* of any role */
};

struct weir_placement {
	uint32_t nr[NR_ROLES];	  /* [const] */
	uint32_t *cpus[NR_ROLES]; /* [const] */
	bool *shared[NR_ROLES];	  /* [const] more than one thread is on that one */
};

/* First siblings first, strong cores first, nodes in turn, then as the machine counts. */
static int by_compute_order(const void *a, const void *b)
{
	const struct seat *x = a, *y = b;

	if (x->cpu->sibling != y->cpu->sibling)
		return x->cpu->sibling < y->cpu->sibling ? -1 : 1;
	if (x->cpu->strength != y->cpu->strength)
		return x->cpu->strength > y->cpu->strength ? -1 : 1;
	if (x->turn != y->turn)
		return x->turn < y->turn ? -1 : 1;
	return x->cpu < y->cpu ? -1 : x->cpu > y->cpu;
}

static struct seat *make_seats(const struct weir_topo *topo)
{
	uint32_t nr = topo->counts.nr_cpus;
	struct seat *seats = wr_calloc(nr, sizeof(*seats));

	if (seats == NULL)
		return NULL;
	for (uint32_t i = 0; i < nr; i++) {
		const struct weir_topo_cpu *cpu = &topo->cpus[i];

		seats[i].cpu = cpu;
		/* The last one like it is mostly a few steps back. */
		for (uint32_t j = i; j-- > 0;) {
			const struct weir_topo_cpu *other = seats[j].cpu;

			if (other->node == cpu->node && other->sibling == cpu->sibling &&
			    other->strength == cpu->strength) {
				seats[i].turn = seats[j].turn + 1;
				break;
			}
		}
	}
	qsort(seats, nr, sizeof(*seats), by_compute_order);
	return seats;
}

/* What the search for a seat looks at. */
struct search {
	struct seat *seats;
	uint32_t nr_seats;
	uint32_t *on_core; /* threads of any role on each core */
	uint32_t node;	   /* 1 + the node wanted, 0 for any */
};

/* Less to disturb there: see the top of this file. */
static bool is_better(const struct seat *x, const struct seat *y, const struct search *search)
{
	uint32_t x_core = search->on_core[x->cpu->core], y_core = search->on_core[y->cpu->core];

	if ((x->nr_compute == 0) != (y->nr_compute == 0))
		return x->nr_compute == 0;
	if (search->node != 0 && x->cpu->node != y->cpu->node) {
		if (x->cpu->node + 1 == search->node || y->cpu->node + 1 == search->node)
			return x->cpu->node + 1 == search->node;
	}
	if (x_core != y_core)
		return x_core < y_core;
	if (x->nr_threads != y->nr_threads)
		return x->nr_threads < y->nr_threads;
	/* Among compute threads the last one gives way: hosts often lead with the first. */
	if (x->nr_compute != 0)
		return x > y;
	if (x->cpu->strength != y->cpu->strength)
		return x->cpu->strength < y->cpu->strength;
	return x->cpu < y->cpu;
}

static struct seat *best_seat(const struct search *search)
{
	struct seat *best = &search->seats[0];

	for (uint32_t i = 1; i < search->nr_seats; i++) {
		if (is_better(&search->seats[i], best, search))
			best = &search->seats[i];
	}
	return best;
}

static void place(struct weir_placement *plan, struct search *search, uint32_t io_node)
{
	for (int role = 0; role < NR_ROLES; role++) {
		search->node = role == WEIR_ROLE_IO ? io_node : 0;
		for (uint32_t i = 0; i < plan->nr[role]; i++) {
			struct seat *seat = role == WEIR_ROLE_COMPUTE
						    ? &search->seats[i % search->nr_seats]
						    : best_seat(search);

			plan->cpus[role][i] = seat->cpu->cpu;
			seat->nr_compute += role == WEIR_ROLE_COMPUTE;
			seat->nr_threads++;
			search->on_core[seat->cpu->core]++;
		}
	}
}

static void mark_shared(struct weir_placement *plan, const struct seat *seats, uint32_t nr_seats)
{
	for (int role = 0; role < NR_ROLES; role++) {
		for (uint32_t i = 0; i < plan->nr[role]; i++) {
			for (uint32_t s = 0; s < nr_seats; s++) {
				if (seats[s].cpu->cpu == plan->cpus[role][i])
					plan->shared[role][i] = seats[s].nr_threads > 1;
			}
		}
	}
}

static int alloc_roles(struct weir_placement *plan)
{
	for (int role = 0; role < NR_ROLES; role++) {
		plan->cpus[role] = wr_calloc(plan->nr[role], sizeof(plan->cpus[role][0]));
		plan->shared[role] = wr_calloc(plan->nr[role], sizeof(plan->shared[role][0]));
		if (plan->cpus[role] == NULL || plan->shared[role] == NULL)
			return -ENOMEM;
	}
	return 0;
}

static int fill_plan(const struct weir_topo *topo, uint32_t io_node, struct weir_placement *plan)
{
	struct search search = {
		.seats = make_seats(topo),
		.nr_seats = topo->counts.nr_cpus,
		.on_core = wr_calloc(topo->counts.nr_cores, sizeof(uint32_t)),
	};
	int rc = -ENOMEM;

	if (search.seats == NULL || search.on_core == NULL)
		goto free_work;
	rc = alloc_roles(plan);
	if (rc != 0)
		goto free_work;
	place(plan, &search, io_node);
	mark_shared(plan, search.seats, search.nr_seats);
free_work:
	wr_free(search.on_core);
	wr_free(search.seats);
	return rc;
}

static bool has_node(const struct weir_topo *topo, uint32_t node)
{
	for (uint32_t i = 0; i < topo->counts.nr_nodes; i++) {
		if (topo->nodes[i].node == node)
			return true;
	}
	return false;
}

int weir_placement_open(const struct weir_topo *topo, const struct weir_placement_opts *opts,
			struct weir_placement **ret)
{
	struct weir_placement_opts copy;
	struct weir_placement *plan;
	int rc = wr_opts_copy(&copy, sizeof(copy), opts);

	static_assert(sizeof(copy) == sizeof(size_t) + 4 * sizeof(uint32_t),
		      "a new field is handled below");
	if (rc != 0)
		return rc;
	if (copy.nr_compute > WEIR_PLACEMENT_THREADS_MAX ||
	    copy.nr_io > WEIR_PLACEMENT_THREADS_MAX ||
	    copy.nr_background > WEIR_PLACEMENT_THREADS_MAX)
		return -EINVAL;
	if (copy.io_node != 0 && !has_node(topo, copy.io_node - 1))
		return -ENODEV;
	plan = wr_calloc(1, sizeof(*plan));
	if (plan == NULL)
		return -ENOMEM;
	plan->nr[WEIR_ROLE_COMPUTE] =
		copy.nr_compute != 0 ? copy.nr_compute : topo->counts.nr_cores;
	plan->nr[WEIR_ROLE_IO] = wr_max(copy.nr_io, 1u);
	plan->nr[WEIR_ROLE_BACKGROUND] = wr_max(copy.nr_background, 1u);
	rc = fill_plan(topo, copy.io_node, plan);
	if (rc != 0) {
		weir_placement_close(plan);
		return rc;
	}
	*ret = plan;
	return 0;
}

void weir_placement_close(struct weir_placement *plan)
{
	if (plan == NULL)
		return;
	for (int role = 0; role < NR_ROLES; role++) {
		wr_free(plan->cpus[role]);
		wr_free(plan->shared[role]);
	}
	wr_free(plan);
}

uint32_t weir_placement_count(const struct weir_placement *plan, int role)
{
	return role >= 0 && role < NR_ROLES ? plan->nr[role] : 0;
}

int weir_placement_cpu(const struct weir_placement *plan, int role, uint32_t index, uint32_t *ret)
{
	if (index >= weir_placement_count(plan, role))
		return -ENODEV;
	*ret = plan->cpus[role][index];
	return 0;
}

struct text {
	char *buffer;
	size_t bytes, used;
};

static void put(struct text *text, const char *fmt, ...) WEIR_PRINTF(2, 3);
static void put(struct text *text, const char *fmt, ...)
{
	size_t room = text->used < text->bytes ? text->bytes - text->used : 0;
	va_list args;

	va_start(args, fmt);
	text->used +=
		(size_t)vsnprintf(room > 0 ? text->buffer + text->used : NULL, room, fmt, args);
	va_end(args);
}

size_t weir_placement_text(const struct weir_placement *plan, char *buffer, size_t bytes)
{
	static const char *const names[] = {"compute:   ", "io:        ", "background:"};
	struct text text = {.buffer = buffer, .bytes = bytes};
	bool any_shared = false;

	for (int role = 0; role < NR_ROLES; role++) {
		put(&text, "%s", names[role]);
		for (uint32_t i = 0; i < plan->nr[role]; i++) {
			put(&text, " %u%s", plan->cpus[role][i], plan->shared[role][i] ? "*" : "");
			any_shared |= plan->shared[role][i];
		}
		put(&text, "\n");
	}
	if (any_shared)
		put(&text, "* more than one thread\n");
	return text.used;
}
