/* SPDX-License-Identifier: MIT */
/*
 * Tables of which tokens use rows, as an embedding: which rows, drawn by the law of Zipf as words
 * of a language are, and how they come.
 */
#include "turns_internal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/util.h"

/* Rows of a table that are in memory at least: as many as are read at a time, twice. */
#define LEAST_ROWS 128u
/* What is read around a row, at most. */
#define AROUND ((uint64_t)2 * 4096)
/* Of the budget, what they may take beyond that. */
#define BUDGET_PART 64u

static uint64_t draw(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* Exponent 1: the logarithm of the rank is even. Neighbours in rank are not neighbours in the table. */
static uint64_t draw_row(uint64_t *state, uint64_t nr_rows)
{
	double u = (double)(draw(state) >> 11) / 9007199254740992.0;
	uint64_t rank = (uint64_t)exp(u * log((double)nr_rows + 1)) - 1;

	return wr_min(rank, nr_rows - 1) * 0x9e3779b1u % nr_rows;
}

int wr_turns_rows_find(const struct wr_turns *t, const struct weir_model *model,
		       struct wr_turns_tables *ret, struct weir_error *err)
{
	*ret = (struct wr_turns_tables){.random = t->seed};
	for (uint32_t i = 0; i < weir_model_nr_tensors(model); i++) {
		const struct weir_tensor *tensor = weir_model_tensor(model, i);

		if (weir_plan_rule(&t->arm.plan, tensor) != WEIR_TENSOR_ROWS)
			continue;
		if (!tensor->nr_rows || weir_tensor_experts(tensor) ||
		    ret->nr == WR_TURNS_MAX_TABLES)
			return wr_error_set(err, -EINVAL, t->arm.path, WEIR_OFFSET_NONE,
					    "%s cannot be read by rows: %s", tensor->name,
					    weir_tensor_experts(tensor) ? "it holds experts"
					    : tensor->nr_rows		? "there are too many such"
									: "it has none");
		ret->tensors[ret->nr++] = tensor;
		ret->least_bytes +=
			LEAST_ROWS * wr_align_up(tensor->row_bytes + AROUND, (uint64_t)4096);
		ret->table_bytes += tensor->bytes;
	}
	ret->most_rows = wr_max(t->nr_prompt, 1u);
	return 0;
}

uint64_t wr_turns_rows_bytes(const struct wr_turns_tables *s, uint64_t budget_bytes)
{
	return s->nr ? wr_max(s->least_bytes, budget_bytes / BUDGET_PART) : 0;
}

int wr_turns_rows_open(struct wr_turns_tables *s, struct weir *weir, const struct weir_model *model,
		       struct weir_error *err)
{
	uint64_t most = 0;
	int rc = 0;

	for (uint32_t i = 0; i < s->nr; i++)
		most = wr_max(most, s->tensors[i]->row_bytes);
	s->numbers = calloc(s->most_rows, sizeof(*s->numbers));
	s->to = calloc(s->most_rows, most + 1);
	if (!s->numbers || !s->to)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory for rows");
	for (uint32_t i = 0; weir && !rc && i < s->nr; i++)
		rc = weir_rows_open(weir, model, s->tensors[i], &s->rows[i], err);
	return rc;
}

void wr_turns_rows_close(struct wr_turns_tables *s)
{
	for (uint32_t i = 0; i < s->nr; i++)
		weir_rows_close(s->rows[i]);
	free(s->numbers);
	free(s->to);
}

int wr_turns_rows_draw(struct wr_turns_tables *s, uint32_t table, uint32_t nr,
		       struct weir_error *err)
{
	const struct weir_tensor *tensor = s->tensors[table];

	for (uint32_t i = 0; i < nr; i++)
		s->numbers[i] = draw_row(&s->random, tensor->nr_rows);
	return s->rows[table] ? weir_rows_get(s->rows[table], s->numbers, nr, s->to, err) : 0;
}

struct weir_view wr_turns_rows_view(const struct wr_turns_tables *s, uint32_t table, uint32_t i,
				    const void *base)
{
	const struct weir_tensor *tensor = s->tensors[table];
	const char *data = base ? (const char *)base + s->numbers[i] * tensor->row_bytes
				: s->to + i * tensor->row_bytes;

	return (struct weir_view){.tensor = tensor,
				  .first_row = s->numbers[i],
				  .nr_rows = 1,
				  .data = data,
				  .bytes = tensor->row_bytes};
}

void wr_turns_rows_note(const struct wr_turns_tables *s, struct wr_turns_rows *ret)
{
	*ret = (struct wr_turns_rows){.nr_tables = s->nr, .table_bytes = s->table_bytes};
	for (uint32_t i = 0; i < s->nr; i++) {
		struct weir_rows_info info;

		ret->row_bytes = wr_max(ret->row_bytes, s->tensors[i]->row_bytes);
		if (!s->rows[i])
			continue;
		weir_rows_info(s->rows[i], &info);
		ret->nr_got += info.nr_got;
		ret->nr_read += info.nr_read;
		ret->read_bytes += info.read_bytes;
	}
}
