/* SPDX-License-Identifier: MIT */
/*
 * A GGUF file of any bytes, once as long as they are and once with 64 KiB of data behind them that
 * nobody reads. What is accepted is turned into a model and checked.
 */
#include "fuzz/weights_fuzz.h"

static void one(const uint8_t *data, size_t size, uint64_t file_bytes)
{
	struct wr_table table = {0};
	struct wr_gguf_info info = {0};
	struct weir_error err = {0};
	struct wr_src src;
	int code;

	wr_src_mem(&src, "fuzz", data, size, file_bytes, &err);
	code = wr_gguf_parse(&src, &table, &info);
	must(code != 0 || (info.data_offset <= file_bytes && wr_is_pow2(info.alignment)));
	must(code != 0 || info.version == 2 || info.version == 3);
	must_have_parsed(code, &src, &table, &err, file_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	one(data, size, size);
	one(data, size, size + 65536);
	return 0;
}
