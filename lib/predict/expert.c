/* SPDX-License-Identifier: MIT */
/*
 * Which experts of the next layers will be chosen, from those chosen in the last two.
 *
 * Per layer a count for each expert (the hot list), and for each expert chosen one or two layers
 * before a row of counts of what followed. An expert's score is the logarithm of its share in the
 * hot list, plus, for each row, how much more often than by that share it followed:
 *
 *	log h(e) + w * sum over i ( log(1 + c(i,e) / (2 h(e))) - log(1 + n(i) / 2) )
 *
 * which is naive Bayes with smoothed counts; w, below 1, makes up for rows that say the same
 * thing. The first logarithm is kept as a byte per cell, brought up to date when its count
 * changes, so a score is a sum of bytes and the loops are plain enough for the compiler's vector
 * instructions. Logarithms are in eighths of a bit.
 *
 * A score is no probability: scores fall into classes, and how often the experts of a class were
 * chosen is counted, for one layer ahead, two layers ahead and the hot list apart. Counts are
 * halved when a row or layer was visited often enough, so they follow a change of subject. A layer
 * in which many experts are chosen at once (a prompt) feeds the hot list only.
 *
 * Measured on a trace of Qwen3-30B-A3B against the mean of the rows' shares, smoothed alike:
 * recall of the best k .62 to .55. The same layer's choice for the token before was tried as a
 * third kind of row: +.001, not worth its memory.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "predict/sources.h"

#define MAX_SET	     32u /* a layer with more chosen is no choice */
#define NR_CLASSES   64u
#define BINS_A_CLASS 2u
#define NR_BINS	     (NR_CLASSES * BINS_A_CLASS) /* of the scores, to sort by */
#define LOWEST	     (-160)
#define WEIGHT_NEAR \
	128u /* of a row one layer before, with another two before; in 1/256 at 6 rows */
#define WEIGHT_FAR 77u
#define WEIGHT_ONE 154u /* of either kind alone */

enum { NEAR, FAR, HOT, NR_REACHES };

struct choice {
	uint32_t layer;
	uint32_t nr; /* MAX_SET + 1: too many to tell */
	uint16_t experts[MAX_SET];
};

/* What followed @back layers after: [layer that followed][expert chosen][expert that followed]. */
struct table {
	uint16_t *counts;
	uint8_t *lifts;
	uint16_t *visits; /* [layer][expert chosen] */
};

struct wr_experts {
	uint32_t nr_layers;
	uint32_t nr_experts;
	uint32_t width; /* nr_experts rounded up to whole vectors */
	uint32_t nr_ahead;
	uint32_t halve_at;
	uint32_t typical; /* experts chosen in a layer */
	uint64_t nr_closed;
	uint32_t *items;   /* [layer][expert], + 1 */
	uint16_t *hot;	   /* [layer][width] */
	uint8_t *hot_logs; /* [layer][width] */
	uint16_t *visits;  /* [layer] */
	struct table back[2];
	struct choice past[3]; /* the newest, still open, first */
	struct wr_recur recur;
	struct wr_tally classes[NR_REACHES][NR_CLASSES];
	uint32_t probs[NR_REACHES][NR_CLASSES]; /* from the tallies; the surest last */
	struct wr_judged judged[2];		/* by context, by the hot list */
	int16_t scores[WR_PREDICT_MAX];
	struct wr_guesses ahead[2]; /* one layer, two */
};

/* Vectors as both compilers have them: what one instruction of any x86-64 or arm64 takes. */
typedef uint8_t bytes8 __attribute__((vector_size(8)));
typedef uint16_t words8 __attribute__((vector_size(16)));
typedef int16_t shorts8 __attribute__((vector_size(16)));

#define LANES 8u

static uint32_t width_of(uint32_t nr_experts)
{
	return (uint32_t)wr_align_up(nr_experts, 16);
}

