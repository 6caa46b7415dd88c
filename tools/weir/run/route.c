/* SPDX-License-Identifier: MIT */
/*
 * route.c - Routings from files and from a generator.
 */
#include "route.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/util.h"
#include "replay_trace.h"
#include "zipf.h"

void wr_route_close(struct wr_route *r)
{
	free(r->visits);
	free(r->experts);
	free(r->layer_bytes);
	*r = (struct wr_route){0};
}

/* Room for one more; doubled as need be. */
static int grow(void **array, uint32_t nr, uint32_t *room, size_t bytes)
{
	uint32_t more = *room ? *room * 2 : 4096;
	void *bigger;

	if (nr < *room)
		return 0;
	if (more > WR_ROUTE_MAX_USES)
		return -EFBIG;
	bigger = realloc(*array, more * bytes);
	if (!bigger)
		return -ENOMEM;
	*array = bigger;
	*room = more;
	return 0;
}

static int add_visit(struct wr_route *r, uint32_t turn, uint32_t step, uint32_t layer)
{
	void *visits = r->visits;
	int rc = grow(&visits, r->nr_visits, &r->room_visits, sizeof(*r->visits));

	if (rc)
		return rc;
	r->visits = visits;
	r->visits[r->nr_visits++] = (struct wr_route_visit){
		.turn = turn, .step = step, .layer = layer, .first = r->nr_uses};
	r->nr_layers = wr_max(r->nr_layers, layer + 1);
	return 0;
}

/* To the last visit. */
static int add_use(struct wr_route *r, uint32_t expert)
{
	void *experts = r->experts;
	int rc = grow(&experts, r->nr_uses, &r->room_uses, sizeof(*r->experts));

	if (rc)
		return rc;
	r->experts = experts;
	r->experts[r->nr_uses++] = (uint16_t)expert;
	r->visits[r->nr_visits - 1].nr++;
	r->nr_experts = wr_max(r->nr_experts, expert + 1);
	return 0;
}

/* ---- files ------------------------------------------------------------------------------------ */

struct reader {
	struct wr_route *r;
	int phase;
	uint64_t last_phase; /* of the last visit */
};

/* The number at *text, which ends at a comma or the end; *text then stands behind that. */
static bool number(char **text, uint64_t *ret)
{
	uint64_t value = 0;
	char *c = *text;

	if (*c < '0' || *c > '9')
		return false;
	for (; *c >= '0' && *c <= '9'; c++)
		if (wr_mul_overflow(value, 10, &value) ||
		    wr_add_overflow(value, (uint64_t)(*c - '0'), &value))
			return false;
	if (*c != ',' && *c)
		return false;
	*text = *c ? c + 1 : c;
	*ret = value;
	return true;
}

static bool skip(char **text)
{
	char *comma = strchr(*text, ',');

	if (!comma)
		return false;
	*text = comma + 1;
	return true;
}

/* "# layer=3 expert_bytes=3059712 ...": 1 when it was one. */
static int parse_head(struct wr_route *r, const char *line)
{
	static const char head[] = "# layer=", size[] = " expert_bytes=";
	char *end;
	unsigned long layer;

	if (strncmp(line, head, sizeof(head) - 1))
		return 0;
	layer = strtoul(line + sizeof(head) - 1, &end, 10);
	if (layer >= WR_ROUTE_MAX_LAYERS || strncmp(end, size, sizeof(size) - 1))
		return 0;
	r->layer_bytes[layer] = strtoull(end + sizeof(size) - 1, NULL, 10);
	return 1;
}

/* turn,phase,step,layer,slot,expert,weight,residency,expert_bytes */
static int parse_line(struct reader *d, char *line)
{
	uint64_t turn, phase, step, layer, expert, slot;
	struct wr_route *r = d->r;
	const struct wr_route_visit *last = r->nr_visits ? &r->visits[r->nr_visits - 1] : NULL;
	bool ok = number(&line, &turn) && number(&line, &phase) && number(&line, &step) &&
		  number(&line, &layer) && number(&line, &slot) && number(&line, &expert) &&
		  skip(&line) && skip(&line);
	int rc = 0;

	if (!ok || turn > UINT32_MAX || step > UINT32_MAX || layer >= WR_ROUTE_MAX_LAYERS ||
	    expert >= WR_ROUTE_MAX_EXPERTS)
		return -EBADMSG;
	if (d->phase == WR_ROUTE_DECODE && phase != 1)
		return 0;
	if (!last || last->turn != turn || last->step != step || last->layer != layer ||
	    d->last_phase != phase)
		rc = add_visit(r, (uint32_t)turn, (uint32_t)step, (uint32_t)layer);
	d->last_phase = phase;
	return rc ? rc : add_use(r, (uint32_t)expert);
}

