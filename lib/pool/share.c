/* SPDX-License-Identifier: MIT */
/* Pools whose regions other processes map, and the other processes' side of it. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <weir/pool_share.h>

#include "base/util.h"
#include "pool/state.h"

int weir_pool_open_shared(const struct weir_pool_opts *opts, struct weir_pool **ret,
			  struct weir_error *err)
{
	const uint32_t all = (1u << WEIR_PAGE_KINDS) - 1;
	struct weir_pool_opts o;
	int rc;

	rc = wr_opts_copy(&o, sizeof(o), opts);
	if (rc != 0)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "pool options: %s",
				    weir_strerror(rc));
	/* Nothing was left out that was to be had: so it is no step down that has a reason. */
	if (o.page_kinds == 0)
		o.page_kinds = all & ~(1u << WEIR_PAGE_THP);
	return wr_pool_open_on(wr_pool_system_shared(), &o, ret, err);
}

int weir_pool_region_fd(const struct weir_pool *pool, size_t index)
{
	const struct wr_pool_region *r;
	size_t i;

	if (!pool || pool->fork_count != wr_pool_fork_count())
		return -EINVAL;
	for (i = 0; i < pool->nr_zones; i++) {
		if (index < pool->zones[i].nr_regions) {
			r = &pool->zones[i].regions[index];
			if (!r->provider->share)
				return -EOPNOTSUPP;
			return r->provider->share(r->provider->arg, &r->map);
		}
		index -= pool->zones[i].nr_regions;
	}
	return -EINVAL;
}

int weir_region_map(int fd, uint32_t flags, void **ret_base, size_t *ret_bytes,
		    struct weir_error *err)
{
	int protection = flags & WEIR_REGION_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;
	struct stat st;
	int seals, rc;
	void *p;

	if (flags & ~WEIR_REGION_WRITE || !ret_base || !ret_bytes)
		return wr_error_set(err, -EINVAL, NULL, WEIR_OFFSET_NONE,
				    "region: unknown flags, or nowhere to say where it is");
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) != 0 || st.st_size <= 0)
		return wr_error_set(err, -EINVAL, NULL, WEIR_OFFSET_NONE,
				    "region: descriptor %d is not that of a pool's region", fd);
	p = mmap(NULL, (size_t)st.st_size, protection, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		rc = -errno;
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "region: %lld bytes: %s",
				    (long long)st.st_size, weir_strerror(rc));
	}
	*ret_base = p;
	*ret_bytes = (size_t)st.st_size;
	return 0;
}

void weir_region_unmap(void *base, size_t bytes)
{
	if (base)
		munmap(base, bytes);
}
