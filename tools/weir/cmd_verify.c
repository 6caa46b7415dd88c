/* SPDX-License-Identifier: MIT */
/*
 * weir verify: XXH3 of every tensor through the engine against plain reads.
 *
 * The two sides run at the same time in two threads and are compared at the end. A
 * tensor that differs is a fault of the engine, of memory or of the disk; it is
 * named, and the exit status is 1.
 */
#include "commands.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <weir/io.h>
#include <weir/weights.h>

#include "ui.h"
#include "verify.h"

struct request {
	bool tensors, json;
	int backend;
	const char *path;
};

/* Both sides and what came of them. */
struct check {
	const struct request *request;
	struct weir_model *model;
	struct weir_io *io;
	struct wr_verify engine, plain;
	struct weir_error engine_err, plain_err;
	int plain_code;
	atomic_bool stop;
	atomic_bool plain_ended;
	double seconds;
};

static uint64_t total_bytes(const struct weir_model *m)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < weir_model_nr_tensors(m); i++)
		sum += weir_model_tensor(m, i)->bytes;
	return sum;
}

static bool differs(const struct check *c, uint32_t i)
{
	return c->engine.hash[i] != c->plain.hash[i];
}

static uint32_t nr_mismatches(const struct check *c)
{
	uint32_t nr = 0;

	for (uint32_t i = 0; i < weir_model_nr_tensors(c->model); i++)
		nr += differs(c, i);
	return nr;
}

/* ---- running both sides ---- */

static void *plain_main(void *arg)
{
	struct check *c = arg;

	c->plain_code = wr_verify_plain(&c->plain, &c->plain_err);
	if (c->plain_code)
		atomic_store(&c->stop, true);
	atomic_store(&c->plain_ended, true);
	return NULL;
}

static void *watch_main(void *arg)
{
	struct check *c = arg;
	struct wr_ui_progress progress;
	const struct timespec pause = {0, 50000000};

	wr_ui_progress_start(&progress, "verify", 2 * total_bytes(c->model), c->request->json);
	while (!atomic_load(&c->plain_ended)) {
		nanosleep(&pause, NULL);
		if (wr_ui_interrupted())
			atomic_store(&c->stop, true);
		wr_ui_progress_update(&progress,
				      atomic_load(&c->engine.done) + atomic_load(&c->plain.done));
	}
	wr_ui_progress_end(&progress);
	return NULL;
}

/* The error to report: not the -ECANCELED with which one side answers the other's failure. */
static int pick_error(struct check *c, int engine_code, struct weir_error *err)
{
	if (engine_code && engine_code != -ECANCELED)
		*err = c->engine_err;
	else if (c->plain_code && c->plain_code != -ECANCELED)
		*err = c->plain_err;
	else if (engine_code || c->plain_code)
		*err = (struct weir_error){.code = -ECANCELED, .offset = WEIR_OFFSET_NONE};
	else
		return 0;
	return err->code;
}

static int run_both(struct check *c, struct weir_error *err)
{
	uint64_t start = wr_ui_now_ns();
	pthread_t plain, watch;
	int code;

	*err = (struct weir_error){.code = -EAGAIN,
				   .offset = WEIR_OFFSET_NONE,
				   .message = "the system gives no further thread"};
	if (pthread_create(&plain, NULL, plain_main, c))
		return -EAGAIN;
	if (pthread_create(&watch, NULL, watch_main, c)) {
		atomic_store(&c->stop, true);
		pthread_join(plain, NULL);
		return -EAGAIN;
	}
	code = wr_verify_engine(&c->engine, c->io, &c->engine_err);
	if (code)
		atomic_store(&c->stop, true);
	pthread_join(plain, NULL);
	pthread_join(watch, NULL);
	c->seconds = (double)(wr_ui_now_ns() - start) / 1e9;
	return pick_error(c, code, err);
}

/* ---- output ---- */

static int print_json(const struct check *c)
{
	json_t *tensors = json_array();
	char hash[2][17];

	for (uint32_t i = 0; i < weir_model_nr_tensors(c->model); i++) {
		const struct weir_tensor *t = weir_model_tensor(c->model, i);
		json_t *o;

		snprintf(hash[0], sizeof(hash[0]), "%016" PRIx64, c->engine.hash[i]);
		snprintf(hash[1], sizeof(hash[1]), "%016" PRIx64, c->plain.hash[i]);
		o = json_pack("{s:o, s:o, s:s}", "name", wr_ui_json_text(t->name), "bytes",
			      wr_ui_json_u64(t->bytes), "xxh3", hash[0]);
		if (differs(c, i))
			json_object_set_new(o, "xxh3_plain", json_string(hash[1]));
		json_array_append_new(tensors, o);
	}
	return wr_ui_json_print(json_pack(
		"{s:o, s:o, s:i, s:f, s:s, s:o, s:o}", "path", wr_ui_json_text(c->request->path),
		"bytes", wr_ui_json_u64(total_bytes(c->model)), "mismatches", (int)nr_mismatches(c),
		"seconds", c->seconds, "backend", weir_io_backend_name(weir_io_backend(c->io)),
		"backend_reason", wr_ui_json_text(weir_io_backend_reason(c->io)), "tensors",
		tensors));
}