static int parse(struct wr_trace_lines *lines, const char *name, int phase, struct wr_route *r,
		 struct weir_error *err)
{
	struct reader d = {.r = r, .phase = phase};
	char *line;
	size_t size;
	int rc;

	r->layer_bytes = calloc(WR_ROUTE_MAX_LAYERS, sizeof(*r->layer_bytes));
	if (!r->layer_bytes)
		return wr_error_set(err, -ENOMEM, name, WEIR_OFFSET_NONE,
				    "no memory for a routing");
	while ((rc = wr_trace_lines_next(lines, &line, &size, err)) > 0) {
		if (!size || line[0] == '#' ? parse_head(r, line) >= 0 : line[0] == 't')
			continue;
		rc = parse_line(&d, line);
		if (rc)
			return wr_error_set(err, rc, name, WEIR_OFFSET_NONE,
					    "line %llu: not a line of a routing, or too many",
					    (unsigned long long)wr_trace_lines_number(lines));
	}
	if (!rc && !r->nr_uses)
		return wr_error_set(err, -ENODATA, name, WEIR_OFFSET_NONE, "no expert is used");
	for (uint32_t i = 0; !rc && i < r->nr_layers; i++)
		r->layer_bytes[i] = r->layer_bytes[i] ? r->layer_bytes[i] : (uint64_t)3 << 20;
	return rc;
}

static int finish(struct wr_trace_lines *lines, const char *name, int phase, struct wr_route *ret,
		  struct weir_error *err)
{
	struct wr_route r = {0};
	int rc = parse(lines, name, phase, &r, err);

	wr_trace_lines_close(lines);
	if (rc) {
		wr_route_close(&r);
		return rc;
	}
	*ret = r;
	return 0;
}

int wr_route_open(const char *path, int phase, struct wr_route *ret, struct weir_error *err)
{
	struct wr_trace_lines *lines;
	int rc = wr_trace_lines_open(path, true, &lines, err);

	return rc ? rc : finish(lines, path, phase, ret, err);
}

int wr_route_open_mem(const char *name, const void *data, size_t size, int phase,
		      struct wr_route *ret, struct weir_error *err)
{
	struct wr_trace_lines *lines;
	int rc = wr_trace_lines_open_mem(name, data, size, &lines, err);

	return rc ? rc : finish(lines, name, phase, ret, err);
}

/* ---- generator -------------------------------------------------------------------------------- */

#define NR_FOLLOWERS 1u /* experts of the next layer that one expert tends to */

struct gen {
	struct wr_route_opts o;
	uint64_t random;
	struct wr_zipf popularity;
	uint16_t *ranked; /* [layer][rank] of this turn */
	uint16_t *before; /* [layer][chosen] of the token before */
	uint16_t *chosen; /* of the layer before, then of this one */
	bool has_before;
};

static uint64_t draw(struct gen *g)
{
	return wr_splitmix64(&g->random);
}

static uint32_t draw_below(struct gen *g, uint32_t n)
{
	return wr_random_below(draw(g), n);
}

static uint32_t draw_rank(struct gen *g)
{
	return (uint32_t)wr_zipf_rank(&g->popularity, draw(g));
}

/* A third of each layer's experts change their popularity with the turn. */
static void new_turn(struct gen *g, uint32_t turn)
{
	for (uint32_t l = 0; l < g->o.nr_layers; l++) {
		uint16_t *ranked = &g->ranked[(size_t)l * g->o.nr_experts];

		for (uint32_t e = 0; !turn && e < g->o.nr_experts; e++)
			ranked[e] = (uint16_t)e;
		for (uint32_t i = 0; i < g->o.nr_experts; i++) {
			uint32_t j = draw_below(g, g->o.nr_experts);
			uint16_t kept = ranked[i];

			if (turn && draw_below(g, 3))
				continue;
			ranked[i] = ranked[j];
			ranked[j] = kept;
		}
	}
}

/* Always the same for the same expert: what a network has learnt. */
static uint32_t follower(const struct gen *g, uint32_t layer, uint32_t expert, uint32_t which)
{
	uint64_t z = g->o.seed ^ ((uint64_t)layer << 40 | (uint64_t)expert << 8 | which);

	return wr_random_below(wr_mix64(z), g->o.nr_experts);
}

static uint32_t choose(struct gen *g, uint32_t layer, uint32_t slot)
{
	const struct wr_route_opts *o = &g->o;
	uint32_t why = draw_below(g, 1000);

	if (layer && why < o->follow_permille)
		return follower(g, layer, g->chosen[draw_below(g, o->nr_chosen)],
				draw_below(g, NR_FOLLOWERS));
	if (g->has_before && why >= 1000 - o->stay_permille)
		return g->before[(size_t)layer * o->nr_chosen + slot];
	return g->ranked[(size_t)layer * o->nr_experts + draw_rank(g)];
}

