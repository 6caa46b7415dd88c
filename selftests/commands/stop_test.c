/* SPDX-License-Identifier: MIT */
/*
 * stop_test.c - ^C at any time: status 130 soon after, an error object with --json, and nothing left
 * behind: no file, no process, no cgroup. And a file that changes under a stream: a typed error.
 */
#include "kselftest_harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "commands_help.h"
#include "harness/sanitized.h"

FIXTURE(big)
{
	char dir[512];
	struct ct_path path, file;
	struct wt_run run;
};

FIXTURE_SETUP(big)
{
	wt_dir_make(self->dir, sizeof(self->dir), NULL);
	self->path = ct_join(self->dir, "model");
	self->file = ct_join(self->path.text, "model.safetensors");
	ASSERT_EQ(ct_make(CT_BIG, self->path.text), 0);
}

FIXTURE_TEARDOWN(big)
{
	wt_run_fini(&self->run);
	wt_dir_remove(self->dir);
}

static void pause_ms(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&t, NULL);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Files in @dir. */
static int nr_files(const char *dir)
{
	DIR *d = opendir(dir);
	int nr = -2;

	while (d && readdir(d))
		nr++;
	if (d)
		closedir(d);
	return nr;
}

/* Folders "weir-<pid>" anywhere below the cgroups' mount points. */
static int nr_groups(const char *dir, pid_t pid, int depth)
{
	char path[1024], name[64];
	DIR *d = opendir(dir);
	struct dirent *e;
	int nr = 0;

	snprintf(name, sizeof(name), "weir-%d", (int)pid);
	while (d && (e = readdir(d))) {
		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		nr += !strcmp(e->d_name, name);
		snprintf(path, sizeof(path), "%.600s/%.300s", dir, e->d_name);
		if (depth)
			nr += nr_groups(path, pid, depth - 1);
	}
	if (d)
		closedir(d);
	return nr;
}

/*
 * Start the command, let it run for @delay_ms, send @signal_number to it, or to its group as a
 * terminal does, and wait. Returns the seconds from the signal to the end.
 */
static double stopped(struct wt_run *run, const char *const *args, long delay_ms, int signal_number,
		      bool whole_group, pid_t *ret_pid)
{
	double begin;

	run->group = true;
	if (wt_start(run, args))
		return -1;
	*ret_pid = run->pid;
	pause_ms(delay_ms);
	begin = now();
	kill(whole_group ? -run->pid : run->pid, signal_number);
	wt_wait(run);
	return now() - begin;
}

/*
 * Delays until one falls into the middle: too early is before the handler is there, or while memory
 * is taken, where a command ends without a word; too late is done.
 */
static const long delays_ms[] = {250, 100, 50, 500, 1000, 25, 2000};

static void expect_stopped(struct __test_metadata *_metadata, struct wt_run *run,
			   const char *const *args, int signal_number, bool whole_group)
{
	for (size_t i = 0; i < sizeof(delays_ms) / sizeof(delays_ms[0]); i++) {
		pid_t pid = 0;
		double seconds = stopped(run, args, delays_ms[i], signal_number, whole_group, &pid);

		EXPECT_EQ(kill(-pid, 0), -1); /* nobody of its group is left */
		EXPECT_EQ(nr_groups("/sys/fs/cgroup", pid, 4), 0);
		if (run->status == 0 || run->killed ||
		    (run->status == 130 && !*run->out && !*run->err))
			continue;
		EXPECT_EQ(run->status, 130) TH_LOG("%s %s: %s", args[0], args[1], run->err);
		/* "Within a second or so"; a loaded machine and sanitizers get more. */
		EXPECT_GT(SANITIZED ? 15 : 5, seconds);
		return;
	}
	EXPECT_TRUE(false) TH_LOG("%s %s was never in the middle", args[0], args[1]);
}

TEST_F(big, a_stream_ends_by_a_signal)
{
	const char *args[] = {"stream",	   "--json", "--passes",      "64",
			      "--compute", "gemv",   self->path.text, NULL};
	int before = nr_files(self->path.text);

	expect_stopped(_metadata, &self->run, args, SIGINT, true);
	EXPECT_STREQ(wt_text(self->run.json, "error.code"), "EINTR");
	expect_stopped(_metadata, &self->run, args, SIGTERM, false);
	EXPECT_STREQ(wt_text(self->run.json, "error.code"), "EINTR");
	args[1] = "--vision";
	expect_stopped(_metadata, &self->run, args, SIGINT, true);
	EXPECT_STREQ(self->run.err, "weir: stream: interrupted\n");
	EXPECT_STREQ(self->run.out, "");
	EXPECT_EQ(nr_files(self->path.text), before);
	EXPECT_EQ(nr_files(self->dir), 1);
}

TEST_F(big, a_mapped_stream_ends_by_a_signal)
{
	const char *args[] = {"stream", "--passes",	 "64", "--compute", "gemv", "--io",
			      "mmap",	self->path.text, NULL};

	expect_stopped(_metadata, &self->run, args, SIGINT, true);
}

