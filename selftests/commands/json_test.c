/* SPDX-License-Identifier: MIT */
/*
 * json_test.c - What each command prints with --json: exactly one object on stdout, nothing on
 * stderr, every member that scripts rely on, of its type, in its manual page, and numbers that agree
 * with each other and with the files.
 */
#include "kselftest_harness.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "commands_help.h"

/* One object, alone, with these members, each of which its page names. */
#define EXPECT_OBJECT(run, page, ...)                                                \
	do {                                                                         \
		const char *const members[] = {__VA_ARGS__, NULL};                   \
		char name[64];                                                       \
                                                                                     \
		ASSERT_EQ((run)->status, 0) TH_LOG("%s", (run)->err);                \
		EXPECT_STREQ((run)->err, "");                                        \
		ASSERT_NE((run)->json, NULL) TH_LOG("%s", (run)->out);               \
		EXPECT_EQ(ct_lacks((run)->json, members), NULL)                      \
		TH_LOG("%s lacks %s", page, ct_lacks((run)->json, members));         \
		EXPECT_FALSE(ct_undocumented((run)->json, page, name, sizeof(name))) \
		TH_LOG("%s does not name %s", page, name);                           \
	} while (0)

FIXTURE(model)
{
	char dir[512];
	struct ct_path path;
	struct wt_run run;
	struct wt_run inspect; /* what the headers say */
};

FIXTURE_VARIANT(model)
{
	enum ct_model kind;
};

FIXTURE_VARIANT_ADD(model, single){
	.kind = CT_SINGLE,
};
FIXTURE_VARIANT_ADD(model, sharded){
	.kind = CT_SHARDED,
};
FIXTURE_VARIANT_ADD(model, gguf){
	.kind = CT_GGUF,
};
FIXTURE_VARIANT_ADD(model, moe){
	.kind = CT_MOE,
};

FIXTURE_SETUP(model)
{
	wt_dir_make(self->dir, sizeof(self->dir), NULL);
	self->path = ct_join(self->dir, ct_model_names[variant->kind]);
	ASSERT_EQ(ct_make(variant->kind, self->path.text), 0);
	ASSERT_EQ(wt_weir(&self->inspect, "inspect", "--json", self->path.text, NULL), 0);
}

FIXTURE_TEARDOWN(model)
{
	wt_run_fini(&self->run);
	wt_run_fini(&self->inspect);
	wt_dir_remove(self->dir);
}

TEST_F(model, inspected)
{
	json_t *root = self->inspect.json, *each;
	uint64_t tensors = 0, groups = 0, nr = 0;
	struct stat st;
	size_t i;

	EXPECT_OBJECT(&self->inspect, "weir-inspect", "path:s", "format:s", "bytes:i",
		      "files.[].path:s", "files.[].bytes:i", "tensors.[].name:s",
		      "tensors.[].dtype:s", "tensors.[].shape:a", "tensors.[].file:s",
		      "tensors.[].offset:i", "tensors.[].bytes:i", "tensors.[].group:s",
		      "tensors.[].slices:i", "tensors.[].expert:in", "tensors.[].position:i",
		      "groups.[].name:s", "groups.[].kind:s", "groups.[].layer:in",
		      "groups.[].tensors:i", "groups.[].bytes:i");
	EXPECT_STREQ(wt_text(root, "format"), variant->kind == CT_GGUF ? "gguf" : "safetensors");
	json_array_foreach(json_object_get(root, "tensors"), i, each)
		tensors += (uint64_t)wt_int(each, "bytes");
	json_array_foreach(json_object_get(root, "groups"), i, each) {
		groups += (uint64_t)wt_int(each, "bytes");
		nr += (uint64_t)wt_int(each, "tensors");
	}
	EXPECT_EQ(tensors, (uint64_t)wt_int(root, "bytes"));
	EXPECT_EQ(groups, (uint64_t)wt_int(root, "bytes"));
	EXPECT_EQ(nr, json_array_size(json_object_get(root, "tensors")));
	json_array_foreach(json_object_get(root, "files"), i, each) {
		ASSERT_EQ(stat(wt_text(each, "path"), &st), 0);
		EXPECT_EQ(st.st_size, wt_int(each, "bytes"));
	}
}

