/* SPDX-License-Identifier: MIT */
/*
 * A safetensors file of any bytes, once as long as they are and once with 64 bytes of data behind
 * them that nobody reads: so that small inputs can be right. Not malformed alone: what is accepted
 * is turned into a model and checked.
 */
#include "fuzz/weights_fuzz.h"

static void one(const uint8_t *data, size_t size, uint64_t file_bytes)
{
	struct wr_table table = {0};
	struct weir_error err = {0};
	enum wr_file_kind kind;
	uint64_t at = 0;
	struct wr_src src;
	int code;

	wr_src_mem(&src, "fuzz", data, size, file_bytes, &err);
	must(size < 9 || wr_file_kind(&src, &kind) == 0);
	code = wr_st_parse(&src, &table, &at);
	must(code != 0 || at <= file_bytes);
	must_have_parsed(code, &src, &table, &err, file_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	one(data, size, size);
	one(data, size, size + 64);
	return 0;
}
