/* SPDX-License-Identifier: MIT */
/*
 * weir bench pool - the pool against packaged allocators, beside the bar set for each number.
 *
 * A round runs every case with every arm, each round beginning with another arm; ratios are
 * formed within a round. The arm "again" is weir in a second pool: its ratio to the first
 * says how much of any other ratio is noise.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_pool.h"
#include "ui.h"

#define TENSOR_ROUNDS 1000
#define COMPACT_BYTES ((size_t)1 << 30)

/* Bars: nanoseconds of @who in @way / those of @versus in @base_way, at most @bar. */
struct claim {
	enum wr_pb_who who;
	enum wr_pb_way way;
	enum wr_pb_size size;
	enum wr_pb_who versus;
	enum wr_pb_way base_way;
	double bar; /* 0: none, only shown */
};

/* clang-format off */
#define SAME_WAY(who, way, size, versus, bar) \
	{WR_PB_##who, WR_PB_##way, WR_PB_##size, WR_PB_##versus, WR_PB_##way, bar}
#define TWO_AS_ONE(size) {WR_PB_WEIR, WR_PB_TWO, WR_PB_##size, WR_PB_WEIR, WR_PB_ONE, 1.3}

static const struct claim claims[] = {
	SAME_WAY(WEIR, PAIR, 4K, TCMALLOC, 1.0),
	SAME_WAY(COPY, PAIR, 4K, TCMALLOC, 1.0),
	SAME_WAY(FRONT, PAIR, 4K, TCMALLOC, 1.0),
	SAME_WAY(WEIR, PAIR, 64K, TCMALLOC, 1.0),
	SAME_WAY(COPY, PAIR, 64K, TCMALLOC, 1.0),
	SAME_WAY(FRONT, PAIR, 64K, TCMALLOC, 1.0),
	SAME_WAY(WEIR, PAIR, 1M, TCMALLOC, 0.25),
	SAME_WAY(WEIR, PAIR, 1M, MIMALLOC, 0.06),
	SAME_WAY(WEIR, PAIR, 1M, JEMALLOC, 0.06),
	SAME_WAY(WEIR, PAIR, MIX, MIMALLOC, 0.6),
	SAME_WAY(WEIR, PAIR, MIX, TCMALLOC, 1.2),
	TWO_AS_ONE(4K),
	TWO_AS_ONE(64K),
	TWO_AS_ONE(1M),
	TWO_AS_ONE(MIX),
	SAME_WAY(WEIR, FLOW, 4K, TCMALLOC, 0.5),
	SAME_WAY(WEIR, FLOW, 4K, JEMALLOC, 0.3),
	SAME_WAY(WEIR, FLOW, 64K, TCMALLOC, 0.5),
	SAME_WAY(WEIR, FLOW, 64K, JEMALLOC, 0.3),
	SAME_WAY(WEIR, FLOW, 1M, TCMALLOC, 0.5),
	SAME_WAY(WEIR, FLOW, 1M, JEMALLOC, 0.3),
	SAME_WAY(WEIR, FLOW, MIX, TCMALLOC, 0.5),
	SAME_WAY(WEIR, FLOW, MIX, JEMALLOC, 0.3),
	SAME_WAY(WEIR, PAIR, 4K, NULL, 0),
	SAME_WAY(WEIR, PAIR, 64K, NULL, 0),
	SAME_WAY(WEIR, PAIR, 1M, NULL, 0),
	SAME_WAY(WEIR, PAIR, MIX, NULL, 0),
	SAME_WAY(WEIR, TWO, 4K, NULL, 0),
	SAME_WAY(WEIR, TWO, MIX, NULL, 0),
	SAME_WAY(WEIR, FLOW, 4K, NULL, 0),
	SAME_WAY(WEIR, FLOW, 64K, NULL, 0),
	SAME_WAY(WEIR, FLOW, 1M, NULL, 0),
	SAME_WAY(WEIR, FLOW, MIX, NULL, 0),
};
/* clang-format on */
#define NR_CLAIMS (sizeof(claims) / sizeof(claims[0]))

static const struct {
	size_t bytes;
	const char *name;
} compact_blocks[] = {{65536, "64 KiB"}, {4096, "4 KiB"}};
#define NR_COMPACTS 2
_Static_assert(sizeof(compact_blocks) / sizeof(compact_blocks[0]) == NR_COMPACTS, "one each");

struct results {
	struct wr_pb_arm arms[WR_PB_ARMS];
	struct wr_bench_series ns[WR_PB_WAYS][WR_PB_SIZES][WR_PB_ARMS];
	struct wr_bench_series ratio[NR_CLAIMS];
	uint32_t nr_threaded, nr_disturbed;
	struct wr_pb_loads loads;
	struct wr_pb_tensors waste, churn;
	struct wr_pb_compact compact[NR_COMPACTS];
};

/* ---- running ---- */

static int run_threaded(struct results *res, uint32_t round, enum wr_pb_size size,
			double now[WR_PB_WAYS][WR_PB_ARMS])
{
	for (int way = WR_PB_ONE; way <= WR_PB_FLOW; way++) {
		for (uint32_t k = 0; k < WR_PB_ARMS; k++) {
			uint32_t i = (round + k) % WR_PB_ARMS;
			int rc;

			now[way][i] = NAN;
			if (!res->arms[i].is_there)
				continue;
			rc = wr_pb_threads(&res->arms[i], size, (enum wr_pb_way)way, &now[way][i]);
			if (rc)
				return rc;
			res->nr_threaded++;
			res->nr_disturbed += isnan(now[way][i]);
		}
	}
	return 0;
}

static void keep(struct results *res, enum wr_pb_size size, double now[WR_PB_WAYS][WR_PB_ARMS])
{
	for (int way = 0; way < WR_PB_WAYS; way++)
		for (int i = 0; i < WR_PB_ARMS; i++)
			if (!isnan(now[way][i]))
				wr_bench_add(&res->ns[way][size][i], now[way][i]);
	for (size_t c = 0; c < NR_CLAIMS; c++) {
		const struct claim *cl = &claims[c];
		double ratio = now[cl->way][cl->who] / now[cl->base_way][cl->versus];

		if (cl->size == size && !isnan(ratio))
			wr_bench_add(&res->ratio[c], ratio);
	}
}

static int run_rounds(struct results *res, uint32_t rounds)
{
	double now[WR_PB_WAYS][WR_PB_ARMS];

	for (uint32_t r = 0; r < rounds; r++) {
		for (int size = 0; size < WR_PB_SIZES; size++) {
			int rc;

			if (wr_ui_interrupted())
				return -EINTR;
			rc = wr_pb_pairs(res->arms, (enum wr_pb_size)size, now[WR_PB_PAIR]);
			if (!rc)
				rc = run_threaded(res, r, (enum wr_pb_size)size, now);
			if (rc)
				return rc;
			keep(res, (enum wr_pb_size)size, now);
		}
	}
	return 0;
}

static int run_all(struct results *res, uint32_t rounds, struct weir_error *err)
{
	int rc = wr_pb_arms_open(res->arms, err);

	if (rc)
		return rc;
	*err = (struct weir_error){.offset = WEIR_OFFSET_NONE};
	rc = run_rounds(res, rounds);
	for (int i = 0; i < WR_PB_ARMS; i++) {
		weir_pool_close(res->arms[i].pool);
		res->arms[i].pool = NULL;
	}
	if (!rc)
		rc = wr_pb_loads(rounds, &res->loads, err);
	for (int i = 0; i < NR_COMPACTS && !rc; i++)
		rc = wr_pb_compact(COMPACT_BYTES, compact_blocks[i].bytes, rounds, &res->compact[i],
				   err);
	if (!rc)
		rc = wr_pb_tensors("qwen3-vl-8b", 0, &res->waste, err);
	if (!rc)
		rc = wr_pb_tensors("qwen3-vl-2b", TENSOR_ROUNDS, &res->churn, err);
	err->code = rc;
	return rc;
}

/* ---- what is not a ratio of nanoseconds ---- */

struct fact {
	char what[64];
	struct wr_bench_series value;
	const char *unit;
	double bar;
	bool at_least; /* the bar is below */
};

#define FACTS_A_COMPACT 4
#define NR_FACTS	(NR_COMPACTS * FACTS_A_COMPACT + 4)

static struct wr_bench_series once(double value)
{
	return (struct wr_bench_series){.nr = 1, .v = {value}};
}

/* The pause: that of a copy, and what it takes to take the block and give it back. */
static void collect_compact(const struct wr_pb_compact *c, const char *blocks, struct fact *facts)
{
	static const char *const what[FACTS_A_COMPACT] = {"free bytes in 2 MiB blocks",
							  "moved / least to move", "rate / memcpy",
							  "pause of a block (99 %) less copy"};

	facts[0] = (struct fact){.value = c->after, .unit = "%", .bar = 95, .at_least = true};
	facts[1] = (struct fact){.value = c->moved, .unit = "", .bar = 1.15};
	facts[2] = (struct fact){.value = c->per_memcpy, .unit = "", .bar = 0.6, .at_least = true};
	facts[3] = (struct fact){.value = c->over_us, .unit = "us", .bar = 5};
	for (int i = 0; i < FACTS_A_COMPACT; i++)
		snprintf(facts[i].what, sizeof(facts[i].what), "compact %s: %s", blocks, what[i]);
}

static void collect_facts(const struct results *res, struct fact facts[static NR_FACTS])
{
	const struct wr_pb_tensors *w = &res->waste, *c = &res->churn;
	struct wr_bench_series nothing = {0};

	for (int i = 0; i < NR_COMPACTS; i++, facts += FACTS_A_COMPACT)
		collect_compact(&res->compact[i], compact_blocks[i].name, facts);
	facts[0] = (struct fact){"metadata / capacity",
				 res->loads.bytes ? once(res->loads.metadata * 100) : nothing, "%",
				 0.25, false};
	facts[1] = (struct fact){"waste over Qwen3-VL-8B's tensors",
				 once(((double)w->used_bytes / (double)w->bytes - 1) * 100), "%", 2,
				 false};
	facts[2] = (struct fact){"1,000 rounds of 2B: regions in pieces",
				 once((double)(c->nr_regions - c->nr_whole)), "", 0, false};
	facts[3] = (struct fact){"1,000 rounds of 2B: growth",
				 once((double)c->grown_bytes / (1 << 20)), "MiB", 1, false};
}

static const char *verdict(bool met)
{
	return met ? "met" : "missed";
}

static bool fact_is_met(const struct fact *f)
{
	double value = wr_bench_summary(&f->value).median;

	return f->at_least ? value >= f->bar : value <= f->bar;
}

static bool is_met(const struct wr_bench_series *ratio, double bar)
{
	return ratio->nr && wr_bench_summary(ratio).median <= bar;
}

/* ---- for people ---- */

static void print_arms(const struct results *res)
{
	for (int i = WR_PB_TCMALLOC; i < WR_PB_ARMS; i++)
		printf("%-9s %s%s\n", res->arms[i].name,
		       res->arms[i].is_there ? "" : "absent: ", res->arms[i].note);
	printf("\n");
}

static int print_ns(const struct results *res)
{
	static const struct wr_ui_column columns[] = {
		{"ns a block", WR_UI_LEFT}, {"weir", WR_UI_RIGHT},     {"again", WR_UI_RIGHT},
		{"copy", WR_UI_RIGHT},	    {"front", WR_UI_RIGHT},    {"tcmalloc", WR_UI_RIGHT},
		{"mimalloc", WR_UI_RIGHT},  {"jemalloc", WR_UI_RIGHT}, {"tbb", WR_UI_RIGHT},
		{"glibc", WR_UI_RIGHT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, sizeof(columns) / sizeof(columns[0]));
	int rc;

	for (int way = 0; way < WR_PB_WAYS; way++) {
		for (int size = 0; size < WR_PB_SIZES; size++) {
			wr_ui_table_cell(t, "%s, %s", wr_pb_way_name((enum wr_pb_way)way),
					 wr_pb_size_name((enum wr_pb_size)size));
			for (int i = 0; i < WR_PB_ARMS; i++) {
				double ns = wr_bench_summary(&res->ns[way][size][i]).median;

				if (isnan(ns))
					wr_ui_table_cell(t, "-");
				else
					wr_ui_table_cell(t, "%.*f", ns < 99.95 ? 1 : 0, ns);
			}
		}
	}
	rc = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	return rc;
}

static void print_claim(struct wr_ui_table *t, const struct results *res, size_t c)
{
	const struct claim *cl = &claims[c];
	char text[WR_BENCH_TEXT];

	wr_ui_table_cell(t, "%s, %s%s%s", wr_pb_way_name(cl->way), wr_pb_size_name(cl->size),
			 cl->who == WR_PB_WEIR ? "" : ", ",
			 cl->who == WR_PB_WEIR ? "" : res->arms[cl->who].name);
	if (cl->base_way == cl->way)
		wr_ui_table_cell(t, "%s", res->arms[cl->versus].name);
	else
		wr_ui_table_cell(t, "own %s", wr_pb_way_name(cl->base_way));
	wr_ui_table_cell(t, "%s", wr_bench_text(text, &res->ratio[c], 3));
	if (cl->bar <= 0)
		wr_ui_table_cell(t, "noise");
	else
		wr_ui_table_cell(t, "<= %.2f", cl->bar);
	wr_ui_table_cell(
		t, "%s",
		cl->bar <= 0 || !res->ratio[c].nr ? "" : verdict(is_met(&res->ratio[c], cl->bar)));
}

static void print_loads(struct wr_ui_table *t, const struct wr_pb_loads *loads)
{
	char text[WR_BENCH_TEXT], size[WR_UI_TEXT];

	wr_ui_table_cell(t, "loads over %s", wr_ui_memory(size, loads->bytes));
	wr_ui_table_cell(t, "4 KiB pages");
	wr_ui_table_cell(t, "%s", wr_bench_text(text, &loads->ratio, 3));
	wr_ui_table_cell(t, "<= 0.50");
	wr_ui_table_cell(t, "%s", verdict(is_met(&loads->ratio, 0.5)));
	if (!loads->limit.nr)
		return;
	wr_ui_table_cell(t, "the same, a huge mapping");
	wr_ui_table_cell(t, "4 KiB pages");
	wr_ui_table_cell(t, "%s", wr_bench_text(text, &loads->limit, 3));
	wr_ui_table_cell(t, "limit");
	wr_ui_table_cell(t, "%s", "");
}

static int print_claims(const struct results *res)
{
	static const struct wr_ui_column columns[] = {{"weir", WR_UI_LEFT},
						      {"against", WR_UI_LEFT},
						      {"ratio", WR_UI_LEFT},
						      {"bar", WR_UI_LEFT},
						      {"", WR_UI_LEFT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, sizeof(columns) / sizeof(columns[0]));
	int rc;

	for (size_t c = 0; c < NR_CLAIMS; c++)
		print_claim(t, res, c);
	if (res->loads.bytes)
		print_loads(t, &res->loads);
	rc = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	return rc;
}

static int print_facts(const struct results *res)
{
	static const struct wr_ui_column columns[] = {
		{"measured", WR_UI_LEFT}, {"", WR_UI_LEFT}, {"bar", WR_UI_LEFT}, {"", WR_UI_LEFT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, sizeof(columns) / sizeof(columns[0]));
	struct fact facts[NR_FACTS];
	char text[WR_BENCH_TEXT];
	int rc;

	collect_facts(res, facts);
	for (size_t i = 0; i < NR_FACTS; i++) {
		bool known = facts[i].value.nr > 0;

		wr_ui_table_cell(t, "%s", facts[i].what);
		wr_ui_table_cell(t, "%s%s%s", wr_bench_text(text, &facts[i].value, 2),
				 *facts[i].unit ? " " : "", known ? facts[i].unit : "");
		wr_ui_table_cell(t, "%s %.2f", facts[i].at_least ? ">=" : "<=", facts[i].bar);
		wr_ui_table_cell(t, "%s", known ? verdict(fact_is_met(&facts[i])) : "");
	}
	rc = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	return rc;
}

static void print_compact(const struct wr_pb_compact *c, const char *blocks)
{
	char before[WR_BENCH_TEXT], rate[WR_BENCH_TEXT], median[WR_BENCH_TEXT], p99[WR_BENCH_TEXT],
		longest[WR_BENCH_TEXT];

	if (c->after.nr)
		wr_ui_say("compact %s: %s %% before, %s GB/s; pause of a block %s us (median), "
			  "%s us (99 %%), %s us (longest)",
			  blocks, wr_bench_text(before, &c->before, 1),
			  wr_bench_text(rate, &c->gb_per_second, 1),
			  wr_bench_text(median, &c->median_us, 1),
			  wr_bench_text(p99, &c->p99_us, 1),
			  wr_bench_text(longest, &c->longest_us, 0));
}

static void print_notes(const struct results *res)
{
	printf("\n");
	for (int i = 0; i < NR_COMPACTS; i++)
		print_compact(&res->compact[i], compact_blocks[i].name);
	if (res->loads.bytes)
		printf("loads: pages %s, %.0f ns a load, %.0f ns in 4 KiB pages, %.0f ns in a huge "
		       "mapping\n",
		       weir_page_kind_name(res->loads.page_kind),
		       wr_bench_summary(&res->loads.pool_ns).median,
		       wr_bench_summary(&res->loads.malloc_ns).median,
		       wr_bench_summary(&res->loads.limit_ns).median);
	else
		printf("loads: not measured, too little memory is available\n");
	if (res->nr_disturbed)
		printf("%u of %u runs with threads were too disturbed to count\n",
		       res->nr_disturbed, res->nr_threaded);
}

static int print_text(const struct results *res)
{
	wr_bench_print_conditions(NULL);
	print_arms(res);
	if (print_ns(res))
		return WR_EXIT_FAILED;
	printf("\n");
	if (print_claims(res))
		return WR_EXIT_FAILED;
	printf("\n");
	if (print_facts(res))
		return WR_EXIT_FAILED;
	print_notes(res);
	return WR_EXIT_OK;
}

/* ---- for programs ---- */

static json_t *json_ns(const struct results *res)
{
	json_t *root = json_array();

	for (int way = 0; way < WR_PB_WAYS; way++)
		for (int size = 0; size < WR_PB_SIZES; size++)
			for (int i = 0; i < WR_PB_ARMS; i++)
				json_array_append_new(
					root, json_pack("{s:s, s:s, s:s, s:o}", "way",
							wr_pb_way_name((enum wr_pb_way)way), "size",
							wr_pb_size_name((enum wr_pb_size)size),
							"arm", res->arms[i].name, "ns",
							wr_bench_json(&res->ns[way][size][i])));
	return root;
}

static json_t *json_claims(const struct results *res)
{
	json_t *root = json_array();

	for (size_t c = 0; c < NR_CLAIMS; c++) {
		const struct claim *cl = &claims[c];

		json_array_append_new(
			root,
			json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "arm",
				  res->arms[cl->who].name, "way", wr_pb_way_name(cl->way), "size",
				  wr_pb_size_name(cl->size), "against", res->arms[cl->versus].name,
				  "against_way", wr_pb_way_name(cl->base_way), "ratio",
				  wr_bench_json(&res->ratio[c]), "bar",
				  cl->bar > 0 ? json_real(cl->bar) : json_null()));
	}
	json_array_append_new(root, json_pack("{s:s, s:o, s:s, s:o, s:o, s:f}", "way", "loads",
					      "bytes", wr_ui_json_u64(res->loads.bytes), "pages",
					      weir_page_kind_name(res->loads.page_kind), "ratio",
					      wr_bench_json(&res->loads.ratio), "limit",
					      wr_bench_json(&res->loads.limit), "bar", 0.5));
	return root;
}

static json_t *json_facts(const struct results *res)
{
	struct fact facts[NR_FACTS];
	json_t *root = json_array();

	collect_facts(res, facts);
	for (size_t i = 0; i < NR_FACTS; i++)
		json_array_append_new(
			root, json_pack("{s:s, s:o, s:s, s:f, s:b}", "what", facts[i].what, "value",
					wr_bench_json(&facts[i].value), "unit", facts[i].unit,
					"bar", facts[i].bar, "at_least", facts[i].at_least));
	return root;
}

static json_t *json_compact(const struct results *res)
{
	json_t *root = json_array();

	for (int i = 0; i < NR_COMPACTS; i++) {
		const struct wr_pb_compact *c = &res->compact[i];

		if (c->after.nr)
			json_array_append_new(
				root, json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
						"blocks", compact_blocks[i].name, "before",
						wr_bench_json(&c->before), "after",
						wr_bench_json(&c->after), "moved",
						wr_bench_json(&c->moved), "gb_per_second",
						wr_bench_json(&c->gb_per_second), "per_memcpy",
						wr_bench_json(&c->per_memcpy), "pause_median_us",
						wr_bench_json(&c->median_us), "pause_p99_us",
						wr_bench_json(&c->p99_us), "pause_longest_us",
						wr_bench_json(&c->longest_us)));
	}
	return root;
}

static int print_json(const struct results *res)
{
	json_t *arms = json_array();

	for (int i = 0; i < WR_PB_ARMS; i++)
		json_array_append_new(arms, json_pack("{s:s, s:b, s:s}", "name", res->arms[i].name,
						      "present", res->arms[i].is_there, "note",
						      res->arms[i].note));
	return wr_ui_json_print(json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:i}", "conditions", wr_bench_conditions(NULL),
		"arms", arms, "ns", json_ns(res), "ratios", json_claims(res), "facts",
		json_facts(res), "compact", json_compact(res), "runs_with_threads",
		(int)res->nr_threaded, "runs_disturbed", (int)res->nr_disturbed));
}

int wr_bench_pool(const struct wr_bench_args *args)
{
	struct results *res;
	struct weir_error err;
	int rc;

	/* Without it one of the peers is absent; that is no reason to stop. */
	if (!wr_pb_has_tls_room())
		(void)wr_pb_exec_with_tls_room("pool", args);
	res = calloc(1, sizeof(*res));
	if (!res)
		return wr_ui_fail_code(args->json, "bench pool", -ENOMEM, "no memory");
	wr_ui_interrupt_init();
	rc = run_all(res, args->rounds, &err);
	if (!rc && args->svg)
		rc = wr_pb_compact_draw(COMPACT_BYTES, args->svg, &err);
	if (rc == -EINTR)
		rc = wr_ui_fail_interrupted(args->json, "bench pool");
	else if (rc)
		rc = wr_ui_fail(args->json, "bench pool", &err);
	else
		rc = args->json ? print_json(res) : print_text(res);
	wr_pb_arms_close(res->arms);
	free(res);
	return rc;
}
