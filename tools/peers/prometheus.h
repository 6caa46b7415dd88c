/* SPDX-License-Identifier: MIT */
/*
 * prometheus.h - prometheus-cpp behind C, for `weir bench metrics`. A shared object that is loaded
 * when the benchmark runs, so that neither the library nor the command needs C++.
 */
#ifndef WR_PEERS_PROMETHEUS_H
#define WR_PEERS_PROMETHEUS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct wr_peer_prometheus;

/* One counter, one histogram with @bounds, and @nr_series counters of one family. */
struct wr_peer_prometheus *wr_peer_prometheus_open(uint32_t nr_series, const double *bounds,
						   size_t nr_bounds);
void wr_peer_prometheus_close(struct wr_peer_prometheus *peer);

/* @n times. */
void wr_peer_prometheus_add(struct wr_peer_prometheus *peer, uint64_t n);

/* Each of @nr values, @n times together. */
void wr_peer_prometheus_observe(struct wr_peer_prometheus *peer, const uint64_t *values, size_t nr,
				uint64_t n);

/* Write all series as text; @ret_ns is the serializer alone, without gathering. Its length. */
size_t wr_peer_prometheus_export(struct wr_peer_prometheus *peer, uint64_t *ret_ns);

#ifdef __cplusplus
}
#endif

#endif /* WR_PEERS_PROMETHEUS_H */
