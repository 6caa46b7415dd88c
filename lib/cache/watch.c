/* SPDX-License-Identifier: MIT */
/*
 * The system's shortness of memory, from the kernel's pressure stall information
 * (Documentation/accounting/psi.rst): a trigger is written to a pressure file, and poll() wakes
 * whoever asked when tasks waited for memory longer than it says. Each report takes a part of L2's
 * limit away; quiet times give it back step by step.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/util.h"
#include "cache/cache_internal.h"

#define SYSTEM_PATH "/proc/pressure/memory"
#define CGROUP_ROOT "/sys/fs/cgroup"

struct wr_watch {
	struct weir_cache *cache;
	struct weir_cache_watch_opts opts;
	pthread_t thread;
	int fd;	     /* of the pressure file */
	int stop_fd; /* readable when the thread is to end */
	uint32_t permille;
};

/* The memory cgroup's own file, where there is cgroup v2 and we are not in its root. */
static bool cgroup_path(char *path, size_t bytes)
{
	char line[1024];
	bool found = false;
	FILE *f = fopen("/proc/self/cgroup", "re");

	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "0::/", 4) || !line[4])
			continue;
		found = snprintf(path, bytes, CGROUP_ROOT "%s/memory.pressure", line + 3) <
				(int)bytes &&
			access(path, W_OK) == 0;
	}
	fclose(f);
	return found;
}

/* Without privileges the kernel looks every 2 s: then the same share of such a window. */
#define SLOW_WINDOW_US 2000000u

static int set_trigger(int fd, uint64_t stall_us, uint64_t window_us)
{
	char text[64];

	snprintf(text, sizeof(text), "some %llu %llu", (unsigned long long)stall_us,
		 (unsigned long long)window_us);
	return write(fd, text, strlen(text) + 1) < 0 ? -errno : 0;
}

static int open_trigger(const struct weir_cache_watch_opts *o, const char *path, int *ret,
			struct weir_error *err)
{
	int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int rc;

	if (fd < 0) {
		rc = errno == EACCES || errno == EPERM ? -errno : -ENOENT;
		if (!o->path && rc == -ENOENT)
			rc = -EOPNOTSUPP;
		return wr_error_set(err, rc, path, WEIR_OFFSET_NONE,
				    "pressure of memory is not to be had: %s; the kernel may have "
				    "been built or booted without PSI (psi=1)",
				    weir_strerror(rc));
	}
	rc = set_trigger(fd, o->stall_us, o->window_us);
	if (rc == -EINVAL || rc == -EPERM)
		rc = set_trigger(fd, (uint64_t)o->stall_us * SLOW_WINDOW_US / o->window_us,
				 SLOW_WINDOW_US);
	if (!rc) {
		*ret = fd;
		return 0;
	}
	close(fd);
	rc = rc == -EPERM || rc == -EBUSY ? rc : -EOPNOTSUPP;
	return wr_error_set(err, rc, path, WEIR_OFFSET_NONE,
			    "a trigger of %u us in %u us is refused: %s", o->stall_us, o->window_us,
			    weir_strerror(rc));
}

static void set(struct wr_watch *w, uint32_t permille)
{
	int rc = weir_cache_pressure(w->cache, permille);

	/* What is pinned may leave at the next report. */
	if (rc && rc != -EBUSY)
		wr_log(WEIR_LOG_WARN, "cache", "memory is short, and what should leave cannot: %s",
		       weir_strerror(rc));
	w->permille = permille;
}