uint64_t wr_experts_bytes(uint32_t nr_layers, uint32_t nr_experts)
{
	uint64_t width = width_of(nr_experts);
	uint64_t rows = (uint64_t)nr_layers * nr_experts;

	return sizeof(struct wr_experts) + rows * sizeof(uint32_t) +
	       nr_layers * (width * 3 + sizeof(uint16_t)) +
	       2 * rows * (width * 3 + sizeof(uint16_t)) +
	       wr_recur_bytes(nr_layers, (uint32_t)width);
}

static int open_tables(struct wr_experts *x)
{
	size_t rows = (size_t)x->nr_layers * x->nr_experts;

	x->items = wr_calloc(rows, sizeof(*x->items));
	x->hot = wr_calloc((size_t)x->nr_layers * x->width, sizeof(*x->hot));
	x->hot_logs = wr_calloc(x->nr_layers, x->width);
	x->visits = wr_calloc(x->nr_layers, sizeof(*x->visits));
	if (!x->items || !x->hot || !x->hot_logs || !x->visits)
		return -ENOMEM;
	for (uint32_t i = 0; i < 2; i++) {
		struct table *t = &x->back[i];

		t->counts = wr_calloc(rows * x->width, sizeof(*t->counts));
		t->lifts = wr_calloc_aligned(WR_CACHE_LINE, rows * x->width);
		t->visits = wr_calloc(rows, sizeof(*t->visits));
		if (!t->counts || !t->lifts || !t->visits)
			return -ENOMEM;
	}
	return wr_recur_init(&x->recur, x->nr_layers, x->width);
}

/* The bins of all scores of a layer, as bin_of(). */
static void find_bins(const struct wr_experts *x, uint8_t *ret)
{
	for (uint32_t e = 0; e < x->width; e += LANES) {
		shorts8 bin;
		bytes8 b;

		memcpy(&bin, &x->scores[e], sizeof(bin));
		bin -= LOWEST;
		bin = bin / 2 & ~(bin < 0);
		bin = (bin & (bin < (int16_t)NR_BINS)) |
		      ((int16_t)(NR_BINS - 1) & (bin >= (int16_t)NR_BINS));
		b = __builtin_convertvector(bin, bytes8);
		memcpy(&ret[e], &b, sizeof(b));
	}
}

static uint32_t bin_of(int32_t score)
{
	return (uint32_t)wr_min(wr_max(score - LOWEST, 0) / 2, (int32_t)NR_BINS - 1);
}

static uint32_t class_of(int32_t score)
{
	return bin_of(score) / BINS_A_CLASS;
}

/* The odds a score stands for, if its rows were independent: a start, soon outvoted. */
static uint32_t prior_of(uint32_t class)
{
	int32_t bits = ((int32_t) class * 4 + LOWEST) / 8;
	uint64_t odds = bits < 0 ? 65536u >> wr_min(-bits, 16) : (uint64_t)65536 << bits;

	return (uint32_t)(odds * 65536 / (odds + 65536));
}

/*
 * How probable each class is. A better score is not less probable; where it was seen to be, that
 * was chance.
 */
static void update_probs(struct wr_experts *x, uint32_t reach)
{
	uint32_t below = WR_PREDICT_SURE;

	for (uint32_t c = NR_CLASSES; c-- > 0;) {
		below = wr_min(below, wr_tally_prob(&x->classes[reach][c], prior_of(c)));
		x->probs[reach][c] = below;
	}
}

int wr_experts_open(uint32_t nr_layers, uint32_t nr_experts, uint32_t nr_ahead, uint32_t halve_at,
		    struct wr_experts **ret)
{
	struct wr_experts *x = wr_calloc(1, sizeof(*x));
	int rc;

	if (!x)
		return -ENOMEM;
	x->nr_layers = nr_layers;
	x->nr_experts = nr_experts;
	x->width = width_of(nr_experts);
	x->nr_ahead = nr_ahead;
	x->halve_at = halve_at;
	for (uint32_t i = 0; i < wr_array_size(x->past); i++)
		x->past[i].layer = WR_PREDICT_NONE;
	rc = open_tables(x);
	if (rc) {
		wr_experts_close(x);
		return rc;
	}
	for (uint32_t i = 0; i < NR_REACHES; i++)
		update_probs(x, i);
	memset(x->hot_logs, (int)wr_log8(2), (size_t)nr_layers * x->width);
	*ret = x;
	return 0;
}

