/* SPDX-License-Identifier: MIT */
/*
 * A topology as this module keeps it: flat arrays, copied out of hwloc once, constant after that.
 * Only discover.c knows hwloc; plans are made from the arrays alone.
 */
#ifndef WR_TOPO_MACHINE_H
#define WR_TOPO_MACHINE_H

#include <weir/topo.h>

struct weir_topo {
	struct weir_topo_counts counts; /* [const] */
	uint32_t io_cpu;		/* [const] */
	struct weir_topo_cpu *cpus;	/* [const] by package, core, sibling */
	struct weir_topo_node *nodes;	/* [const] */
};

/* Fill @topo, which is zero, from where @opts says. On failure what is filled is freed by close. */
int wr_topo_discover(struct weir_topo *topo, const struct weir_topo_opts *opts,
		     struct weir_error *err);

#endif /* WR_TOPO_MACHINE_H */