static bool is_among(const uint16_t *experts, uint32_t nr, uint32_t expert)
{
	for (uint32_t i = 0; i < nr; i++)
		if (experts[i] == expert)
			return true;
	return false;
}

static int generate_visit(struct gen *g, struct wr_route *r, uint32_t layer)
{
	uint16_t *now = &g->chosen[g->o.nr_chosen];
	int rc = 0;

	for (uint32_t i = 0; i < g->o.nr_chosen && !rc; i++) {
		uint32_t expert = choose(g, layer, i);

		/* A few more tries, then the next that is free. */
		for (uint32_t t = 0; t < 8 && is_among(now, i, expert); t++)
			expert = choose(g, layer, i);
		while (is_among(now, i, expert))
			expert = (expert + 1) % g->o.nr_experts;
		now[i] = (uint16_t)expert;
		rc = add_use(r, expert);
	}
	memcpy(g->chosen, now, g->o.nr_chosen * sizeof(*now));
	memcpy(&g->before[(size_t)layer * g->o.nr_chosen], now, g->o.nr_chosen * sizeof(*now));
	return rc;
}

static int generate(struct gen *g, struct wr_route *r)
{
	int rc = 0;

	for (uint32_t turn = 0; turn < g->o.nr_turns; turn++) {
		new_turn(g, turn);
		for (uint32_t step = 0; step < g->o.nr_steps; step++) {
			for (uint32_t layer = 0; layer < g->o.nr_layers && !rc; layer++) {
				rc = add_visit(r, turn, step, layer);
				if (!rc)
					rc = generate_visit(g, r, layer);
			}
			g->has_before = true;
		}
	}
	return rc;
}

static uint32_t permille(uint32_t given, uint32_t otherwise)
{
	return given == WR_ROUTE_NEVER ? 0 : given ? given : otherwise;
}

static int fill_opts(const struct wr_route_opts *opts, struct wr_route_opts *o)
{
	*o = *opts;
	o->nr_layers = o->nr_layers ? o->nr_layers : 48;
	o->nr_experts = o->nr_experts ? o->nr_experts : 128;
	o->nr_chosen = o->nr_chosen ? o->nr_chosen : 6;
	o->nr_turns = o->nr_turns ? o->nr_turns : 4;
	o->nr_steps = o->nr_steps ? o->nr_steps : 64;
	o->zipf_permille = permille(o->zipf_permille, 900);
	o->follow_permille = permille(o->follow_permille, 600);
	o->stay_permille = permille(o->stay_permille, 250);
	o->expert_bytes = o->expert_bytes ? o->expert_bytes : (uint64_t)3 << 20;
	if (o->nr_layers > WR_ROUTE_MAX_LAYERS || o->nr_experts > WR_ROUTE_MAX_EXPERTS ||
	    o->nr_chosen > o->nr_experts || o->follow_permille + o->stay_permille > 1000)
		return -EINVAL;
	return 0;
}

static int init_gen(struct gen *g)
{
	const struct wr_route_opts *o = &g->o;

	g->random = o->seed;
	g->ranked = calloc((size_t)o->nr_layers * o->nr_experts, sizeof(*g->ranked));
	g->before = calloc((size_t)o->nr_layers * o->nr_chosen, sizeof(*g->before));
	g->chosen = calloc((size_t)2 * o->nr_chosen, sizeof(*g->chosen));
	if (!g->ranked || !g->before || !g->chosen)
		return -ENOMEM;
	return wr_zipf_init(&g->popularity, o->nr_experts, (double)o->zipf_permille / 1000);
}

int wr_route_generate(const struct wr_route_opts *opts, struct wr_route *ret)
{
	struct wr_route r = {0};
	struct gen g = {0};
	int rc = fill_opts(opts, &g.o);

	if (rc)
		return rc;
	rc = init_gen(&g);
	if (!rc)
		rc = generate(&g, &r);
	if (!rc) {
		r.nr_experts = g.o.nr_experts;
		r.layer_bytes = calloc(r.nr_layers, sizeof(*r.layer_bytes));
		rc = r.layer_bytes ? 0 : -ENOMEM;
	}
	for (uint32_t i = 0; !rc && i < r.nr_layers; i++)
		r.layer_bytes[i] = g.o.expert_bytes;
	wr_zipf_fini(&g.popularity);
	free(g.ranked);
	free(g.before);
	free(g.chosen);
	if (rc) {
		wr_route_close(&r);
		return rc;
	}
	*ret = r;
	return 0;
}