void wr_experts_close(struct wr_experts *x)
{
	if (!x)
		return;
	for (uint32_t i = 0; i < 2; i++) {
		wr_free(x->back[i].counts);
		wr_free(x->back[i].lifts);
		wr_free(x->back[i].visits);
	}
	wr_recur_fini(&x->recur);
	wr_free(x->items);
	wr_free(x->hot);
	wr_free(x->hot_logs);
	wr_free(x->visits);
	wr_free(x);
}

void wr_experts_name(struct wr_experts *x, uint32_t layer, uint32_t expert, uint32_t item)
{
	x->items[(size_t)layer * x->nr_experts + expert] = item + 1;
}

static bool is_choice(const struct choice *c, uint32_t layer)
{
	return c->layer == layer && c->nr && c->nr <= MAX_SET;
}

/* The layer @nr before @layer, in the order of a token. */
static uint32_t layer_before(const struct wr_experts *x, uint32_t layer, uint32_t nr)
{
	return (layer + x->nr_layers * 2 - nr) % x->nr_layers;
}

/* Add the lifts of the rows of @c to @sums; returns how much less likely the visits make all. */
static uint32_t sum_rows(const struct wr_experts *x, const struct table *t, const struct choice *c,
			 uint32_t target, words8 *sums)
{
	uint32_t nr_vectors = x->width / LANES, less = 0;

	for (uint32_t i = 0; i < c->nr; i++) {
		size_t row = (size_t)target * x->nr_experts + c->experts[i];
		const uint8_t *lifts = &t->lifts[row * x->width];

		if (!t->visits[row])
			continue;
		less += wr_log8(t->visits[row] + 2u) - 8;
		for (uint32_t v = 0; v < nr_vectors; v++) {
			bytes8 b;

			memcpy(&b, &lifts[v * LANES], sizeof(b));
			sums[v] += __builtin_convertvector(b, words8);
		}
	}
	return less;
}

/*
 * Add @weight/64 of the mean of what the rows of @c say about the experts of @target. A sum is
 * at most 255 nr, a weight at most 228/nr: the product fits 16 bits.
 */
static void add_rows(const struct wr_experts *x, const struct table *t, const struct choice *c,
		     uint32_t target, uint32_t weight, int16_t *scores)
{
	words8 sums[WR_PREDICT_MAX / LANES];
	uint32_t w = weight / c->nr;
	uint16_t less;

	memset(sums, 0, x->width * sizeof(uint16_t));
	less = (uint16_t)(sum_rows(x, t, c, target, sums) * w / 64);
	for (uint32_t v = 0; v < x->width / LANES; v++) {
		words8 score;

		memcpy(&score, &scores[v * LANES], sizeof(score));
		score += (sums[v] * (uint16_t)w) >> 6;
		score -= less;
		memcpy(&scores[v * LANES], &score, sizeof(score));
	}
}

/*
 * Score the experts of @target, when @one is what was chosen one layer before it and @two two
 * layers before; either may be NULL. Returns which measurement belongs to the scores.
 */
static uint32_t score(const struct wr_experts *x, uint32_t target, const struct choice *one,
		      const struct choice *two, int16_t *scores)
{
	const uint8_t *logs = &x->hot_logs[(size_t)target * x->width];
	int16_t visits = (int16_t)wr_log8(x->visits[target] * 32u + 32);

	for (uint32_t e = 0; e < x->width; e++)
		scores[e] = (int16_t)(logs[e] - visits);
	if (one && !is_choice(one, layer_before(x, target, 1)))
		one = NULL;
	if (two && !is_choice(two, layer_before(x, target, 2)))
		two = NULL;
	if (one)
		add_rows(x, &x->back[0], one, target, two ? WEIGHT_NEAR : WEIGHT_ONE, scores);
	if (two)
		add_rows(x, &x->back[1], two, target, one ? WEIGHT_FAR : WEIGHT_ONE, scores);
	return one ? NEAR : two ? FAR : HOT;
}

