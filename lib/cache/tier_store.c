/* SPDX-License-Identifier: MIT */
/*
 * A folder of segment files as L3. The store promises what weir/tier_ops.h asks for, and more: puts
 * and removes of a key take effect in the order of the calls, and what is acknowledged is found
 * after a restart. So each function here is one call.
 */
#include "cache/tier_store.h"

#include "base/util.h"

static int store_put(void *store, const struct weir_store_item *item, const void *from,
		     weir_tier_done_fn done, void *arg)
{
	struct wr_store_put_req req = {.key = item->key,
				       .class = item->class_id,
				       .name = item->name,
				       .buf = from,
				       .bytes = item->bytes,
				       .done = done,
				       .arg = arg};

	return wr_store_put(store, &req);
}

static int store_get(void *store, struct weir_key key, void *to, size_t room,
		     weir_tier_done_fn done, void *arg)
{
	return wr_store_get(store, key, to, room, done, arg);
}

static int store_remove(void *store, struct weir_key key, weir_tier_done_fn done, void *arg)
{
	return wr_store_remove(store, key, done, arg);
}

static int store_find(void *store, struct weir_key key, struct weir_store_item *ret)
{
	struct wr_store_info info;
	int rc = wr_store_find(store, key, &info);

	if (!rc && ret)
		*ret = (struct weir_store_item){
			.key = key, .bytes = info.bytes, .class_id = info.class};
	return rc;
}

const struct weir_store_ops wr_cache_store_ops = {
	.size = sizeof(wr_cache_store_ops),
	.put = store_put,
	.get = store_get,
	.remove = store_remove,
	.find = store_find,
};

int wr_cache_open_store(const struct weir_cache_opts *opts, struct wr_store **ret,
			struct weir_error *err)
{
	struct wr_store_opts store = {.size = sizeof(store),
				      .budget_bytes = opts->l3_budget,
				      .io = opts->l3_io,
				      .sync = opts->l3_no_sync ? WR_STORE_SYNC_NONE
							       : WR_STORE_SYNC_DATA};

	return wr_store_open(opts->l3_dir, &store, ret, err);
}
