/* SPDX-License-Identifier: MIT */
/* A whole plan read into memory at once, on every rung: its bytes, its limits, its failures. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/weir.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "harness/holdings.h"
#include "io/io_help.h"
#include "io/io_internal.h"
#include "stream/testmodel.h"

#define NR_LAYERS  4
#define POOL_BYTES ((size_t)8 << 20)

/* What happens to outcomes of reads. */
struct mischief {
	_Atomic int result;    /* instead of the bytes; 0 here: none is replaced */
	_Atomic uint64_t from; /* only for reads that reach beyond this offset */
	const char *touch;     /* a file whose time changes at the first outcome */
	_Atomic int nr_touched;
};

/* clang-format off */
FIXTURE(load) {
	struct test_model tm;
	struct weir *weir;
	struct weir_plan plan;
	struct weir_loaded *loaded;
	struct weir_error err;
	struct wr_io_fault fault;
	struct mischief mischief;
};
/* clang-format on */

IO_EVERY_RUNG(load)

#define END_OF_FILE 1

static int64_t filter(void *arg, uint64_t offset, size_t bytes, int64_t res)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 12345}};
	struct mischief *m = arg;
	int result = wr_load_relaxed(&m->result);

	if (m->touch && wr_fetch_add_relaxed(&m->nr_touched, 1) == 0)
		(void)utimensat(AT_FDCWD, m->touch, times, 0);
	if (!result || offset + bytes <= wr_load_relaxed(&m->from))
		return res;
	return result == END_OF_FILE ? 0 : result;
}

FIXTURE_SETUP(load)
{
	IO_OPEN_WEIR(POOL_BYTES, &self->weir);
	ASSERT_TRUE(tm_open(&self->tm, TM_SHARDED, NR_LAYERS, variant->memory));
	self->fault = (struct wr_io_fault){.filter = filter, .arg = &self->mischief};
	wr_io_set_fault(weir_get_io(self->weir), &self->fault);
	self->plan = (struct weir_plan){.size = sizeof(self->plan)};
}

FIXTURE_TEARDOWN(load)
{
	weir_unload(self->loaded);
	weir_close(self->weir);
	tm_close(&self->tm);
}

static int load(FIXTURE_DATA(load) * self, const struct weir_plan *plan)
{
	weir_unload(self->loaded);
	self->loaded = NULL;
	return weir_load(self->weir, self->tm.model, plan, &self->loaded, &self->err);
}

static uint64_t bytes_in_use(struct weir *weir)
{
	struct weir_pool_stats stats;

	weir_pool_stats(weir_get_pool(weir), &stats);
	return stats.used_bytes;
}

/* Tensors whose view is not what it must be: right bytes, or -ENOENT when not @visited. */
static unsigned nr_wrong(FIXTURE_DATA(load) * self,
			 bool (*visited)(const struct test_model *, const struct weir_tensor *))
{
	unsigned nr = 0;

	for (uint32_t p = 0; p < weir_model_nr_tensors(self->tm.model); p++) {
		const struct weir_tensor *t = weir_model_at(self->tm.model, p);
		bool want = t->bytes && visited(&self->tm, t);
		struct weir_view view = {0};
		int rc = weir_loaded_view(self->loaded, t, &view);

		if (!want)
			nr += rc != -ENOENT || view.data;
		else
			nr += rc || view.tensor != t || view.first_row ||
			      view.nr_rows != t->nr_rows || !tm_view_is_right(&self->tm, &view);
	}
	return nr;
}

static bool is_any(const struct test_model *tm, const struct weir_tensor *tensor)
{
	(void)tm;
	(void)tensor;
	return true;
}

static bool is_vision(const struct test_model *tm, const struct weir_tensor *tensor)
{
	return weir_model_group(tm->model, tensor->group)->kind == WEIR_GROUP_VISION;
}

static bool is_text(const struct test_model *tm, const struct weir_tensor *tensor)
{
	return !is_vision(tm, tensor);
}

TEST_F(load, shows_every_tensor_of_every_format_as_it_is_in_the_file)
{
	ASSERT_EQ(load(self, NULL), 0);
	EXPECT_EQ(nr_wrong(self, is_any), 0u);
	for (int format = TM_SINGLE; format <= TM_GGUF; format++) {
		weir_unload(self->loaded);
		self->loaded = NULL;
		tm_close(&self->tm);
		ASSERT_TRUE(tm_open(&self->tm, (enum tm_format)format, NR_LAYERS, variant->memory));
		ASSERT_EQ(load(self, NULL), 0);
		EXPECT_EQ(nr_wrong(self, is_any), 0u);
	}
}

TEST_F(load, reads_neighbours_in_one_go_and_little_more_than_there_is)
{
	struct weir_io_stats stats;

	ASSERT_EQ(load(self, NULL), 0);
	weir_io_stats(weir_get_io(self->weir), &stats);
	/* Two shards without holes. */
	EXPECT_EQ(stats.nr_reads, 2u);
	EXPECT_GE(weir_loaded_bytes(self->loaded), self->tm.all_bytes);
	EXPECT_LE(weir_loaded_bytes(self->loaded), self->tm.all_bytes + 2 * 8192);
	EXPECT_LE(stats.bytes_read, weir_loaded_bytes(self->loaded));
	EXPECT_GE(bytes_in_use(self->weir), weir_loaded_bytes(self->loaded));
	EXPECT_LT(bytes_in_use(self->weir), weir_loaded_bytes(self->loaded) + 2 * 4096);
}