static void judge_scores(struct wr_experts *x, const struct choice *closed, uint32_t reach)
{
	uint8_t tries[NR_CLASSES] = {0}, hits[NR_CLASSES] = {0};
	int16_t best = INT16_MIN;
	uint32_t best_expert = 0;
	bool right = false;

	for (uint32_t e = 0; e < x->nr_experts; e++) {
		tries[class_of(x->scores[e])]++;
		if (x->scores[e] > best) {
			best = x->scores[e];
			best_expert = e;
		}
	}
	for (uint32_t i = 0; i < closed->nr; i++) {
		hits[class_of(x->scores[closed->experts[i]])]++;
		right |= closed->experts[i] == best_expert;
	}
	for (uint32_t c = 0; c < NR_CLASSES; c++)
		if (tries[c])
			wr_tally_add(&x->classes[reach][c], hits[c], tries[c]);
	update_probs(x, reach);
	if (reach != FAR)
		wr_judge(&x->judged[reach == HOT], right);
}

/*
 * Hold what would have been said of the layer that closes against what was chosen in it: always
 * at first, then for one layer of eight, and for all in turn, as each token begins one later.
 */
static void judge_closed(struct wr_experts *x)
{
	const struct choice *closed = &x->past[0];
	uint32_t reach;

	if (x->nr_closed > 512 && (x->nr_closed + x->nr_closed / x->nr_layers) % 8)
		return;
	wr_recur_judge(&x->recur, closed->layer, closed->experts, closed->nr, x->nr_experts);
	reach = score(x, closed->layer, &x->past[1], &x->past[2], x->scores);
	judge_scores(x, closed, reach);
	if (reach == NEAR && x->nr_ahead > 1 &&
	    score(x, closed->layer, NULL, &x->past[2], x->scores) == FAR)
		judge_scores(x, closed, FAR);
}

/* 256 * visits of the layer / (2 * uses of the expert): what a count is multiplied with. */
static uint64_t scale_of(const struct wr_experts *x, uint32_t layer, uint32_t expert)
{
	return (((uint64_t)x->visits[layer] + 1) << 16) * 256 /
	       (x->hot[(size_t)layer * x->width + expert] * 32u + 2);
}

static uint8_t lift_of(uint32_t count, uint64_t scale)
{
	return (uint8_t)wr_min(wr_log8(16 + (count * scale >> 16)) - 32, 255u);
}

static void halve_row(struct wr_experts *x, struct table *t, uint32_t layer, size_t row)
{
	t->visits[row] /= 2;
	for (uint32_t e = 0; e < x->nr_experts; e++) {
		uint16_t *count = &t->counts[row * x->width + e];

		*count /= 2;
		t->lifts[row * x->width + e] = lift_of(*count, scale_of(x, layer, e));
	}
}

static void learn_rows(struct wr_experts *x, struct table *t, const struct choice *from,
		       const struct choice *to)
{
	uint64_t scales[MAX_SET];

	for (uint32_t i = 0; i < to->nr; i++)
		scales[i] = scale_of(x, to->layer, to->experts[i]);
	for (uint32_t f = 0; f < from->nr; f++) {
		size_t row = (size_t)to->layer * x->nr_experts + from->experts[f];

		if (t->visits[row] + 1u >= x->halve_at)
			halve_row(x, t, to->layer, row);
		t->visits[row]++;
		for (uint32_t i = 0; i < to->nr; i++) {
			size_t cell = row * x->width + to->experts[i];

			t->lifts[cell] = lift_of(++t->counts[cell], scales[i]);
		}
	}
}

static void learn_hot(struct wr_experts *x, uint32_t layer, uint32_t expert)
{
	size_t cell = (size_t)layer * x->width + expert;

	wr_recur_chosen(&x->recur, layer, expert);
	if (x->hot[cell] + 1u >= x->halve_at)
		return;
	x->hot[cell]++;
	x->hot_logs[cell] = (uint8_t)wr_log8(x->hot[cell] * 32u + 2);
}

