/* SPDX-License-Identifier: MIT */
/* `weir exporter`: what it serves where, to whom, and that the real Prometheus takes it. */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <weir/metrics_segment.h>
#include <weir/metrics_system.h>

#include "base/util.h"
#include "harness/run_weir.h"
#include "harness/skip.h"

/* clang-format off */
FIXTURE(exporter) {
	char dir[256];
	struct weir_metrics *m;
	struct wt_run run;
	char at[256];
};
/* clang-format on */

FIXTURE_SETUP(exporter)
{
	struct weir_metrics_opts opts = {.size = sizeof(opts), .flags = WEIR_METRICS_SHARED};
	struct weir_metric_desc desc = {WEIR_METRIC_COUNTER, "test_reads", "", "Reads"};
	struct weir_metric_desc hist = {WEIR_METRIC_HISTOGRAM, "test_wait_ns", "ns", "Waits"};
	uint32_t id;

	if (access("/dev/shm", W_OK) != 0)
		SKIP_SETUP("there is no /dev/shm");
	wt_dir_make(self->dir, sizeof(self->dir), "/dev/shm");
	opts.segment_dir = self->dir;
	ASSERT_EQ(weir_metrics_open_opts(&opts, &self->m, NULL), 0);
	ASSERT_EQ(weir_metrics_register(self->m, &desc, &id), 0);
	weir_metrics_add(self->m, id, 42);
	ASSERT_EQ(weir_metrics_register(self->m, &hist, &id), 0);
	weir_metrics_observe(self->m, id, 1000);
}

FIXTURE_TEARDOWN(exporter)
{
	if (self->dir[0] == '\0')
		return;
	if (self->run.pid > 0) {
		kill(self->run.pid, SIGTERM);
		wt_wait(&self->run);
	}
	wt_run_fini(&self->run);
	weir_metrics_close(self->m);
	wt_dir_remove(self->dir);
}

/* Start it, and wait until it says where it listens. */
static bool start(struct wt_run *run, const char *address, const char *dir, char *ret, size_t room)
{
	const char *args[] = {"exporter", "--listen", address, "--segments", dir, NULL};
	char line[300] = "";

	if (wt_start(run, args) != 0)
		return false;
	for (int i = 0; i < 5000; i++) {
		ssize_t nr = pread(run->out_fd, line, sizeof(line) - 1, 0);

		if (nr > 0 && line[nr - 1] == '\n') {
			line[nr - 1] = '\0';
			snprintf(ret, room, "%s", line + strlen("weir exporter: "));
			return true;
		}
		usleep(1000);
	}
	return false;
}