TEST_F(model, loaded)
{
	uint64_t nr = json_array_size(json_object_get(self->inspect.json, "tensors"));
	json_t *root;

	wt_weir(&self->run, "load", "--json", self->path.text, NULL);
	EXPECT_OBJECT(&self->run, "weir-load", "bytes:i", "bytes_read:i", "seconds:r",
		      "bytes_per_second:r", "cpu_seconds:r", "open_seconds:r", "backend:s",
		      "backend_reason:s", "page_kind:s", "page_kind_reason:s",
		      "page_cache_growth_bytes:i", "peak_bytes:i");
	root = self->run.json;
	EXPECT_EQ(wt_int(root, "bytes"), wt_int(self->inspect.json, "bytes"));
	EXPECT_GE(wt_int(root, "bytes_read"), wt_int(root, "bytes"));
	EXPECT_LE(wt_int(root, "bytes_read"), wt_int(root, "bytes") + (int64_t)nr * 8192);
	EXPECT_LT(fabs(wt_real(root, "bytes_per_second") * wt_real(root, "seconds") /
			       (double)wt_int(root, "bytes") -
		       1),
		  1e-6);
	EXPECT_GT(wt_int(root, "peak_bytes"), wt_int(root, "bytes"));
	EXPECT_LT(0, strlen(wt_text(root, "backend_reason")));
}

TEST_F(model, verified)
{
	json_t *root, *each, *known;
	int64_t sum = 0;
	size_t i;

	wt_weir(&self->run, "verify", "--json", self->path.text, NULL);
	EXPECT_OBJECT(&self->run, "weir-verify", "path:s", "bytes:i", "mismatches:i", "seconds:r",
		      "backend:s", "backend_reason:s", "tensors.[].name:s", "tensors.[].bytes:i",
		      "tensors.[].xxh3:s");
	root = self->run.json;
	known = json_object_get(self->inspect.json, "tensors");
	EXPECT_EQ(wt_int(root, "mismatches"), 0);
	EXPECT_EQ(json_array_size(known), json_array_size(json_object_get(root, "tensors")));
	json_array_foreach(json_object_get(root, "tensors"), i, each) {
		sum += wt_int(each, "bytes");
		EXPECT_EQ(strspn(wt_text(each, "xxh3"), "0123456789abcdef"), 16);
		EXPECT_STREQ(wt_text(each, "name"), wt_text(json_array_get(known, i), "name"));
	}
	EXPECT_EQ(sum, wt_int(root, "bytes"));
}

/* What holds of every streamed pass. */
static void expect_passes(struct __test_metadata *_metadata, json_t *root, size_t nr)
{
	json_t *passes = json_object_get(root, "passes"), *each;
	int64_t plan = wt_int(root, "plan_bytes"), resident = wt_int(root, "resident_bytes");
	size_t i;

	EXPECT_EQ(json_array_size(passes), nr);
	json_array_foreach(passes, i, each) {
		EXPECT_EQ(strspn(wt_text(each, "checksum"), "0123456789abcdef"), 16);
		EXPECT_STREQ(wt_text(each, "checksum"), wt_text(passes, "0.checksum"));
		EXPECT_EQ(wt_int(each, "bytes_hit"), i ? resident : 0);
		EXPECT_GE(wt_int(each, "bytes_read") + wt_int(each, "bytes_hit"), plan);
		EXPECT_LE(wt_real(each, "stall_seconds"), wt_real(each, "seconds"));
		EXPECT_LE(wt_real(each, "compute_seconds"), wt_real(each, "seconds"));
	}
}

TEST_F(model, streamed)
{
	int64_t plan, unit, ideal, budget;
	json_t *root;

	wt_weir(&self->run, "stream", "--json", "--passes", "3", "--tile", "16K", "--budget", "60%",
		"--experts", "all", self->path.text, NULL);
	EXPECT_OBJECT(&self->run, "weir-stream", "model.path:s", "model.bytes:i", "model.tensors:i",
		      "model.groups:i", "plan_bytes:i", "unit_bytes:i", "budget_bytes:i",
		      "peak_bytes:i", "backend:s", "backend_reason:s", "page_kind:s",
		      "page_kind_reason:s", "threads:i", "variant:s", "open_seconds:r",
		      "cpu_seconds:r", "resident_bytes:i", "window_bytes:i", "passes.[].seconds:r",
		      "passes.[].bytes_read:i", "passes.[].bytes_hit:i",
		      "passes.[].stall_seconds:r", "passes.[].compute_seconds:r",
		      "passes.[].checksum:s", "ideal_bytes_per_pass:i");
	root = self->run.json;
	plan = wt_int(root, "plan_bytes");
	unit = wt_int(root, "unit_bytes");
	budget = wt_int(root, "budget_bytes");
	EXPECT_STREQ(wt_text(root, "model.path"), self->path.text);
	EXPECT_EQ(wt_int(root, "model.bytes"), wt_int(self->inspect.json, "bytes"));
	EXPECT_EQ(wt_int(root, "model.tensors"),
		  (int64_t)json_array_size(json_object_get(self->inspect.json, "tensors")));
	EXPECT_EQ(wt_int(root, "model.groups"),
		  (int64_t)json_array_size(json_object_get(self->inspect.json, "groups")));
	EXPECT_LT(0, plan);
	EXPECT_GT(wt_int(root, "model.bytes"), plan); /* no vision tower */
	EXPECT_EQ(budget, plan * 6 / 10);
	EXPECT_LE(wt_int(root, "resident_bytes") + wt_int(root, "window_bytes"), budget);
	/* The budget in use is whole pages. */
	ideal = plan - (budget - 2 * unit);
	EXPECT_GE(wt_int(root, "ideal_bytes_per_pass"), ideal);
	EXPECT_LT(wt_int(root, "ideal_bytes_per_pass"), ideal + 4096);
	EXPECT_LT(0, wt_int(root, "threads"));
	expect_passes(_metadata, root, 3);
}