static int print_backend(const struct weir_io *io)
{
	static const struct wr_ui_column columns[] = {{"", WR_UI_LEFT}, {"", WR_UI_WRAP}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 2);
	int code;

	wr_ui_reason(t, "io", weir_io_backend_name(weir_io_backend(io)),
		     weir_io_backend_reason(io));
	code = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	return code;
}

static int print_text(const struct check *c)
{
	static const struct wr_ui_column columns[] = {
		{"tensor", WR_UI_CUT}, {"xxh3", WR_UI_LEFT}, {"plain", WR_UI_LEFT}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 3);
	uint32_t bad = nr_mismatches(c);
	char text[WR_UI_TEXT];
	int code = 0;

	for (uint32_t i = 0; i < weir_model_nr_tensors(c->model); i++) {
		if (!c->request->tensors && !differs(c, i))
			continue;
		wr_ui_table_cell(t, "%s", weir_model_tensor(c->model, i)->name);
		wr_ui_table_cell(t, "%016" PRIx64, c->engine.hash[i]);
		if (differs(c, i))
			wr_ui_table_cell(t, "%016" PRIx64, c->plain.hash[i]);
		else
			wr_ui_table_cell(t, "same");
	}
	if (bad || c->request->tensors)
		code = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	printf("%s: %" PRIu32 " tensors, %s", c->request->path, weir_model_nr_tensors(c->model),
	       wr_ui_bytes(text, total_bytes(c->model)));
	printf(", %" PRIu32 " mismatches, %s\n", bad, wr_ui_duration(text, c->seconds));
	if (!code)
		code = print_backend(c->io);
	return code ? wr_ui_fail_code(false, "verify", code, "no memory for the table")
		    : WR_EXIT_OK;
}

static int check_model(struct check *c)
{
	uint32_t nr = weir_model_nr_tensors(c->model);
	struct weir_error err;
	int status, code;

	c->engine = (struct wr_verify){.model = c->model, .stop = &c->stop};
	c->plain = c->engine;
	c->engine.hash = calloc(nr + 1, sizeof(uint64_t));
	c->plain.hash = calloc(nr + 1, sizeof(uint64_t));
	if (!c->engine.hash || !c->plain.hash)
		status = wr_ui_fail_code(c->request->json, "verify", -ENOMEM, "no memory");
	else if ((code = run_both(c, &err)) == -ECANCELED)
		status = wr_ui_fail_interrupted(c->request->json, "verify");
	else if (code)
		status = wr_ui_fail(c->request->json, "verify", &err);
	else if ((status = c->request->json ? print_json(c) : print_text(c)) == WR_EXIT_OK)
		status = nr_mismatches(c) ? WR_EXIT_FAILED : WR_EXIT_OK;
	free(c->engine.hash);
	free(c->plain.hash);
	return status;
}

static int verify(const struct request *r)
{
	const struct weir_io_opts opts = {.size = sizeof(opts), .backend = (uint32_t)r->backend};
	struct check c = {.request = r};
	struct weir_error err;
	int status;

	if (weir_model_open(r->path, &c.model, &err))
		return wr_ui_fail(r->json, "verify", &err);
	if (weir_io_open(&opts, &c.io, &err))
		status = wr_ui_fail(r->json, "verify", &err);
	else
		status = check_model(&c);
	weir_io_close(c.io);
	weir_model_close(c.model);
	return status;
}

int cmd_verify(int argc, char **argv)
{
	struct request r = {0};
	/* The words follow enum weir_io_backend. */
	const struct wr_ui_option options[] = {
		{"io", WR_UI_CHOICE, "auto|fixed|uring|pread|buffered",
		 "how the engine reads (default: auto)", &r.backend, 0, 0},
		{"tensors", WR_UI_FLAG, NULL, "print the hash of every tensor", &r.tensors, 0, 0},
		{"json", WR_UI_FLAG, NULL, "print one JSON object", &r.json, 0, 0},
	};
	const struct wr_ui_usage usage = {
		.name = "verify",
		.args = "PATH",
		.summary = "Read every tensor of the model in PATH through the engine and with "
			   "plain reads,\n"
			   "and compare their XXH3 hashes.",
		.options = options,
		.nr_options = sizeof(options) / sizeof(options[0]),
		.min_args = 1,
		.max_args = 1,
	};
	int nr, status;

	_Static_assert(WEIR_IO_AUTO == 0 && WEIR_IO_FIXED == 1 && WEIR_IO_URING == 2 &&
			       WEIR_IO_PREAD == 3 && WEIR_IO_BUFFERED == 4,
		       "the words of --io");
	status = wr_ui_parse(&usage, argc, argv, &nr);
	if (status != WR_UI_RUN)
		return status;
	r.path = argv[1];
	wr_ui_interrupt_init();
	return verify(&r);
}