/* "http://127.0.0.1:PORT/metrics" or "unix:PATH". */
static int dial(const char *address)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	bool local = strncmp(address, "unix:", 5) == 0;
	int fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM, 0);

	if (local)
		snprintf(un.sun_path, sizeof(un.sun_path), "%s", address + 5);
	else
		in.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
	if (connect(fd, local ? (struct sockaddr *)&un : (struct sockaddr *)&in,
		    local ? sizeof(un) : sizeof(in)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* The whole answer, head included. */
static void ask(const char *address, const char *request, char *ret, size_t room)
{
	int fd = dial(address);
	size_t used = 0;
	ssize_t nr = 0;

	if (fd >= 0 && write(fd, request, strlen(request)) == (ssize_t)strlen(request)) {
		while (used < room - 1 && (nr = read(fd, ret + used, room - 1 - used)) > 0)
			used += (size_t)nr;
	}
	if (fd >= 0)
		close(fd);
	ret[used] = '\0';
}

#define NEEDS_SERVER          \
	if (!HAVE_MICROHTTPD) \
	SKIP(return, "built without libmicrohttpd")

TEST_F(exporter, a_unix_socket_is_for_this_user_and_goes_with_the_server)
{
	char path[300], address[310], text[8192];
	struct stat st;

	NEEDS_SERVER;
	snprintf(path, sizeof(path), "%s/socket", self->dir);
	snprintf(address, sizeof(address), "unix:%s", path);
	ASSERT_TRUE(start(&self->run, address, self->dir, self->at, sizeof(self->at)));
	EXPECT_STREQ(self->at, address);
	ASSERT_EQ(stat(path, &st), 0);
	EXPECT_EQ(st.st_mode & 07777, 0600u);
	ask(address, "GET /metrics HTTP/1.0\r\n\r\n", text, sizeof(text));
	EXPECT_NE(strstr(text, "200 OK"), NULL);
	EXPECT_NE(strstr(text, "version=0.0.4"), NULL);
	EXPECT_NE(strstr(text, "\ntest_reads_total{pid=\""), NULL);
	EXPECT_NE(strstr(text, "\"} 42\n"), NULL);
	/* The next one at this path is refused while it is served. */
	ASSERT_EQ(wt_shell(text, sizeof(text), "exporter --listen %s 2>&1", address), 1);
	EXPECT_NE(strstr(text, "cannot listen"), NULL);
	kill(self->run.pid, SIGTERM);
	EXPECT_EQ(wt_wait(&self->run), 0);
	self->run.pid = 0;
	EXPECT_NE(access(path, F_OK), 0);
}

TEST_F(exporter, each_page_has_its_format_and_others_are_not_there)
{
	char text[8192];

	NEEDS_SERVER;
	ASSERT_TRUE(start(&self->run, "127.0.0.1:0", self->dir, self->at, sizeof(self->at)));
	ask(self->at, "GET /metrics HTTP/1.0\r\nAccept: application/openmetrics-text\r\n\r\n", text,
	    sizeof(text));
	EXPECT_NE(strstr(text, "application/openmetrics-text; version=1.0.0"), NULL);
	EXPECT_STREQ(text + strlen(text) - 6, "# EOF\n");
	ask(self->at, "GET /metrics.json HTTP/1.0\r\n\r\n", text, sizeof(text));
	EXPECT_NE(strstr(text, "\r\n\r\n{\"metrics\": ["), NULL);
	ask(self->at, "GET /metrics.csv HTTP/1.0\r\n\r\n", text, sizeof(text));
	EXPECT_NE(strstr(text, "\r\n\r\nname,labels,"), NULL);
	ask(self->at, "GET / HTTP/1.0\r\n\r\n", text, sizeof(text));
	EXPECT_NE(strstr(text, "200 OK"), NULL);
	ask(self->at, "GET /../etc/passwd HTTP/1.0\r\n\r\n", text, sizeof(text));
	EXPECT_NE(strstr(text, "404"), NULL);
	ask(self->at, "POST /metrics HTTP/1.0\r\nContent-Length: 0\r\n\r\n", text, sizeof(text));
	EXPECT_NE(strstr(text, "405"), NULL);
	/* A host that ends is not served any more. */
	weir_metrics_close(self->m);
	self->m = NULL;
	ask(self->at, "GET /metrics HTTP/1.0\r\n\r\n", text, sizeof(text));
	EXPECT_NE(strstr(text, "200 OK"), NULL);
	EXPECT_EQ(strstr(text, "test_reads"), NULL);
}

TEST_F(exporter, once_prints_what_a_scrape_would_get)
{
	char text[8192];

	ASSERT_EQ(wt_shell(text, sizeof(text), "exporter --once --segments %s", self->dir), 0);
	EXPECT_NE(strstr(text, "test_wait_seconds_bucket{pid="), NULL);
	EXPECT_STREQ(text + strlen(text) - 6, "# EOF\n");
	EXPECT_EQ(
		wt_weir(&self->run, "exporter", "--once", "--json", "--segments", self->dir, NULL),
		0);
	EXPECT_EQ(wt_int(self->run.json, "metrics.0.value"), 42);
	EXPECT_STREQ(wt_text(self->run.json, "metrics.0.labels.context"), "0");
	EXPECT_EQ(wt_shell(text, sizeof(text), "exporter --once --segments /nonexistent 2>&1"), 1);
}

TEST_F(exporter, an_address_that_is_none_is_refused)
{
	static const char *const bad[] = {"nonsense", "unix:", "127.0.0.1:notaport",
					  "host.invalid:9", "[::1:9"};
	char text[1024];

	NEEDS_SERVER;
	for (size_t i = 0; i < wr_array_size(bad); i++) {
		EXPECT_EQ(wt_shell(text, sizeof(text), "exporter --listen %s 2>&1", bad[i]), 1)
		{
			TH_LOG("%s", bad[i]);
		}
	}
}

/* Ask the server of @port for @query until its answer holds @wanted; at most 30 s. */
static bool prometheus_says(int port, const char *query, const char *wanted)
{
	char at[64], request[512], text[8192];

	snprintf(at, sizeof(at), "http://127.0.0.1:%d", port);
	snprintf(request, sizeof(request), "GET /api/v1/%s HTTP/1.0\r\nHost: localhost\r\n\r\n",
		 query);
	for (int i = 0; i < 150; i++) {
		ask(at, request, text, sizeof(text));
		if (strstr(text, wanted))
			return true;
		usleep(200000);
	}
	return false;
}

static int free_port(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t bytes = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &bytes) != 0)
		abort();
	close(fd);
	return ntohs(at.sin_port);
}