TEST_F(model, streamed_with_the_vision_tower_visits_all_of_it)
{
	wt_weir(&self->run, "stream", "--json", "--passes", "2", "--vision", "--budget", "300%",
		"--experts", "all", self->path.text, NULL);
	ASSERT_NE(self->run.json, NULL);
	EXPECT_EQ(wt_int(self->run.json, "plan_bytes"), wt_int(self->inspect.json, "bytes"));
	EXPECT_EQ(wt_int(self->run.json, "ideal_bytes_per_pass"), 0);
	EXPECT_EQ(wt_int(self->run.json, "window_bytes"), 0);
	EXPECT_EQ(wt_int(self->run.json, "passes.1.bytes_read"), 0);
	expect_passes(_metadata, self->run.json, 2);
}

TEST_F(model, mapped)
{
	wt_weir(&self->run, "stream", "--json", "--passes", "2", "--io", "mmap", "--experts", "all",
		self->path.text, NULL);
	EXPECT_OBJECT(&self->run, "weir-stream", "plan_bytes:i", "budget_bytes:n", "backend:s",
		      "backend_reason:s", "page_kind:s", "ideal_bytes_per_pass:n",
		      "passes.[].checksum:s");
	EXPECT_STREQ(wt_text(self->run.json, "backend"), "mmap");
	EXPECT_STREQ(wt_text(self->run.json, "passes.0.checksum"),
		     wt_text(self->run.json, "passes.1.checksum"));
}

/* ---- commands that one model is enough for ---- */

FIXTURE(single)
{
	char dir[512];
	struct ct_path path;
	struct wt_run run;
};

FIXTURE_SETUP(single)
{
	wt_dir_make(self->dir, sizeof(self->dir), NULL);
	self->path = ct_join(self->dir, "model");
	ASSERT_EQ(ct_make(CT_SINGLE, self->path.text), 0);
}

FIXTURE_TEARDOWN(single)
{
	wt_run_fini(&self->run);
	wt_dir_remove(self->dir);
}

TEST_F(single, made)
{
	struct ct_path path = ct_join(self->dir, "made");
	int64_t bytes = 0, tensors = 0;
	json_t *each;
	struct stat st;
	size_t i;

	for (int dry = 1; dry >= 0; dry--) {
		bytes = tensors = 0;
		wt_weir(&self->run, "mkmodel", "--json", "--model", "2b", "--layers", "1",
			"--vision-blocks", "1", "--shrink", "16", "--vocab", "64", path.text,
			dry ? "--dry-run" : NULL, NULL);
		EXPECT_OBJECT(&self->run, "weir-mkmodel", "model:s", "format:s", "seed:i",
			      "files.[].path:s", "files.[].name:s", "files.[].bytes:i",
			      "files.[].header_bytes:i", "files.[].tensors:i", "bytes:i",
			      "tensors:i", "dry_run:b", "seconds:r", "bytes_per_second:r");
		json_array_foreach(json_object_get(self->run.json, "files"), i, each) {
			bytes += wt_int(each, "bytes");
			tensors += wt_int(each, "tensors");
			EXPECT_EQ(stat(wt_text(each, "path"), &st), dry ? -1 : 0);
			EXPECT_TRUE(dry || st.st_size == wt_int(each, "bytes"));
		}
		EXPECT_EQ(bytes, wt_int(self->run.json, "bytes"));
		EXPECT_EQ(tensors, wt_int(self->run.json, "tensors"));
	}
}

TEST_F(single, examined)
{
	json_t *each;
	size_t i;

	wt_weir(&self->run, "doctor", "--json", self->path.text, NULL);
	EXPECT_OBJECT(&self->run, "weir-doctor", "version:s", "path:s", "machine.kernel:s",
		      "machine.architecture:s", "machine.memory_bytes:i",
		      "machine.memlock_bytes:in", "machine.engine.fixed.works:b",
		      "machine.engine.fixed.reason:sn", "machine.engine.uring.works:b",
		      "machine.engine.pread.works:b", "machine.engine.buffered.works:b",
		      "machine.direct.works:b", "machine.memory_cgroup_version:i", "machine.fio:b",
		      "findings.[].state:s", "findings.[].name:s", "findings.[].found:s",
		      "findings.[].advice:sn", "findings.[].command:sn");
	json_array_foreach(json_object_get(self->run.json, "findings"), i, each)
		EXPECT_NE(strstr("ok note fix", wt_text(each, "state")), NULL);
}

