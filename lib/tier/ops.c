/* SPDX-License-Identifier: MIT */
/* A store of files as a cache's L3. */
#include "tier/ops.h"

#include "base/util.h"
#include "tier/store.h"

_Static_assert(WEIR_TIER_ALIGN == WR_STORE_ALIGN, "a cache's buffers suit a store");

static int ops_put(void *store, const struct weir_store_item *item, const void *from,
		   weir_tier_done_fn done, void *arg)
{
	struct wr_store_put_req req = {.key = item->key,
				       .class = item->class_id,
				       .name = item->name,
				       .buf = from,
				       .bytes = item->bytes,
				       .ahead = item->is_ahead,
				       .done = done,
				       .arg = arg};

	return wr_store_put(store, &req);
}

static int ops_get(void *store, struct weir_key key, void *to, size_t room, weir_tier_done_fn done,
		   void *arg)
{
	return wr_store_get(store, key, to, room, done, arg);
}

static int ops_remove(void *store, struct weir_key key, weir_tier_done_fn done, void *arg)
{
	return wr_store_remove(store, key, done, arg);
}

static int ops_find(void *store, struct weir_key key, struct weir_store_item *ret)
{
	struct wr_store_info info;
	int rc = wr_store_find(store, key, &info);

	if (!rc && ret)
		*ret = (struct weir_store_item){
			.key = key, .bytes = (size_t)info.bytes, .class_id = info.class};
	return rc;
}

const struct weir_store_ops wr_store_ops = {
	.size = sizeof(wr_store_ops),
	.put = ops_put,
	.get = ops_get,
	.remove = ops_remove,
	.find = ops_find,
};
