/* SPDX-License-Identifier: MIT */
/*
 * weir bench gemv - the kernels on one core against a plain read of the same memory.
 *
 * What streams from disk must not wait for arithmetic: a kernel is good when it costs
 * no more than reading. Every run of a kernel has a plain read of the same memory just
 * before it; the ratio is between the two.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"
#include "gemv.h"
#include "ui.h"

#define AREA_BYTES ((size_t)256 << 20)
#define MAX_ROWS   (AREA_BYTES / 2 / 2048)

static const char *const variants[] = {"avx512", "avx2", "scalar"};
static const char *const type_names[] = {
	[WR_GEMV_BF16] = "BF16", [WR_GEMV_F16] = "F16", [WR_GEMV_F32] = "F32"};
static const size_t columns[] = {2048, 6144, 12288};

#define NR_VARIANTS (sizeof(variants) / sizeof(variants[0]))
#define NR_TYPES    3
#define NR_COLUMNS  (sizeof(columns) / sizeof(columns[0]))
#define NR_KERNELS  (NR_VARIANTS * (NR_TYPES * NR_COLUMNS + 1))

/* One row of the table. */
struct kernel {
	const struct wr_gemv_ops *ops;
	int type;	/* enum wr_gemv_type, or -1: touch */
	size_t nr_cols; /* 0: touch */
	struct wr_bench_series rate, ratio;
};

struct bench {
	unsigned char *area;
	float *x, *y;
	struct wr_bench_series read;
	struct kernel kernels[NR_KERNELS];
	size_t nr;
	uint64_t sink; /* keeps results alive */
};

static void list_kernels(struct bench *b)
{
	for (size_t v = 0; v < NR_VARIANTS; v++) {
		const struct wr_gemv_ops *ops = wr_gemv_find(variants[v]);

		if (!ops)
			continue;
		for (int type = 0; type < NR_TYPES; type++)
			for (size_t c = 0; c < NR_COLUMNS; c++)
				b->kernels[b->nr++] = (struct kernel){
					.ops = ops, .type = type, .nr_cols = columns[c]};
		b->kernels[b->nr++] = (struct kernel){.ops = ops, .type = -1};
	}
}

/* Bytes a second of a plain sum, by the widest loads every machine has. */
static double read_rate(struct bench *b)
{
	typedef uint64_t pair __attribute__((vector_size(16)));
	const pair *p = (const pair *)(const void *)b->area;
	pair sum[8] = {{0}};
	uint64_t start = wr_ui_now_ns();

	for (size_t i = 0; i < AREA_BYTES / sizeof(pair); i += 8) {
#pragma GCC unroll 8
		for (size_t j = 0; j < 8; j++)
			sum[j] += p[i + j];
	}
	for (size_t j = 0; j < 8; j++)
		b->sink += sum[j][0] + sum[j][1];
	return (double)AREA_BYTES * 1e9 / (double)(wr_ui_now_ns() - start);
}

static double kernel_rate(struct bench *b, const struct kernel *k)
{
	/* The scalar form is there to be right: a sixteenth shows how fast. */
	size_t bytes = k->ops == &wr_gemv_scalar ? AREA_BYTES / 16 : AREA_BYTES;
	uint64_t start = wr_ui_now_ns();

	if (k->type < 0) {
		b->sink += wr_gemv_touch(k->ops, 1, 0, b->area, bytes);
	} else {
		struct wr_gemv_tile tile = {b->area, (enum wr_gemv_type)k->type, 0, k->nr_cols};
		size_t row_bytes = k->nr_cols * wr_gemv_elem_bytes(tile.type);

		tile.nr_rows = bytes / row_bytes;
		bytes = tile.nr_rows * row_bytes;
		k->ops->rows(&tile, b->x, b->y);
		b->sink += wr_gemv_checksum(1, 0, b->y, 1);
	}
	return (double)bytes * 1e9 / (double)(wr_ui_now_ns() - start);
}

