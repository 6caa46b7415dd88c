/* SPDX-License-Identifier: MIT */
/*
 * A GGUF file of any bytes, once as long as they are and once with 64 KiB of data behind them that
 * nobody reads. What is accepted is turned into a model and checked.
 */
#include "fuzz/weights_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one(const uint8_t *data, size_t size, uint64_t file_bytes)
{
	struct wr_table table = {0};
	struct wr_gguf_info info = {0};
	struct weir_error err = {0};
	struct wr_src src;
	int code;

	wr_src_mem(&src, "fuzz", data, size, file_bytes, &err);
	code = wr_gguf_parse(&src, &table, &info);
	if (code == 0) {
		must(info.data_offset <= file_bytes);
		must(info.version == 2 || info.version == 3);
		must(wr_is_pow2(info.alignment));
		use_table(&table, file_bytes);
	} else {
		must_error(code, &err, file_bytes);
		wr_table_fini(&table);
	}
	wr_src_fini(&src);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	one(data, size, size);
	one(data, size, size + 65536);
	return 0;
}
