/* SPDX-License-Identifier: MIT */
/* Runs the programs of lock/corpus.h: an interpreter for their steps. */
#include "lock/corpus.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomic.h"

/* Locks in tables, and steps that are wrong on purpose: the analysis cannot and must not follow. */
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wthread-safety-analysis"
#endif

#define MAX_OF_ONE     300
#define SECONDS_TO_RUN 30

union any_lock {
	struct wr_mutex mutex;
	struct wr_rwlock rwlock;
	struct wr_spin spin;
};

/* One program a process. */
static union any_lock locks[CORPUS_MAX_LOCKS][MAX_OF_ONE];
static char names[CORPUS_MAX_LOCKS][MAX_OF_ONE][16];
static struct wr_cond cond;
static const struct corpus_program *running;
static struct corpus_result *result; /* shared with the process that waits */

static void note(const struct wr_lock_fault *fault)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

	pthread_mutex_lock(&mutex);
	if (result->nr_faults++ == 0) {
		result->first = fault->kind;
		result->nr_cycle = fault->nr_cycle;
	}
	pthread_mutex_unlock(&mutex);
}

static void init_locks(void)
{
	for (unsigned l = 0; running->locks[l].id != 0; l++) {
		const struct corpus_lock *spec = &running->locks[l];

		for (unsigned i = 0; i < wr_max(spec->nr, 1u); i++) {
			char *name = names[l][i];

			snprintf(name, sizeof(names[l][i]), "%c%u", spec->id,
				 spec->many_classes ? i : 0);
			if (spec->kind == CORPUS_MUTEX)
				wr_mutex_init(&locks[l][i].mutex, spec->rank, name);
			else if (spec->kind == CORPUS_RWLOCK)
				wr_rwlock_init(&locks[l][i].rwlock, spec->rank, name);
			else
				wr_spin_init(&locks[l][i].spin, spec->rank, name);
		}
	}
	wr_cond_init(&cond);
}

static void take(enum corpus_kind kind, union any_lock *lock)
{
	if (kind == CORPUS_MUTEX)
		wr_mutex_lock(&lock->mutex);
	else if (kind == CORPUS_RWLOCK)
		wr_rwlock_wrlock(&lock->rwlock);
	else
		wr_spin_lock(&lock->spin);
}

static void release(enum corpus_kind kind, union any_lock *lock)
{
	if (kind == CORPUS_MUTEX)
		wr_mutex_unlock(&lock->mutex);
	else if (kind == CORPUS_RWLOCK)
		wr_rwlock_wrunlock(&lock->rwlock);
	else
		wr_spin_unlock(&lock->spin);
}

static void end(enum corpus_kind kind, union any_lock *lock)
{
	if (kind == CORPUS_MUTEX)
		wr_mutex_fini(&lock->mutex);
	else if (kind == CORPUS_RWLOCK)
		wr_rwlock_fini(&lock->rwlock);
	else
		wr_spin_fini(&lock->spin);
}

static void must_be_held(enum corpus_kind kind, union any_lock *lock)
{
	if (kind == CORPUS_MUTEX)
		wr_lock_assert_held(&lock->mutex);
	else if (kind == CORPUS_RWLOCK)
		wr_lock_assert_held(&lock->rwlock);
	else
		wr_lock_assert_held(&lock->spin);
}

static bool try(enum corpus_kind kind, union any_lock *lock)
{
	return kind == CORPUS_MUTEX ? wr_mutex_trylock(&lock->mutex) : wr_spin_trylock(&lock->spin);
}

static void step_of_many(char op, const struct corpus_lock *spec, union any_lock *of)
{
	unsigned nr = spec->nr;

	for (unsigned i = 0; i < nr; i++) {
		if (op == '!')
			take(spec->kind, &of[nr - 1 - i]);
		else if (op == '/')
			release(spec->kind, &of[nr - 1 - i]);
		else
			take(spec->kind, &of[i]);
		if (op == '&' && i > 0)
			release(spec->kind, &of[i - 1]);
	}
	if (op == '&')
		release(spec->kind, &of[nr - 1]);
}

static void step(char op, unsigned l, unsigned i, bool *failed)
{
	const struct corpus_lock *spec = &running->locks[l];
	union any_lock *lock = &locks[l][i];

	switch (op) {
	case '+':
		take(spec->kind, lock);
		break;
	case '-':
		if (!*failed)
			release(spec->kind, lock);
		*failed = false;
		break;
	case '<':
		wr_rwlock_rdlock(&lock->rwlock);
		break;
	case '>':
		wr_rwlock_rdunlock(&lock->rwlock);
		break;
	case '?':
		*failed = !try(spec->kind, lock);
		break;
	case 'c':
		(void)wr_cond_timedwait(&cond, &lock->mutex, wr_now_ns());
		break;
	case 'h':
		must_be_held(spec->kind, lock);
		break;
	case 'e':
		end(spec->kind, lock);
		break;
	default:
		step_of_many(op, spec, locks[l]);
	}
}

