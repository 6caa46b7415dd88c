/* SPDX-License-Identifier: MIT */
/*
 * exporter_listen.c - The socket of `weir exporter`.
 *
 * It listens where it is told and nowhere else; without a host it is this machine only, since
 * what a host does is nobody else's business.
 */
#include "exporter.h"

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int fail(struct weir_error *err, int code, const char *address, const char *what)
{
	*err = (struct weir_error){.code = code, .offset = WEIR_OFFSET_NONE};
	snprintf(err->message, sizeof(err->message), "%.128s: %s: %s", address, what,
		 weir_strerror(code));
	return code;
}

/* Somebody answers at this path. */
static bool is_served(const struct sockaddr_un *at)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool served = fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0;

	if (fd >= 0)
		close(fd);
	return served;
}

static int listen_unix(const char *address, const char *path, int *ret, struct weir_error *err)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	struct stat st;
	mode_t mask;
	int fd, rc;

	if (*path == '\0' || strlen(path) >= sizeof(at.sun_path))
		return fail(err, -EINVAL, address, "a path of 1 to 107 bytes is needed");
	strcpy(at.sun_path, path);
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && !is_served(&at))
		unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail(err, -errno, address, "no socket");
	/* No moment at which others could connect. */
	mask = umask(0177);
	rc = bind(fd, (struct sockaddr *)&at, sizeof(at));
	umask(mask);
	if (rc || listen(fd, 64)) {
		rc = errno == EADDRINUSE ? -EEXIST : -errno;
		close(fd);
		return fail(err, rc, address, "cannot listen");
	}
	*ret = fd;
	return 0;
}

static int bind_one(const struct addrinfo *info)
{
	int fd = socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC, info->ai_protocol);
	int on = 1, rc;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (!bind(fd, info->ai_addr, info->ai_addrlen) && !listen(fd, 64))
		return fd;
	rc = errno == EADDRINUSE ? -EEXIST : -errno;
	close(fd);
	return rc;
}

static int listen_tcp(const char *address, int *ret, struct weir_error *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *list;
	const char *colon = strrchr(address, ':');
	char host[256];
	int fd = -EINVAL;

	if (!colon || (size_t)(colon - address) >= sizeof(host))
		return fail(err, -EINVAL, address, "not HOST:PORT or unix:PATH");
	snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
	if (host[0] == '[' && host[strlen(host) - 1] == ']') {
		host[strlen(host) - 1] = '\0';
		memmove(host, host + 1, strlen(host));
	}
	if (getaddrinfo(host[0] ? host : "127.0.0.1", colon + 1, &hints, &list))
		return fail(err, -EINVAL, address, "no such host or port");
	for (struct addrinfo *i = list; i && fd < 0; i = i->ai_next)
		fd = bind_one(i);
	freeaddrinfo(list);
	if (fd < 0)
		return fail(err, fd, address, "cannot listen");
	*ret = fd;
	return 0;
}

int wr_exporter_listen(const char *address, int *ret, struct weir_error *err)
{
	return !strncmp(address, "unix:", 5) ? listen_unix(address, address + 5, ret, err)
					     : listen_tcp(address, ret, err);
}

const char *wr_exporter_address(int fd, char *text, size_t room)
{
	struct sockaddr_storage at;
	socklen_t bytes = sizeof(at);
	char host[128], port[16];

	if (getsockname(fd, (struct sockaddr *)&at, &bytes))
		snprintf(text, room, "?");
	else if (at.ss_family == AF_UNIX)
		snprintf(text, room, "unix:%s", ((struct sockaddr_un *)&at)->sun_path);
	else if (getnameinfo((struct sockaddr *)&at, bytes, host, sizeof(host), port, sizeof(port),
			     NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(text, room, "?");
	else
		snprintf(text, room,
			 strchr(host, ':') ? "http://[%s]:%s/metrics" : "http://%s:%s/metrics",
			 host, port);
	return text;
}