TEST_F(big, a_benchmark_ends_by_a_signal_to_all_of_it)
{
	static const char *const names[] = {"demo", "ladder", "load", "stream"};

	for (size_t i = 0; i < 4; i++) {
		const char *args[] = {"bench",	  names[i], "--json",	     "--rounds", "9",
				      "--passes", "64",	    self->path.text, NULL};

		expect_stopped(_metadata, &self->run, args, SIGINT, true);
		EXPECT_STREQ(wt_text(self->run.json, "error.code"), "EINTR");
	}
}

TEST_F(big, a_benchmark_ends_by_a_signal_to_its_first_process)
{
	const char *args[] = {"bench", "demo", "--passes", "9", self->path.text, NULL};

	expect_stopped(_metadata, &self->run, args, SIGTERM, false);
	EXPECT_STREQ(self->run.err, "weir: bench demo: interrupted\n");
}

TEST_F(big, a_model_that_is_made_is_gone_by_a_signal)
{
	struct ct_path path = ct_join(self->dir, "made");
	const char *args[] = {"mkmodel", "--json",   "--model", "2b",	   "--threads",
			      "1",	 "--layers", "8",	path.text, NULL};

	expect_stopped(_metadata, &self->run, args, SIGINT, true);
	EXPECT_STREQ(wt_text(self->run.json, "error.code"), "EINTR");
	EXPECT_EQ(nr_files(path.text), -2);
}

/* What can be caught early only: the handler is there before the file is opened. */
TEST_F(big, a_load_and_a_verification_end_by_a_signal)
{
	static const char *const names[] = {"load", "verify"};

	for (int i = 0; i < 2; i++) {
		const char *args[] = {names[i], "--json", self->path.text, NULL};
		int status = 0;

		for (long delay = 4; delay < 400 && status != 130; delay += delay < 40 ? 4 : 20) {
			pid_t pid;

			stopped(&self->run, args, delay, SIGINT, true, &pid);
			ASSERT_TRUE(self->run.status == 130 || self->run.status == 0);
			status = self->run.killed ? 0 : self->run.status;
		}
		EXPECT_EQ(status, 130);
	}
}

/* ---- files that change ---- */

/* While 64 passes run, do that to the file; the command ends with status 1 and one of the codes. */
static void expect_error(struct __test_metadata *_metadata, FIXTURE_DATA(big) * self,
			 const char *io, void (*change)(FIXTURE_DATA(big) * self),
			 const char *codes)
{
	const char *args[] = {"stream", "--json", "--passes",	   "64", "--budget", "25%",
			      "--io",	io,	  self->path.text, NULL};

	ASSERT_EQ(wt_start(&self->run, args), 0);
	pause_ms(SANITIZED ? 1000 : 300);
	change(self);
	wt_wait(&self->run);
	EXPECT_EQ(self->run.status, 1) TH_LOG("--io %s: %s", io, self->run.err);
	EXPECT_STREQ(self->run.err, "");
	EXPECT_LT(0, strlen(wt_text(self->run.json, "error.code")));
	EXPECT_NE(strstr(codes, wt_text(self->run.json, "error.code")), NULL)
	TH_LOG("--io %s: %s", io, wt_text(self->run.json, "error.message"));
	EXPECT_STREQ(wt_text(self->run.json, "error.file"), self->file.text);
}

static void cut(FIXTURE_DATA(big) * self)
{
	if (truncate(self->file.text, 60000000))
		perror(self->file.text);
}

/* As an editor or a download does: a new file takes the name. */
static void swap(FIXTURE_DATA(big) * self)
{
	struct ct_path other = ct_join(self->dir, "other");

	if (ct_write(other.text, "{}", 2) || rename(other.text, self->file.text))
		perror(other.text);
}

static void overwrite(FIXTURE_DATA(big) * self)
{
	int fd = open(self->file.text, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || pwrite(fd, "changed", 7, 1000000) != 7)
		perror(self->file.text);
	close(fd);
}

static const char *const rungs[] = {"auto", "pread", "buffered"};

TEST_F(big, a_file_that_is_cut_while_it_streams)
{
	for (int i = 0; i < 3; i++) {
		expect_error(_metadata, self, rungs[i], cut, "ENODATA ESTALE");
		wt_dir_remove(self->path.text);
		ASSERT_EQ(ct_make(CT_BIG, self->path.text), 0);
	}
}

TEST_F(big, a_file_that_is_written_into_while_it_streams)
{
	for (int i = 0; i < 3; i++)
		expect_error(_metadata, self, rungs[i], overwrite, "ESTALE");
}

TEST_F(big, a_file_that_is_replaced_while_it_streams)
{
	for (int i = 0; i < 3; i++) {
		expect_error(_metadata, self, rungs[i], swap, "ESTALE");
		wt_dir_remove(self->path.text);
		ASSERT_EQ(ct_make(CT_BIG, self->path.text), 0);
	}
}

TEST_HARNESS_MAIN
