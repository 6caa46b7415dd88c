/* SPDX-License-Identifier: MIT */
/*
 * runtests - run test programs, read their TAP, say what happened.
 *
 * usage: runtests [-t SECONDS] [-j JOBS] [-s EXPECTED_SKIPS] [-b BUILD_DIR] PROGRAM...
 *
 * One line per program on stdout; for a failed one also the names of the failed tests and the end of its output, which
 * is kept whole under BUILD_DIR/logs. The last line is "N passed, N failed, N skipped", counting single tests. A program
 * that crashes, runs out of time, prints no plan or fewer results than planned counts as one more failure. A skip that
 * EXPECTED_SKIPS does not name is a failure. Exit status: 0 when something ran and nothing failed, 1 otherwise, 2 usage.
 *
 * EXPECTED_SKIPS has lines `program:test-glob | reason-glob | why`, the program relative to BUILD_DIR or the source tree
 * (selftests/io/foo_test); '#' starts a comment.
 *
 * A test of the kernel's harness is a process group of its own, so a timeout kills the tree of processes, not a group.
 * Orphans become children of this program, so that they are reaped, and ended when the last program has.
 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TAIL_LINES 40
#define MAX_JOBS   64

struct skip_rule {
	char *test;
	char *reason;
};

struct program {
	const char *path;
	char name[256];
	char log[1024];
	pid_t pid;
	double started;
	bool timed_out;
};

struct tally {
	int passed;
	int failed;
	int skipped;
};

static struct skip_rule *rules;
static size_t nr_rules;
static struct tally total;
static int nr_programs_failed;
static const char *build_dir = "build";
static double timeout_seconds = 300;
static sigset_t waited;

static void die(const char *what)
{
	fprintf(stderr, "runtests: %s: %s\n", what, strerror(errno));
	exit(2);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static char *trim(char *s)
{
	size_t n;

	s += strspn(s, " \t");
	n = strlen(s);
	while (n > 0 && strchr(" \t\r\n", s[n - 1]))
		s[--n] = '\0';
	return s;
}

static void add_rule(char *line, const char *file, int number)
{
	char *test = trim(line), *reason, *why;

	if (*test == '#' || *test == '\0')
		return;
	reason = strchr(test, '|');
	why = reason ? strchr(reason + 1, '|') : NULL;
	if (!why || *trim(why + 1) == '\0') {
		fprintf(stderr, "runtests: %s:%d: not `program:test | reason | why`\n", file,
			number);
		exit(2);
	}
	*reason++ = '\0';
	*why = '\0';
	rules = realloc(rules, (nr_rules + 1) * sizeof(*rules));
	if (!rules)
		die("memory");
	rules[nr_rules].test = strdup(trim(test));
	rules[nr_rules].reason = strdup(trim(reason));
	nr_rules++;
}

static void read_rules(const char *path)
{
	FILE *f = fopen(path, "re");
	char line[1024];
	int number = 0;

	if (!f)
		die(path);
	while (fgets(line, sizeof(line), f))
		add_rule(line, path, ++number);
	fclose(f);
}

static bool skip_is_expected(const char *program, const char *test, const char *reason)
{
	char full[1024];

	snprintf(full, sizeof(full), "%s:%s", program, test);
	for (size_t i = 0; i < nr_rules; i++) {
		if (fnmatch(rules[i].test, full, 0) == 0 &&
		    fnmatch(rules[i].reason, reason, 0) == 0)
			return true;
	}
	return false;
}

/* selftests/io/foo_test, wherever the program was built. */
static void name_program(struct program *p, const char *path)
{
	const char *at = strstr(path, "selftests/");
	const char *next;

	while (at && (next = strstr(at + 1, "selftests/")))
		at = next;
	p->path = path;
	snprintf(p->name, sizeof(p->name), "%s", at ? at : path);
	snprintf(p->log, sizeof(p->log), "%s/logs/%s.log", build_dir, p->name);
	for (char *s = p->log + strlen(build_dir) + 6; *s; s++) {
		if (*s == '/')
			*s = '-';
	}
}

static void start(struct program *p)
{
	int fd = open(p->log, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC | O_APPEND, 0666);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || null < 0)
		die(p->log);
	p->started = now();
	p->timed_out = false;
	fflush(stdout);
	p->pid = fork();
	if (p->pid < 0)
		die("fork");
	if (p->pid == 0) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		dup2(null, 0);
		dup2(fd, 1);
		dup2(fd, 2);
		execl(p->path, p->path, (char *)NULL);
		fprintf(stderr, "cannot run %s: %s\n", p->path, strerror(errno));
		_exit(127);
	}
	close(fd);
	close(null);
}