static void visit_layer(struct wr_experts *x, uint32_t layer)
{
	if (x->visits[layer] + 1u >= x->halve_at) {
		x->visits[layer] /= 2;
		for (uint32_t e = 0; e < x->nr_experts; e++) {
			size_t cell = (size_t)layer * x->width + e;

			x->hot[cell] /= 2;
			x->hot_logs[cell] = (uint8_t)wr_log8(x->hot[cell] * 32u + 2);
		}
	}
	x->visits[layer]++;
	wr_recur_visit(&x->recur, layer);
}

/* The layer is done: what was chosen is known, and becomes the past. */
static void close_layer(struct wr_experts *x)
{
	const struct choice *c = &x->past[0];

	if (c->layer != WR_PREDICT_NONE && c->nr <= MAX_SET) {
		judge_closed(x);
		visit_layer(x, c->layer);
		for (uint32_t i = 0; i < c->nr; i++)
			learn_hot(x, c->layer, c->experts[i]);
		if (is_choice(&x->past[1], layer_before(x, c->layer, 1)))
			learn_rows(x, &x->back[0], &x->past[1], c);
		if (is_choice(&x->past[2], layer_before(x, c->layer, 2)))
			learn_rows(x, &x->back[1], &x->past[2], c);
		x->typical = c->nr;
		x->nr_closed++;
	}
	memmove(&x->past[1], &x->past[0], 2 * sizeof(x->past[0]));
	x->past[0].nr = 0;
}

static bool was_chosen(const struct choice *c, uint32_t expert)
{
	for (uint32_t i = 0; i < wr_min(c->nr, MAX_SET); i++)
		if (c->experts[i] == expert)
			return true;
	return false;
}

/* The row that the next forecast adds; two lines are most of a row. */
static void fetch_row(const struct wr_experts *x, const struct table *t, uint32_t target,
		      uint32_t expert)
{
	const uint8_t *row = &t->lifts[((size_t)target * x->nr_experts + expert) * x->width];

	__builtin_prefetch(row);
	__builtin_prefetch(row + WR_CACHE_LINE);
}

/* What learn_rows() will need when the layer is done: better asked of memory now than then. */
static void fetch_cells(const struct wr_experts *x, const struct table *t,
			const struct choice *from, uint32_t layer, uint32_t expert)
{
	for (uint32_t f = 0; f < wr_min(from->nr, MAX_SET); f++) {
		size_t row = (size_t)layer * x->nr_experts + from->experts[f];

		__builtin_prefetch(&t->counts[row * x->width + expert], 1);
	}
}

void wr_experts_observe(struct wr_experts *x, uint32_t layer, uint32_t expert)
{
	struct choice *c = &x->past[0];

	if (c->layer != layer || (c->nr <= MAX_SET && was_chosen(c, expert)))
		close_layer(x);
	c->layer = layer;
	fetch_row(x, &x->back[0], (layer + 1) % x->nr_layers, expert);
	fetch_row(x, &x->back[1], (layer + 2) % x->nr_layers, expert);
	fetch_cells(x, &x->back[0], &x->past[1], layer, expert);
	fetch_cells(x, &x->back[1], &x->past[2], layer, expert);
	if (c->nr < MAX_SET) {
		c->experts[c->nr++] = (uint16_t)expert;
		return;
	}
	/* Too many to be a choice: a visit that is counted for the hot list. */
	if (c->nr == MAX_SET) {
		visit_layer(x, layer);
		for (uint32_t i = 0; i < MAX_SET; i++)
			learn_hot(x, layer, c->experts[i]);
	}
	c->nr = MAX_SET + 1;
	learn_hot(x, layer, expert);
}