TEST_F(load, obeys_the_flags_and_visit_of_its_plan_and_no_other_field)
{
	self->plan.unit = WEIR_UNIT_GROUP;
	self->plan.tile_bytes = 1;
	self->plan.passes = 7;
	ASSERT_EQ(load(self, &self->plan), 0);
	EXPECT_EQ(nr_wrong(self, is_text), 0u);
	self->plan.flags = WEIR_PLAN_VISION_ONLY;
	ASSERT_EQ(load(self, &self->plan), 0);
	EXPECT_EQ(nr_wrong(self, is_vision), 0u);
	self->plan.flags = WEIR_PLAN_VISION;
	ASSERT_EQ(load(self, &self->plan), 0);
	EXPECT_EQ(nr_wrong(self, is_any), 0u);
	self->plan.flags = 1u << 20;
	EXPECT_EQ(load(self, &self->plan), -EINVAL);
}

TEST_F(load, knows_a_tensor_of_another_model)
{
	struct test_model other;
	struct weir_view view;

	ASSERT_EQ(load(self, NULL), 0);
	ASSERT_TRUE(tm_open(&other, TM_SHARDED, NR_LAYERS, variant->memory));
	EXPECT_EQ(weir_loaded_view(self->loaded, weir_model_at(other.model, 3), &view), -EINVAL);
	tm_close(&other);
}

TEST_F(load, does_not_fit_a_budget_below_its_size_and_fits_one_of_its_size)
{
	uint64_t need;

	ASSERT_EQ(load(self, NULL), 0);
	need = bytes_in_use(self->weir);
	self->plan.flags = WEIR_PLAN_VISION;
	self->plan.budget_bytes = need;
	EXPECT_EQ(load(self, &self->plan), 0);
	EXPECT_EQ(nr_wrong(self, is_any), 0u);
	self->plan.budget_bytes = need - 4096;
	EXPECT_EQ(load(self, &self->plan), -ENOSPC);
	EXPECT_EQ(self->err.code, -ENOSPC);
	EXPECT_EQ(self->loaded, NULL);
	EXPECT_EQ(bytes_in_use(self->weir), 0u);
}

TEST_F(load, a_device_error_names_file_and_offset_and_leaves_nothing)
{
	const struct weir_model_file *second = weir_model_file(self->tm.model, 1);
	int64_t live = wr_test_alloc_live();
	int nr_fds = nr_open_files();

	ASSERT_EQ(load(self, NULL), 0);
	weir_unload(self->loaded);
	self->loaded = NULL;
	live = wr_test_alloc_live();
	nr_fds = nr_open_files();
	wr_store_relaxed(&self->mischief.result, -EIO);
	EXPECT_EQ(load(self, NULL), -EIO);
	EXPECT_EQ(self->err.code, -EIO);
	EXPECT_TRUE(!strcmp(self->err.file, tm_path(&self->tm, 0)) ||
		    !strcmp(self->err.file, second->path));
	EXPECT_NE(self->err.offset, WEIR_OFFSET_NONE);
	EXPECT_EQ(bytes_in_use(self->weir), 0u);
	EXPECT_EQ(wr_test_alloc_live(), live);
	EXPECT_EQ(nr_open_files(), nr_fds);
	wr_store_relaxed(&self->mischief.result, 0);
	ASSERT_EQ(load(self, NULL), 0);
	EXPECT_EQ(nr_wrong(self, is_any), 0u);
}

TEST_F(load, a_file_that_ends_too_soon_is_no_data)
{
	wr_store_relaxed(&self->mischief.result, END_OF_FILE);
	EXPECT_EQ(load(self, NULL), -ENODATA);
	EXPECT_NE(self->err.offset, WEIR_OFFSET_NONE);
}

TEST_F(load, a_file_changed_before_or_meanwhile_is_stale)
{
	self->mischief.touch = tm_path(&self->tm, 1);
	EXPECT_EQ(load(self, NULL), -ESTALE);
	EXPECT_STREQ(self->err.file, tm_path(&self->tm, 1));
	EXPECT_GT(wr_load_relaxed(&self->mischief.nr_touched), 0);
	EXPECT_EQ(bytes_in_use(self->weir), 0u);
	EXPECT_EQ(load(self, NULL), -ESTALE);
	EXPECT_EQ(self->loaded, NULL);
}

TEST_F(load, gives_up_cleanly_wherever_memory_runs_out)
{
	int64_t live;
	int nr_fds;
	uint64_t n;

	ASSERT_EQ(load(self, NULL), 0);
	weir_unload(self->loaded);
	self->loaded = NULL;
	live = wr_test_alloc_live();
	nr_fds = nr_open_files();
	for (n = 1; n < 200; n++) {
		int rc;

		wr_test_alloc_fail_at(n);
		memset(&self->err, 0, sizeof(self->err));
		rc = load(self, NULL);
		if (!wr_test_alloc_failed())
			break;
		EXPECT_EQ(rc, -ENOMEM);
		EXPECT_EQ(self->err.code, -ENOMEM);
		EXPECT_EQ(self->loaded, NULL);
		EXPECT_EQ(bytes_in_use(self->weir), 0u);
		EXPECT_EQ(wr_test_alloc_live(), live);
		EXPECT_EQ(nr_open_files(), nr_fds);
	}
	wr_test_alloc_fail_at(0);
	EXPECT_GT(n, 10u);
	EXPECT_EQ(nr_wrong(self, is_any), 0u);
}

TEST_HARNESS_MAIN