static void *watch(void *arg)
{
	struct wr_watch *w = arg;
	struct pollfd fds[2] = {{.fd = w->stop_fd, .events = POLLIN},
				{.fd = w->fd, .events = POLLPRI}};

	for (;;) {
		int timeout = w->permille < 1000 ? (int)w->opts.grow_ms : -1;
		int nr = poll(fds, 2, timeout);

		if (nr < 0 && errno != EINTR)
			break;
		if (nr > 0 && fds[0].revents)
			break;
		if (nr > 0 && fds[1].revents & (POLLERR | POLLNVAL)) /* the cgroup is gone */
			fds[1].fd = -1;
		else if (nr > 0 && fds[1].revents & POLLPRI)
			set(w, wr_max(w->permille * w->opts.keep_permille / 1000,
				      w->opts.floor_permille));
		else if (nr == 0)
			set(w, wr_min(w->permille + 125, 1000u));
	}
	return NULL;
}

static int check_opts(struct weir_cache_watch_opts *o)
{
	o->stall_us = o->stall_us ? o->stall_us : 50000;
	o->window_us = o->window_us ? o->window_us : 500000;
	o->keep_permille = o->keep_permille ? o->keep_permille : 750;
	o->floor_permille = o->floor_permille ? o->floor_permille : 125;
	o->grow_ms = o->grow_ms ? o->grow_ms : 2000;
	if (o->stall_us >= o->window_us || o->window_us < 500000 || o->window_us > 10000000 ||
	    o->keep_permille >= 1000 || o->floor_permille > 1000 || o->grow_ms > 86400000)
		return -EINVAL;
	return 0;
}

static void free_watch(struct wr_watch *w)
{
	if (w->fd >= 0)
		close(w->fd);
	if (w->stop_fd >= 0)
		close(w->stop_fd);
	wr_free(w);
}

/* Everything but the thread. */
static int make_watch(struct weir_cache *cache, const struct weir_cache_watch_opts *o,
		      struct wr_watch **ret, struct weir_error *err)
{
	struct wr_watch *w = wr_calloc(1, sizeof(*w));
	char path[1200] = SYSTEM_PATH;
	int rc;

	if (!w)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory for a watch");
	w->cache = cache;
	w->opts = *o;
	w->permille = 1000;
	w->fd = -1;
	w->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->stop_fd < 0) {
		rc = wr_error_set(err, errno == EMFILE || errno == ENFILE ? -errno : -ENOMEM, NULL,
				  WEIR_OFFSET_NONE, "no descriptor for a watch");
	} else {
		if (!o->path && !cgroup_path(path, sizeof(path)))
			strcpy(path, SYSTEM_PATH);
		rc = open_trigger(o, o->path ? o->path : path, &w->fd, err);
	}
	if (rc) {
		free_watch(w);
		return rc;
	}
	w->opts.path = NULL; /* the caller's */
	*ret = w;
	return 0;
}

int weir_cache_watch(struct weir_cache *cache, const struct weir_cache_watch_opts *opts,
		     struct weir_error *err)
{
	struct weir_cache_watch_opts o;
	struct wr_watch *w;
	int rc = wr_opts_copy(&o, sizeof(o), opts);

	if (!rc)
		rc = check_opts(&o);
	if (rc)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "an option of the watch is out of its bounds");
	rc = make_watch(cache, &o, &w, err);
	if (rc)
		return rc;
	wr_mutex_lock(&cache->lock);
	rc = cache->watch ? -EALREADY : 0;
	if (!rc)
		cache->watch = w;
	wr_mutex_unlock(&cache->lock);
	if (!rc && pthread_create(&w->thread, NULL, watch, w)) {
		rc = -EAGAIN;
		wr_mutex_lock(&cache->lock);
		cache->watch = NULL;
		wr_mutex_unlock(&cache->lock);
	}
	if (!rc)
		return 0;
	free_watch(w);
	return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "the cache cannot be watched: %s",
			    weir_strerror(rc));
}

void wr_watch_stop(struct weir_cache *cache)
{
	struct wr_watch *w;
	uint64_t one = 1;

	wr_mutex_lock(&cache->lock);
	w = cache->watch;
	cache->watch = NULL;
	wr_mutex_unlock(&cache->lock);
	if (!w)
		return;
	while (write(w->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(w->thread, NULL);
	free_watch(w);
}
