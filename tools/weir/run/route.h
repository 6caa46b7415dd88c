/* SPDX-License-Identifier: MIT */
/*
 * route.h - Which experts a mixture of experts used: recorded, or generated.
 *
 * A routing is a list of visits: in this step of this turn, this layer used these experts. A
 * recorded one comes from a file of the format "route" of weir-replay(1); a generated one is the
 * same for the same options on every machine.
 */
#ifndef WR_TOOLS_ROUTE_H
#define WR_TOOLS_ROUTE_H

#include <stdint.h>

#include <weir/base.h>

#define WR_ROUTE_MAX_LAYERS  1024u
#define WR_ROUTE_MAX_EXPERTS 65536u
#define WR_ROUTE_MAX_USES    ((uint32_t)1 << 26)

struct wr_route_visit {
	uint32_t turn;
	uint32_t step;
	uint32_t layer;
	uint32_t nr;
	uint32_t first; /* in experts */
};

struct wr_route {
	uint32_t nr_layers; /* one above the greatest */
	uint32_t nr_experts;
	uint32_t nr_visits;
	uint32_t nr_uses; /* experts of all visits */
	struct wr_route_visit *visits;
	uint16_t *experts;
	uint64_t *layer_bytes; /* of an expert of each layer */
	/* private */
	uint32_t room_visits;
	uint32_t room_uses;
};

/* What is read of a file: a prompt uses many experts at once. */
enum wr_route_phase {
	WR_ROUTE_DECODE,
	WR_ROUTE_ALL,
};

/**
 * struct wr_route_opts - A routing to generate. Zero means the default.
 * @nr_layers:    48.
 * @nr_experts:   128.
 * @nr_chosen:    6 of a layer.
 * @nr_turns:     4; a turn has subjects of its own, so other experts are popular in it.
 * @nr_steps:     64 tokens of a turn.
 * @zipf_permille: Exponent of the popularity of a layer's experts; 900.
 * @follow_permille: How often an expert is chosen because of one that the layer before used; 600.
 * @stay_permille: How often because the token before used it; 250.
 * @expert_bytes: 3 MiB.
 * @seed:         Of all that is drawn.
 *
 * To have one of the three permilles at nothing, give WR_ROUTE_NEVER.
 */
struct wr_route_opts {
	uint32_t nr_layers;
	uint32_t nr_experts;
	uint32_t nr_chosen;
	uint32_t nr_turns;
	uint32_t nr_steps;
	uint32_t zipf_permille;
	uint32_t follow_permille;
	uint32_t stay_permille;
	uint64_t expert_bytes;
	uint64_t seed;
};

#define WR_ROUTE_NEVER UINT32_MAX

/**
 * wr_route_open() - Read a recorded routing.
 * @path:  File, plain or compressed as weir-replay(1) says.
 * @phase: enum wr_route_phase.
 * @ret:   Close it with wr_route_close().
 * @err:   Says the line of the fault.
 *
 * Return: 0, -EBADMSG, -EFBIG, -ENODATA, -ENOMEM, -EOPNOTSUPP, or what reading failed with.
 */
int wr_route_open(const char *path, int phase, struct wr_route *ret, struct weir_error *err);

/* The same from memory, for which @name is only a name. */
int wr_route_open_mem(const char *name, const void *data, size_t size, int phase,
		      struct wr_route *ret, struct weir_error *err);

/* 0, -EINVAL, -EFBIG, -ENOMEM. */
int wr_route_generate(const struct wr_route_opts *opts, struct wr_route *ret);

void wr_route_close(struct wr_route *r);

#endif /* WR_TOOLS_ROUTE_H */