static void kill_children(pid_t pid);

/* Stop @pid first so that it cannot fork away, then its children, then end it. */
static void kill_tree(pid_t pid)
{
	kill(pid, SIGSTOP);
	kill_children(pid);
	kill(pid, SIGKILL);
}

static void kill_children(pid_t pid)
{
	char path[64];
	FILE *f;
	int child;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	f = fopen(path, "re");
	if (!f)
		return;
	while (fscanf(f, "%d", &child) == 1)
		kill_tree(child);
	fclose(f);
}

/* What the log says of one program. */
struct result {
	struct tally tally;
	int planned;
	char failed[4096];
	char skips[4096];
	char last_name[256];
};

static void append(char *list, size_t size, const char *fmt, const char *a, const char *b)
{
	size_t used = strlen(list);
	char text[1024];

	snprintf(text, sizeof(text), "%s%s%s%s\n", fmt, a, *b ? ": " : "", b);
	if (used + strlen(text) < size)
		strcpy(list + used, text);
}

static void take_skip(struct program *p, struct result *r, const char *name, const char *reason)
{
	if (skip_is_expected(p->name, name, reason)) {
		r->tally.skipped++;
		append(r->skips, sizeof(r->skips), "       skip ", name, reason);
		return;
	}
	r->tally.failed++;
	append(r->failed, sizeof(r->failed), "       unexpected skip ", name, reason);
}

/* "ok 3 name", "not ok 3 name", "ok 3 # SKIP reason", "ok 3 name # SKIP reason" */
static void take_result(struct program *p, struct result *r, char *line)
{
	bool ok = strncmp(line, "ok ", 3) == 0;
	char *rest = line + (ok ? 3 : 7);
	char *skip;

	rest += strspn(rest, "0123456789");
	rest = trim(rest);
	if (strncmp(rest, "- ", 2) == 0)
		rest += 2;
	skip = strstr(rest, "# SKIP");
	if (ok && skip) {
		*skip = '\0';
		rest = trim(rest);
		take_skip(p, r, *rest ? rest : r->last_name, trim(skip + 6));
		return;
	}
	if (ok) {
		r->tally.passed++;
		return;
	}
	r->tally.failed++;
	append(r->failed, sizeof(r->failed), "       failed ", rest, "");
}

static void take_line(struct program *p, struct result *r, char *line)
{
	char *s = trim(line);

	if (strncmp(s, "1..", 3) == 0) {
		r->planned = atoi(s + 3);
	} else if (strncmp(s, "ok ", 3) == 0 || strncmp(s, "not ok ", 7) == 0) {
		take_result(p, r, s);
	} else if (*s == '#') {
		/* "#            OK  global.name": the harness names a skipped test only here. */
		s = trim(s + 1);
		if (strncmp(s, "OK  ", 4) == 0)
			snprintf(r->last_name, sizeof(r->last_name), "%s", trim(s + 4));
	}
}

static void print_tail(const char *path)
{
	static char ring[TAIL_LINES][512];
	size_t n = 0;
	FILE *f = fopen(path, "re");

	if (!f)
		return;
	while (fgets(ring[n % TAIL_LINES], sizeof(ring[0]), f))
		n++;
	fclose(f);
	printf("     --- the end of %s\n", path);
	for (size_t i = n > TAIL_LINES ? n - TAIL_LINES : 0; i < n; i++) {
		char *line = ring[i % TAIL_LINES];

		line[strcspn(line, "\n")] = '\0';
		printf("     | %s\n", line);
	}
}

static const char *how_it_ended(const struct program *p, const struct result *r, int status,
				char *buf, size_t size)
{
	int results = r->tally.passed + r->tally.failed + r->tally.skipped;

	if (p->timed_out)
		snprintf(buf, size, "no end after %.0f s", timeout_seconds);
	else if (WIFSIGNALED(status))
		snprintf(buf, size, "killed by signal %d", WTERMSIG(status));
	else if (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 1 && WEXITSTATUS(status) != 4)
		snprintf(buf, size, "exit status %d", WEXITSTATUS(status));
	else if (r->planned <= 0)
		snprintf(buf, size, "no test ran");
	else if (results != r->planned)
		snprintf(buf, size, "%d results, %d planned", results, r->planned);
	else if (WEXITSTATUS(status) == 1 && r->tally.failed == 0)
		snprintf(buf, size, "exit status 1 with no failed test");
	else
		return NULL;
	return buf;
}

