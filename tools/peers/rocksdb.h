/* SPDX-License-Identifier: MIT */
/*
 * rocksdb.h - RocksDB's block caches behind C, for `weir bench cache`. A shared object that is
 * loaded when the benchmark runs, so that neither the library nor the command needs C++.
 */
#ifndef WR_PEERS_ROCKSDB_H
#define WR_PEERS_ROCKSDB_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct wr_peer_rocksdb;

/*
 * A HyperClockCache or an LRUCache, both with their own number of shards, that has room for half
 * again as many entries of @charge bytes as @nr keys, and holds all of them. NULL when it does not.
 */
struct wr_peer_rocksdb *wr_peer_rocksdb_open(int hyper_clock, const void *keys, size_t nr,
					     size_t charge);
void wr_peer_rocksdb_close(struct wr_peer_rocksdb *peer);

/* Look up, look at the value and release, the 16-byte keys @order[0..n). Lookups that found. */
uint64_t wr_peer_rocksdb_hits(struct wr_peer_rocksdb *peer, const void *keys, const uint32_t *order,
			      size_t n);

#ifdef __cplusplus
}
#endif

#endif /* WR_PEERS_ROCKSDB_H */