static unsigned find_lock(char id)
{
	unsigned l = 0;

	while (running->locks[l].id != id) {
		if (running->locks[l].id == 0)
			abort();
		l++;
	}
	return l;
}

static void *run_thread(void *steps)
{
	bool failed[CORPUS_MAX_LOCKS] = {false};

	for (const char *at = steps; *at != '\0';) {
		char op = *at++;

		if (op == ' ')
			continue;
		if (op == 'b') {
			wr_might_block("a step");
		} else if (op == 'n') {
			wr_lock_assert_none_held("a step");
		} else {
			unsigned l = find_lock(*at++);

			unsigned i = 0;

			while (*at >= '0' && *at <= '9')
				i = i * 10 + (unsigned)(*at++ - '0');
			step(op, l, i, &failed[l]);
		}
	}
	return NULL;
}

/* A barrier is not needed: with enough rounds they meet. */
static void *run_rounds(void *steps)
{
	for (unsigned i = 0; i < 200; i++)
		run_thread(steps);
	return NULL;
}

static void start(pthread_t *thread, void *(*run)(void *), const char *steps)
{
	if (pthread_create(thread, NULL, run, (void *)(uintptr_t)steps) != 0)
		abort();
}

static void run_here(unsigned checks, unsigned rounds)
{
	pthread_t threads[CORPUS_MAX_THREADS];
	unsigned nr = 0;

	wr_lock_set_fault_hook(note);
	wr_lock_set_checks(checks);
	init_locks();
	for (; running->threads[nr] != NULL; nr++) {
		if (rounds > 0)
			continue;
		start(&threads[0], run_thread, running->threads[nr]);
		pthread_join(threads[0], NULL);
	}
	for (unsigned r = 0; r < rounds; r++) {
		for (unsigned i = 0; i < nr; i++)
			start(&threads[i], run_rounds, running->threads[i]);
		for (unsigned i = 0; i < nr; i++)
			pthread_join(threads[i], NULL);
	}
}

struct corpus_result corpus_run(const struct corpus_program *program, unsigned checks,
				unsigned rounds)
{
	struct corpus_result copy;
	int status = 0;
	pid_t child;

	result = mmap(NULL, sizeof(*result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (result == MAP_FAILED)
		abort();
	*result = (struct corpus_result){.first = CORPUS_SILENT};
	running = program;
	child = fork();
	if (child == 0) {
		alarm(SECONDS_TO_RUN);
		run_here(checks, rounds);
		_exit(0);
	}
	copy = *result;
	if (child > 0 && waitpid(child, &status, 0) == child) {
		copy = *result;
		copy.ended = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	}
	munmap(result, sizeof(*result));
	return copy;
}

/* Of the rank only what the rules look at matters: its flags, and how many ranks stand above it. */
static unsigned put_lock(char *form, const struct corpus_lock *all, const struct corpus_lock *spec)
{
	unsigned nr_above = 0;

	for (; all->id != 0; all++)
		nr_above += all->rank < spec->rank;
	return (unsigned)sprintf(form, "[%d.%u.%u.%u%s]", spec->kind, nr_above,
				 wr_lock_rank_flags(spec->rank), spec->nr,
				 spec->many_classes ? "s" : "");
}

void corpus_form(const struct corpus_program *program, char form[static CORPUS_FORM_BYTES])
{
	char order[CORPUS_MAX_LOCKS + 1] = "";
	unsigned at = 0;

	for (unsigned t = 0; program->threads[t] != NULL; t++) {
		for (const char *s = program->threads[t]; *s != '\0'; s++) {
			const struct corpus_lock *spec = program->locks;
			const char *seen = strchr(order, *s);

			while (spec->id != 0 && spec->id != *s)
				spec++;
			/* "b", "c", "e", "h" and "n" are operations unless they follow one. */
			if (spec->id == 0 || s == program->threads[t] || s[-1] == ' ') {
				form[at++] = *s;
				continue;
			}
			if (seen == NULL) {
				order[strlen(order)] = *s;
				at += put_lock(form + at, program->locks, spec);
				seen = strchr(order, *s);
			}
			form[at++] = (char)('A' + (seen - order));
		}
		form[at++] = '|';
	}
	form[at] = '\0';
}