static void finish(struct program *p, int status)
{
	struct result r = {.planned = -1};
	char line[4096], why[128];
	const char *bad;
	FILE *f = fopen(p->log, "re");

	if (!f)
		die(p->log);
	while (fgets(line, sizeof(line), f))
		take_line(p, &r, line);
	fclose(f);
	bad = how_it_ended(p, &r, status, why, sizeof(why));
	if (bad) {
		r.tally.failed++;
		append(r.failed, sizeof(r.failed), "       failed ", "the program", bad);
	}
	printf("%-4s %-52s %4d passed", r.tally.failed ? "FAIL" : "ok", p->name, r.tally.passed);
	if (r.tally.failed)
		printf(", %d failed", r.tally.failed);
	if (r.tally.skipped)
		printf(", %d skipped", r.tally.skipped);
	printf("  %.1f s\n%s%s", now() - p->started, r.failed, r.skips);
	if (r.tally.failed) {
		print_tail(p->log);
		nr_programs_failed++;
	}
	total.passed += r.tally.passed;
	total.failed += r.tally.failed;
	total.skipped += r.tally.skipped;
}

/* A test is not in the terminal's group: ^C must reach it through us. */
static void leave(int sig)
{
	kill_children(getpid());
	signal(sig, SIG_DFL);
	printf("runtests: interrupted\n");
	exit(128 + sig);
}

/* Wait for a child to end or a second to pass; kill what is over its time. */
static void wait_some(struct program *running[], int *nr_running)
{
	const struct timespec second = {.tv_sec = 1};
	int status, sig;
	pid_t pid;

	sig = sigtimedwait(&waited, NULL, &second);
	if (sig == SIGINT || sig == SIGTERM)
		leave(sig);
	for (int i = 0; i < *nr_running; i++) {
		struct program *p = running[i];

		if (!p->timed_out && now() - p->started > timeout_seconds) {
			p->timed_out = true;
			kill_tree(p->pid);
		}
	}
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (int i = 0; i < *nr_running; i++) {
			if (running[i]->pid != pid)
				continue;
			finish(running[i], status);
			running[i] = running[--*nr_running];
			break;
		}
	}
}

static void run_all(char **paths, int nr, int jobs)
{
	struct program *programs = calloc((size_t)nr + 1, sizeof(*programs));
	struct program *running[MAX_JOBS];
	int nr_running = 0, next = 0;

	if (!programs)
		die("memory");
	while (next < nr || nr_running > 0) {
		while (next < nr && nr_running < jobs) {
			name_program(&programs[next], paths[next]);
			start(&programs[next]);
			running[nr_running++] = &programs[next++];
		}
		wait_some(running, &nr_running);
	}
	kill_children(getpid());
	while (wait(NULL) > 0)
		;
	free(programs);
}

int main(int argc, char **argv)
{
	char logs[1024];
	int jobs = 1, opt;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((opt = getopt(argc, argv, "t:j:s:b:")) != -1) {
		if (opt == 't')
			timeout_seconds = atof(optarg);
		else if (opt == 'j')
			jobs = atoi(optarg);
		else if (opt == 's')
			read_rules(optarg);
		else if (opt == 'b')
			build_dir = optarg;
		else
			return 2;
	}
	if (jobs < 1 || jobs > MAX_JOBS || timeout_seconds <= 0) {
		fprintf(stderr, "runtests: -j 1..%d, -t above 0\n", MAX_JOBS);
		return 2;
	}
	snprintf(logs, sizeof(logs), "%s/logs", build_dir);
	if (mkdir(logs, 0777) && errno != EEXIST)
		die(logs);
	sigemptyset(&waited);
	sigaddset(&waited, SIGCHLD);
	sigaddset(&waited, SIGINT);
	sigaddset(&waited, SIGTERM);
	sigprocmask(SIG_BLOCK, &waited, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	run_all(argv + optind, argc - optind, jobs);
	if (nr_programs_failed)
		printf("%d of %d programs failed\n", nr_programs_failed, argc - optind);
	printf("%d passed, %d failed, %d skipped\n", total.passed, total.failed, total.skipped);
	return total.failed > 0 || total.passed + total.skipped == 0;
}
