/* SPDX-License-Identifier: MIT */
/*
 * exporter.h - The parts of `weir exporter`: where it listens, what it answers.
 */
#ifndef WR_TOOLS_EXPORTER_H
#define WR_TOOLS_EXPORTER_H

#include <stddef.h>

#include <weir/base.h>

/**
 * struct wr_exporter_body - A text that grows.
 * @text:  Freed by wr_exporter_body_fini(), or by who takes it.
 * @bytes: Its length.
 */
struct wr_exporter_body {
	char *text;
	size_t bytes, room;
};

/**
 * wr_exporter_listen() - Open the socket.
 * @address: "HOST:PORT", "[IPV6]:PORT", ":PORT" for 127.0.0.1, or "unix:PATH". A path at which
 *           nobody listens any more is replaced; it gets mode 0600.
 * @ret:     The socket, listening.
 * @err:     On failure.
 *
 * Return: 0, -EINVAL (no such address), or why the system refuses.
 */
int wr_exporter_listen(const char *address, int *ret, struct weir_error *err);

/* Where @fd listens, as text: the port that was chosen for 0, too. Returns @text. */
const char *wr_exporter_address(int fd, char *text, size_t room);

/**
 * wr_exporter_render() - The numbers of the hosts that run now.
 * @dir:    Of the segments, or NULL.
 * @format: One of enum weir_metrics_format.
 * @ret:    The text.
 *
 * Return: 0, -ENOMEM, or why the folder cannot be read.
 */
int wr_exporter_render(const char *dir, int format, struct wr_exporter_body *ret);

void wr_exporter_body_fini(struct wr_exporter_body *body);

/**
 * wr_exporter_serve() - Answer on @fd until ^C.
 *
 * Return: 0, or -EOPNOTSUPP (built without libmicrohttpd), -ENOMEM.
 */
int wr_exporter_serve(int fd, const char *dir);

#endif /* WR_TOOLS_EXPORTER_H */