/* The server, scraping @target every second, its data below @dir. Its pid, or -1. */
static pid_t start_prometheus(const char *dir, const char *target, int port)
{
	char config[300], store[320], listen[64], option[320];
	FILE *file;
	pid_t pid;

	snprintf(config, sizeof(config), "%s/prometheus.yml", dir);
	snprintf(store, sizeof(store), "--storage.tsdb.path=%s/data", dir);
	snprintf(listen, sizeof(listen), "--web.listen-address=127.0.0.1:%d", port);
	snprintf(option, sizeof(option), "--config.file=%s", config);
	file = fopen(config, "w");
	if (file == NULL)
		return -1;
	fprintf(file,
		"global:\n  scrape_interval: 1s\nscrape_configs:\n- job_name: weir\n"
		"  static_configs:\n  - targets: ['%s']\n",
		target);
	fclose(file);
	pid = fork();
	if (pid == 0) {
		if (freopen("/dev/null", "w", stderr) == NULL)
			(_exit)(1);
		execlp("prometheus", "prometheus", option, store, listen, (char *)NULL);
		(_exit)(127);
	}
	return pid;
}

TEST_F_TIMEOUT(exporter, the_real_prometheus_scrapes_it, 90)
{
	char target[64], expected[128];
	int port, status;
	pid_t pid;

	NEEDS_SERVER;
	if (system("command -v prometheus >/dev/null 2>&1") != 0)
		SKIP(return, "prometheus is not installed");
	ASSERT_EQ(weir_collector_start(self->m, NULL, NULL), 0);
	ASSERT_TRUE(start(&self->run, "127.0.0.1:0", self->dir, self->at, sizeof(self->at)));
	snprintf(target, sizeof(target), "%.*s", (int)strcspn(self->at + strlen("http://"), "/"),
		 self->at + strlen("http://"));
	port = free_port();
	pid = start_prometheus(self->dir, target, port);
	ASSERT_GT(pid, 0);
	EXPECT_TRUE(prometheus_says(port, "query?query=up", "\"1\"]"));
	snprintf(expected, sizeof(expected), "\"pid\":\"%d\"", (int)getpid());
	EXPECT_TRUE(prometheus_says(port, "query?query=test_reads_total", expected));
	EXPECT_TRUE(prometheus_says(port, "query?query=test_reads_total", "\"42\"]"));
	EXPECT_TRUE(prometheus_says(port, "query?query=test_wait_seconds_sum", "\"0.000001\"]"));
	EXPECT_TRUE(
		prometheus_says(port, "query?query=weir_process_resident_bytes", "\"success\""));
	EXPECT_TRUE(prometheus_says(port, "targets", "\"health\":\"up\""));
	EXPECT_TRUE(prometheus_says(port, "targets", "\"lastError\":\"\""));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

TEST_HARNESS_MAIN