/* Those of a layer that are probable enough, the best score first. */
static void guess_layer(struct wr_experts *x, uint32_t reach, uint32_t target, uint32_t distance,
			uint32_t min_prob, struct wr_guesses *ret)
{
	const uint32_t *items = &x->items[(size_t)target * x->nr_experts];
	uint8_t found[WR_PREDICT_MAX] = {0}, bins[WR_PREDICT_MAX];
	uint16_t nr[NR_BINS] = {0};
	uint32_t nr_found = 0, at = 0, lowest = 0;

	while (lowest < NR_CLASSES && x->probs[reach][lowest] < min_prob)
		lowest++;
	find_bins(x, bins);
	/* Without a branch, which would be guessed wrong as often as not. */
	for (uint32_t e = 0; e < x->nr_experts; e++) {
		found[nr_found] = (uint8_t)e;
		nr_found += (bins[e] >= lowest * BINS_A_CLASS) & (items[e] != 0);
	}
	for (uint32_t i = 0; i < nr_found; i++)
		nr[bins[found[i]]]++;
	/* Counts become the places where each bin begins. */
	for (uint32_t b = NR_BINS; b-- > lowest * BINS_A_CLASS;) {
		at += nr[b];
		nr[b] = (uint16_t)(at - nr[b]);
	}
	for (uint32_t i = 0; i < nr_found; i++)
		ret->v[nr[bins[found[i]]]++] =
			(struct wr_guess){.item = items[found[i]] - 1,
					  .prob = x->probs[reach][bins[found[i]] / BINS_A_CLASS],
					  .distance = distance};
	ret->nr = nr_found;
}

/* Both are sorted, @b is farther. */
static void merge(const struct wr_guesses *a, const struct wr_guesses *b, uint32_t max,
		  struct wr_guesses *ret)
{
	uint32_t i = 0, j = 0, nr = 0;

	while (nr < max && (i < a->nr || j < b->nr)) {
		if (j == b->nr || (i < a->nr && a->v[i].prob >= b->v[j].prob))
			ret->v[nr++] = a->v[i++];
		else
			ret->v[nr++] = b->v[j++];
	}
	ret->nr = nr;
}

void wr_experts_guess(struct wr_experts *x, uint32_t min_prob, uint32_t max, struct wr_guesses *ret,
		      struct wr_guesses *hot)
{
	static const struct wr_guesses none;
	const struct choice *now = &x->past[0];
	uint32_t left, middle, reach[2] = {HOT, HOT};

	ret->nr = 0;
	hot->nr = 0;
	if (now->layer == WR_PREDICT_NONE)
		return;
	/* Of a layer's experts, which come in any order, the one in the middle. */
	middle = (x->typical + 1) / 2 + !x->typical;
	left = x->typical > now->nr ? x->typical - now->nr : 0;
	for (uint32_t ahead = 0; ahead < x->nr_ahead; ahead++) {
		uint32_t target = (now->layer + ahead + 1) % x->nr_layers;

		reach[ahead] = ahead ? score(x, target, NULL, now, x->scores)
				     : score(x, target, now, &x->past[1], x->scores);
		guess_layer(x, reach[ahead], target, left + middle + ahead * x->typical, min_prob,
			    &x->ahead[ahead]);
	}
	merge(reach[0] != HOT ? &x->ahead[0] : &none,
	      x->nr_ahead > 1 && reach[1] != HOT ? &x->ahead[1] : &none, max, ret);
	merge(reach[0] == HOT ? &x->ahead[0] : &none,
	      x->nr_ahead > 1 && reach[1] == HOT ? &x->ahead[1] : &none, max, hot);
}

uint32_t wr_experts_recur(const struct wr_experts *x, uint32_t min_prob, struct wr_guess *ret)
{
	const struct choice *left = &x->past[1];
	uint8_t classes[WR_PREDICT_MAX];
	uint32_t passed = x->past[0].nr + x->typical / 2, turn = x->nr_layers * x->typical, nr = 0;
	const uint32_t *items;

	if (left->layer == WR_PREDICT_NONE || left->layer == x->past[0].layer)
		return 0;
	items = &x->items[(size_t)left->layer * x->nr_experts];
	wr_recur_classes(&x->recur, left->layer, x->nr_experts, classes);
	for (uint32_t e = 0; e < x->nr_experts; e++) {
		uint32_t prob = x->recur.probs[classes[e]];

		ret[nr] = (struct wr_guess){.item = items[e] - 1,
					    .prob = prob,
					    .distance = turn - wr_min(passed, turn)};
		nr += (prob >= min_prob) & (items[e] != 0);
	}
	return nr;
}

const struct wr_judged *wr_experts_judged(const struct wr_experts *x, bool hot)
{
	return &x->judged[hot];
}