static const char *kernel_name(const struct kernel *k, char *text, size_t size)
{
	if (k->type < 0)
		snprintf(text, size, "touch");
	else
		snprintf(text, size, "gemv %s x %zu", type_names[k->type], k->nr_cols);
	return text;
}

static int print_json(const struct bench *b)
{
	json_t *kernels = json_array();
	char name[64];

	for (size_t i = 0; i < b->nr; i++)
		json_array_append_new(
			kernels,
			json_pack("{s:s, s:s, s:o, s:o}", "variant", b->kernels[i].ops->name,
				  "kernel", kernel_name(&b->kernels[i], name, sizeof(name)),
				  "bytes_per_second", wr_bench_json(&b->kernels[i].rate), "of_read",
				  wr_bench_json(&b->kernels[i].ratio)));
	return wr_ui_json_print(json_pack("{s:s, s:o, s:o}", "bench", "gemv",
					  "read_bytes_per_second", wr_bench_json(&b->read),
					  "kernels", kernels));
}

static int print_text(const struct bench *b)
{
	static const struct wr_ui_column cols[] = {{"variant", WR_UI_LEFT},
						   {"kernel", WR_UI_LEFT},
						   {"rate", WR_UI_RIGHT},
						   {"of a plain read", WR_UI_RIGHT}};
	struct wr_ui_table *t = wr_ui_table_open(cols, 4);
	char name[64], rate[WR_UI_TEXT], ratio[WR_BENCH_TEXT];
	int code;

	printf("One core; a plain read of the same memory: %s\n\n",
	       wr_ui_rate(rate, wr_bench_summary(&b->read).median));
	for (size_t i = 0; i < b->nr; i++) {
		const struct kernel *k = &b->kernels[i];

		wr_ui_table_cell(t, "%s", k->ops->name);
		wr_ui_table_cell(t, "%s", kernel_name(k, name, sizeof(name)));
		wr_ui_table_cell(t, "%s", wr_ui_rate(rate, wr_bench_summary(&k->rate).median));
		wr_ui_table_cell(t, "%s", wr_bench_text(ratio, &k->ratio, 2));
	}
	code = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	return code ? wr_ui_fail_code(false, "bench", code, "no memory for the table") : WR_EXIT_OK;
}

static int run(struct bench *b, const struct wr_bench_args *args)
{
	list_kernels(b);
	for (uint32_t round = 0; round < args->rounds; round++) {
		for (size_t i = 0; i < b->nr; i++) {
			double read = read_rate(b);
			double rate = kernel_rate(b, &b->kernels[i]);

			/* One a round is enough to tell the rate. */
			if (!i)
				wr_bench_add(&b->read, read);
			wr_bench_add(&b->kernels[i].rate, rate);
			wr_bench_add(&b->kernels[i].ratio, rate / read);
			if (wr_ui_interrupted())
				return wr_ui_fail_interrupted(args->json, "bench gemv");
		}
	}
	return args->json ? print_json(b) : print_text(b);
}

int wr_bench_gemv(const struct wr_bench_args *args)
{
	const size_t x_bytes = sizeof(float) * 12288, y_bytes = sizeof(float) * MAX_ROWS;
	const size_t all = AREA_BYTES + x_bytes + y_bytes;
	static struct bench b;
	int status;

	wr_ui_interrupt_init();
	b.area = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (b.area == MAP_FAILED)
		return wr_ui_fail_code(args->json, "bench", -ENOMEM, "no memory for 256 MiB");
	madvise(b.area, all, MADV_HUGEPAGE);
	/* 1.0 in F16, ordinary numbers in the other types; and every page is there. */
	for (size_t i = 0; i < AREA_BYTES; i += 2)
		memcpy(b.area + i, "\x00\x3c", 2);
	b.x = (float *)(void *)(b.area + AREA_BYTES);
	b.y = b.x + 12288;
	memset(b.y, 0, y_bytes);
	wr_gemv_input(b.x, 12288);
	status = run(&b, args);
	munmap(b.area, all);
	return status;
}
