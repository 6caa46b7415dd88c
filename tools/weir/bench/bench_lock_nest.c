/* SPDX-License-Identifier: MIT */
/*
 * bench_lock_nest.c - The other arms of weir bench lock: pthread, the library, ThreadSanitizer.
 *
 * ThreadSanitizer's arm is a program that is compiled when the benchmark runs: its runtime cannot
 * be in a program that is not all built with it.
 */
#include "bench_lock.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lock/lock.h"

void wr_nest_plain(uint32_t nr)
{
	static pthread_mutex_t outer = PTHREAD_MUTEX_INITIALIZER;
	static pthread_mutex_t inner = PTHREAD_MUTEX_INITIALIZER;

	WR_NEST_LOOP(nr, pthread_mutex_lock, pthread_mutex_unlock, &outer, &inner);
}

void wr_nest_weir(uint32_t nr)
{
	static struct wr_mutex outer = WR_MUTEX_INIT(WR_RANK_POOL, "bench.outer");
	static struct wr_mutex inner = WR_MUTEX_INIT(WR_RANK_IO, "bench.inner");

	WR_NEST_LOOP(nr, wr_mutex_lock, wr_mutex_unlock, &outer, &inner);
}

bool wr_nest_is_checked_build(void)
{
	return WR_LOCK_CHECK;
}

static const char tsan_source[] =
	"#include <pthread.h>\n"
	"#include <stdio.h>\n"
	"#include <stdlib.h>\n"
	"#include <time.h>\n"
	"#include <unistd.h>\n"
	"static pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER, b = PTHREAD_MUTEX_INITIALIZER;\n"
	"static volatile unsigned long under;\n"
	"static double now(void)\n"
	"{\n"
	"	struct timespec t;\n"
	"	clock_gettime(CLOCK_MONOTONIC, &t);\n"
	"	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;\n"
	"}\n"
	"static void *idle(void *p) { for (;;) pause(); return p; }\n"
	"int main(int argc, char **argv)\n"
	"{\n"
	"	int batches = atoi(argv[argc - 2]), nr = atoi(argv[argc - 1]);\n"
	"	double best = 1e18;\n"
	"	pthread_t thread;\n"
	"	if (pthread_create(&thread, NULL, idle, NULL)) return 1;\n"
	"	for (int i = 0; i < batches; i++) {\n"
	"		double t = now();\n"
	"		for (int j = 0; j < nr; j++) {\n"
	"			pthread_mutex_lock(&a);\n"
	"			pthread_mutex_lock(&b);\n"
	"			under++;\n"
	"			pthread_mutex_unlock(&b);\n"
	"			pthread_mutex_unlock(&a);\n"
	"		}\n"
	"		t = (now() - t) / nr;\n"
	"		if (t < best) best = t;\n"
	"	}\n"
	"	printf(\"%.3f\\n\", best);\n"
	"	_exit(fflush(stdout) != 0);\n"
	"}\n";

static const char *const compilers[] = {"cc", "gcc", "clang"};

/* The exit status of @argv with @in as its input and its output, if wanted, in @out. */
static int run(char *const argv[], const char *in, char *out, size_t out_size)
{
	int to[2], from[2], status;
	size_t got = 0;
	ssize_t n;
	pid_t child;

	/* A socket, which can be written to without a signal when the reader is gone. */
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, to) != 0)
		return -1;
	if (pipe(from) != 0) {
		close(to[0]);
		close(to[1]);
		return -1;
	}
	child = fork();
	if (child == 0) {
		dup2(to[0], STDIN_FILENO);
		dup2(from[1], STDOUT_FILENO);
		close(to[0]);
		close(to[1]);
		close(from[0]);
		close(from[1]);
		/* The runtimes of gcc 12 and clang 14 need addresses that are not spread widely. */
		personality(ADDR_NO_RANDOMIZE);
		if (freopen("/dev/null", "w", stderr) == NULL)
			_exit(126);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	/* Far below what the socket holds, so nobody waits for anybody; who is gone needs no input. */
	n = child > 0 ? send(to[1], in, strlen(in), MSG_NOSIGNAL) : -1;
	close(to[1]);
	while (n >= 0 && got + 1 < out_size &&
	       (n = read(from[0], out + got, out_size - 1 - got)) > 0)
		got += (size_t)n;
	out[got] = '\0';
	close(from[0]);
	return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status)
		       ? WEXITSTATUS(status)
		       : -1;
}

int wr_nest_tsan_build(char path[static 64], char reason[static 128])
{
	char text[16];
	int fd;

	snprintf(path, 64, "/tmp/weir-bench-lock-XXXXXX");
	fd = mkstemp(path);
	if (fd < 0) {
		snprintf(reason, 128, "no temporary file: %s", strerrordesc_np(errno));
		return -errno;
	}
	/* Closed before it is run: a program that is open for writing is busy. */
	close(fd);
	for (size_t i = 0; i < sizeof(compilers) / sizeof(compilers[0]); i++) {
		char compiler[16];
		char *argv[] = {compiler,   "-O2", "-w", "-fsanitize=thread",
				"-pthread", "-x",  "c",	 "-",
				"-o",	    path,  NULL};

		snprintf(compiler, sizeof(compiler), "%s", compilers[i]);
		if (run(argv, tsan_source, text, sizeof(text)) == 0 &&
		    wr_nest_tsan_run(path, 1, 1000) > 0)
			return 0;
	}
	unlink(path);
	snprintf(reason, 128, "no compiler here makes programs with ThreadSanitizer");
	return -ENOENT;
}

double wr_nest_tsan_run(const char *path, uint32_t batches, uint32_t nr)
{
	char program[64], nr_batches[16], nr_nests[16], text[64];
	char *argv[] = {program, nr_batches, nr_nests, NULL};

	snprintf(program, sizeof(program), "%s", path);
	snprintf(nr_batches, sizeof(nr_batches), "%u", batches);
	snprintf(nr_nests, sizeof(nr_nests), "%u", nr);
	return run(argv, "", text, sizeof(text)) == 0 ? strtod(text, NULL) : -1;
}
