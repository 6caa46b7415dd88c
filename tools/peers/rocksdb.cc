// SPDX-License-Identifier: MIT
// RocksDB's block caches as `weir bench cache` measures them: their public interface, from loops on
// this side of the call.
#include "rocksdb.h"

#include <memory>

#include <rocksdb/cache.h>

struct wr_peer_rocksdb {
	std::shared_ptr<rocksdb::Cache> cache;
	uint64_t value;
};

static void forget(const rocksdb::Slice &, void *)
{
}

extern "C" __attribute__((visibility("default"))) wr_peer_rocksdb *wr_peer_rocksdb_open(
	int hyper_clock, const void *keys, size_t nr, size_t charge)
{
	auto *peer = new wr_peer_rocksdb;
	size_t capacity = nr * charge / 2 * 3;

	peer->value = 0;
	if (hyper_clock)
		peer->cache =
			rocksdb::HyperClockCacheOptions(capacity, charge).MakeSharedCache();
	else
		peer->cache = rocksdb::NewLRUCache(capacity);
	for (size_t i = 0; peer->cache && i < nr; i++) {
		rocksdb::Slice key(static_cast<const char *>(keys) + 16 * i, 16);

		if (!peer->cache->Insert(key, &peer->value, charge, forget).ok())
			peer->cache.reset();
	}
	if (peer->cache)
		return peer;
	delete peer;
	return nullptr;
}

extern "C" __attribute__((visibility("default"))) void wr_peer_rocksdb_close(wr_peer_rocksdb *peer)
{
	delete peer;
}

extern "C" __attribute__((visibility("default"))) uint64_t wr_peer_rocksdb_hits(
	wr_peer_rocksdb *peer, const void *keys, const uint32_t *order, size_t n)
{
	rocksdb::Cache *cache = peer->cache.get();
	uint64_t nr_found = 0;

	for (size_t i = 0; i < n; i++) {
		rocksdb::Slice key(static_cast<const char *>(keys) + 16 * (size_t)order[i], 16);
		auto *handle = cache->Lookup(key);

		if (!handle)
			continue;
		nr_found += cache->Value(handle) != nullptr;
		cache->Release(handle);
	}
	return nr_found;
}