TEST_F(single, benchmarked_loading)
{
	wt_weir(&self->run, "bench", "load", "--json", "--rounds", "1", "--passes", "2",
		self->path.text, NULL);
	/* null: without fio, or where its clock did not tick. */
	EXPECT_OBJECT(&self->run, "weir-bench", "conditions.kernel:s", "conditions.weir:s",
		      "path:s", "backend:s", "page_kind:s", "fio:s", "fio_page_reason:s",
		      "weir_gb_per_second.median:r", "weir_gb_per_second.min:r",
		      "weir_gb_per_second.max:r", "weir_gb_per_second.runs:i",
		      "fio_huge_gb_per_second:on", "fio_default_gb_per_second:on",
		      "weir_per_fio_huge:on", "weir_per_fio_default:on",
		      "weir_cpu_seconds_per_gb:o", "fio_huge_cpu_seconds_per_gb:on", "cpu_ratio:on",
		      "page_cache_growth_percent:o");
	EXPECT_EQ(wt_int(self->run.json, "weir_gb_per_second.runs"), 1);
}

TEST_F(single, benchmarked_on_every_rung)
{
	wt_weir(&self->run, "bench", "ladder", "--json", "--rounds", "2", "--passes", "2",
		self->path.text, NULL);
	EXPECT_OBJECT(&self->run, "weir-bench", "conditions.kernel:s", "path:s",
		      "checksums_equal:b", "rungs.[].rung:s", "rungs.[].works:b",
		      "rungs.[].reason:s", "rungs.[].seconds:on", "rungs.[].per_first_rung:on",
		      "rungs.[].cpu_seconds:on");
	EXPECT_TRUE(json_is_true(json_object_get(self->run.json, "checksums_equal")));
	EXPECT_EQ(json_array_size(json_object_get(self->run.json, "rungs")), 4);
}

TEST_F(single, demonstrated)
{
	struct ct_path svg = ct_join(self->dir, "passes.svg");
	struct stat st;

	wt_weir(&self->run, "bench", "demo", "--json", "--passes", "2", "--svg", svg.text,
		self->path.text, NULL);
	EXPECT_OBJECT(&self->run, "weir-bench", "conditions.kernel:s", "path:s", "plan_bytes:i",
		      "budget_bytes:i", "peak_bytes:i", "ideal_bytes_per_pass:i",
		      "weir.[].seconds:r", "weir.[].bytes_read:i", "mmap:a",
		      "fio_bytes_per_second:rn", "checksums_equal:b");
	EXPECT_TRUE(json_is_true(json_object_get(self->run.json, "checksums_equal")));
	EXPECT_EQ(json_array_size(json_object_get(self->run.json, "weir")), 2);
	EXPECT_EQ(stat(svg.text, &st), 0);
	EXPECT_LT(1000, st.st_size);
}

TEST_F(single, of_a_name_that_is_no_utf8)
{
	static const char *const commands[][2] = {
		{"inspect", NULL}, {"verify", NULL},	{"load", NULL},	   {"stream", NULL},
		{"doctor", NULL},  {"bench", "ladder"}, {"bench", "demo"}, {"bench", "load"}};
	struct ct_path odd = ct_join(self->dir, "caf\xe9");

	ASSERT_EQ(rename(self->path.text, odd.text), 0);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		const char *args[] = {commands[i][0], "--json", odd.text, NULL};
		const char *bench[] = {commands[i][0],
				       commands[i][1],
				       "--json",
				       "--rounds",
				       "1",
				       "--passes",
				       "2",
				       odd.text,
				       NULL};

		ASSERT_EQ(wt_start(&self->run, commands[i][1] ? bench : args), 0);
		EXPECT_EQ(wt_wait(&self->run), 0)
		TH_LOG("%s: %s", commands[i][0], self->run.err);
		EXPECT_NE(self->run.json, NULL);
	}
}

TEST_F(single, that_cannot_be_printed_is_a_failure)
{
	char text[64];

	EXPECT_EQ(wt_shell(text, sizeof(text), "inspect --json '%s' 2>&1 >/dev/full",
			   self->path.text),
		  1);
	EXPECT_NE(strstr(text, "could not be written"), NULL);
}

TEST_HARNESS_MAIN
