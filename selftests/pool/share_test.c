/* SPDX-License-Identifier: MIT */
/*
 * Memory of a shared pool: two processes see the same bytes, nobody can cut it off, and
 * nothing is left when both are done.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weir/pool_share.h>

#include "base/alloc.h"
#include "pool/procfile.h"
#include "pool/provider.h"

#define MIB (1ull << 20)

static int open_shared(size_t bytes, uint32_t kinds, struct weir_pool **ret)
{
	struct weir_pool_opts opts = {
		.size = sizeof(opts), .capacity_bytes = bytes, .page_kinds = kinds};

	return weir_pool_open_shared(&opts, ret, NULL);
}

FIXTURE(shared)
{
	struct weir_pool *pool;
	struct weir_pool_region region;
	struct weir_span span;
	size_t offset; /* of the span in the region */
	int fd;
};

FIXTURE_SETUP(shared)
{
	ASSERT_EQ(0, open_shared(4 * MIB, 1u << WEIR_PAGE_4K, &self->pool));
	ASSERT_EQ(0, weir_pool_region(self->pool, 0, &self->region));
	ASSERT_EQ(0, weir_pool_alloc(self->pool, 100000, WEIR_NODE_ANY, &self->span));
	self->offset = (size_t)((uint8_t *)self->span.base - (uint8_t *)self->region.base);
	self->fd = weir_pool_region_fd(self->pool, 0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(shared)
{
	EXPECT_EQ(0, weir_pool_free(self->pool, self->span));
	weir_pool_close(self->pool);
	EXPECT_EQ(0, wr_test_alloc_live());
}

/* Hand a descriptor over, as a process that is no relation would get it. */
static int send_fd(int socket, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = {0}, byte = 0;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	return sendmsg(socket, &msg, 0) == 1 ? 0 : -errno;
}

static int receive_fd(int socket)
{
	char control[CMSG_SPACE(sizeof(int))] = {0}, byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *c;
	int fd = -1;

	if (recvmsg(socket, &msg, 0) != 1)
		return -errno;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

/* The other process: read what is there, write an answer. 0 when all went well. */
static int be_the_other(int socket, size_t offset)
{
	int fd = receive_fd(socket);
	size_t bytes = 0;
	void *base = NULL;
	uint8_t *p;

	if (fd < 0 || weir_region_map(fd, WEIR_REGION_WRITE, &base, &bytes, NULL) != 0)
		return 1;
	close(fd);
	if (bytes != 4 * MIB)
		return 2;
	p = (uint8_t *)base + offset;
	if (p[0] != 'a' || p[99999] != 'z')
		return 3;
	p[50000] = 'm';
	weir_region_unmap(base, bytes);
	return 0;
}

TEST_F(shared, two_processes_see_the_same_bytes)
{
	uint8_t *p = self->span.base;
	int pair[2], status = -1;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid = fork();
	ASSERT_LE(0, pid);
	if (pid == 0)
		_exit(be_the_other(pair[1], self->offset));
	p[0] = 'a';
	p[99999] = 'z';
	ASSERT_EQ(0, send_fd(pair[0], self->fd));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ('m', p[50000]);
	close(pair[0]);
	close(pair[1]);
}

TEST_F(shared, a_fork_child_has_the_descriptor_and_not_the_mapping)
{
	uint8_t *p = self->span.base;
	int status = -1;
	pid_t pid;

	p[0] = 'a';
	pid = fork();
	ASSERT_LE(0, pid);
	if (pid == 0) {
		size_t bytes = 0;
		void *base = NULL;

		if (weir_pool_region_fd(self->pool, 0) != -EINVAL)
			_exit(1);
		if (weir_region_map(self->fd, 0, &base, &bytes, NULL) != 0)
			_exit(2);
		_exit(((uint8_t *)base)[self->offset] == 'a' ? 0 : 3);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F(shared, a_mapping_for_reading_cannot_be_written)
{
	size_t bytes = 0;
	void *base = NULL;
	int status = -1;
	pid_t pid;

	ASSERT_EQ(0, weir_region_map(self->fd, 0, &base, &bytes, NULL));
	pid = fork();
	ASSERT_LE(0, pid);
	if (pid == 0) {
		/* Sanitizers would report it and exit. */
		signal(SIGSEGV, SIG_DFL);
		*(volatile char *)base = 1;
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	weir_region_unmap(base, bytes);
}

TEST_F(shared, nobody_can_cut_the_memory_off)
{
	EXPECT_EQ(-1, ftruncate(self->fd, 4096));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, ftruncate(self->fd, 8 * (off_t)MIB));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE));
}

TEST_F(shared, the_descriptor_is_closed_with_the_pool_and_the_bytes_outlive_it)
{
	size_t bytes = 0;
	void *base = NULL;

	memset(self->span.base, 'x', self->span.bytes);
	ASSERT_EQ(0, weir_region_map(self->fd, 0, &base, &bytes, NULL));
	EXPECT_EQ(0, weir_pool_free(self->pool, self->span));
	weir_pool_close(self->pool);
	EXPECT_EQ(-1, fcntl(self->fd, F_GETFD));
	EXPECT_EQ('x', ((uint8_t *)base)[self->offset]);
	weir_region_unmap(base, bytes);
	self->pool = NULL;
	self->span = (struct weir_span){0};
}

TEST_F(shared, what_is_no_region_is_not_mapped)
{
	size_t bytes = 7;
	void *base = self;
	int plain = memfd_create("plain", MFD_CLOEXEC);

	ASSERT_LE(0, plain);
	ASSERT_EQ(0, ftruncate(plain, 4096));
	EXPECT_EQ(-EINVAL, weir_region_map(plain, 0, &base, &bytes, NULL));
	EXPECT_EQ(-EINVAL, weir_region_map(self->fd, 2, &base, &bytes, NULL));
	EXPECT_EQ(-EINVAL, weir_region_map(STDOUT_FILENO, 0, &base, &bytes, NULL));
	EXPECT_EQ(-EINVAL, weir_region_map(-1, 0, &base, &bytes, NULL));
	EXPECT_EQ(7u, bytes);
	EXPECT_EQ((void *)self, base);
	weir_region_unmap(NULL, 0);
	close(plain);
}

TEST_F(shared, only_regions_that_are_there_have_a_descriptor)
{
	EXPECT_EQ(-EINVAL, weir_pool_region_fd(self->pool, 1));
	EXPECT_EQ(-EINVAL, weir_pool_region_fd(NULL, 0));
	EXPECT_EQ(FD_CLOEXEC, fcntl(self->fd, F_GETFD));
}

TEST(a_private_pool_has_no_descriptor)
{
	struct weir_pool_opts opts = {.size = sizeof(opts), .capacity_bytes = MIB};
	struct weir_pool *pool = NULL;

	ASSERT_EQ(0, weir_pool_open(&opts, &pool, NULL));
	EXPECT_EQ(-EOPNOTSUPP, weir_pool_region_fd(pool, 0));
	weir_pool_close(pool);
}

TEST(shared_memory_has_no_transparent_huge_pages)
{
	struct weir_pool *pool = NULL;

	EXPECT_EQ(-EOPNOTSUPP, open_shared(4 * MIB, 1u << WEIR_PAGE_THP, &pool));
	ASSERT_EQ(0, open_shared(4 * MIB, 0, &pool));
	EXPECT_NE(WEIR_PAGE_THP, weir_pool_page_kind(pool));
	EXPECT_EQ(NULL, strstr(weir_pool_page_reason(pool), "transparent"));
	weir_pool_close(pool);
}

static uint64_t file_bytes(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

TEST(pages_are_given_back_for_all_processes_at_once)
{
	const struct wr_pool_provider *p = wr_pool_provider_memfd(WEIR_PAGE_4K);
	const struct wr_pool_system *system = wr_pool_system_shared();
	struct wr_pool_mapping map;
	struct wr_pool_range range;
	size_t bytes = 0;
	void *base = NULL;

	ASSERT_EQ(0, system->get_range(system->arg, MIB, 4096, &range));
	ASSERT_EQ(0, p->reserve(p->arg, range.base, MIB, &map));
	EXPECT_EQ(0u, file_bytes(p->share(p->arg, &map)));
	ASSERT_EQ(0, p->commit(p->arg, &map, 0, MIB));
	EXPECT_EQ(MIB, file_bytes(map.fd));
	ASSERT_EQ(0, weir_region_map(map.fd, 0, &base, &bytes, NULL));
	memset(map.base, 1, MIB);
	EXPECT_EQ(-EINVAL, p->decommit(p->arg, &map, 1, 4096));
	EXPECT_EQ(-EINVAL, p->decommit(p->arg, &map, 0, 100));
	ASSERT_EQ(0, p->decommit(p->arg, &map, 4096, MIB / 2));
	EXPECT_EQ(MIB / 2, file_bytes(map.fd));
	EXPECT_EQ(1, ((uint8_t *)base)[4095]);
	EXPECT_EQ(0, ((uint8_t *)base)[4096]);
	EXPECT_EQ(1, ((uint8_t *)base)[4096 + MIB / 2]);
	/* And come back when they are wanted. */
	ASSERT_EQ(0, p->commit(p->arg, &map, 4096, MIB / 2));
	EXPECT_EQ(MIB, file_bytes(map.fd));
	weir_region_unmap(base, bytes);
	p->release(p->arg, &map);
	system->put_range(system->arg, &range);
}

TEST(a_kind_that_cannot_be_shared_has_no_provider)
{
	EXPECT_EQ(NULL, wr_pool_provider_memfd(WEIR_PAGE_THP));
	EXPECT_EQ(NULL, wr_pool_provider_memfd(-1));
	EXPECT_EQ(NULL, wr_pool_provider_memfd(WEIR_PAGE_KINDS));
}

static int write_number(const char *path, uint64_t number)
{
	FILE *f = fopen(path, "we");
	int rc;

	if (!f)
		return -errno;
	rc = fprintf(f, "%llu\n", (unsigned long long)number) < 0 ? -EIO : 0;
	return fclose(f) != 0 && rc == 0 ? -errno : rc;
}

TEST(hugetlb_pages_are_shared_and_given_back)
{
	static const char setting[] = "/proc/sys/vm/nr_hugepages";
	static const char unused[] = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
	uint64_t before = 0, now = 0, start = 0;
	struct weir_pool *pool = NULL;
	struct weir_span span;
	size_t bytes = 0;
	void *base = NULL;

	if (wr_procfile_number(&before, setting) || write_number(setting, before + 8) ||
	    wr_procfile_number(&now, setting) || now != before + 8) {
		(void)write_number(setting, before);
		SKIP(return, "root, and memory for 8 huge pages of 2 MiB");
	}
	EXPECT_EQ(0, wr_procfile_number(&start, unused));
	EXPECT_EQ(0, open_shared(8 * MIB, 1u << WEIR_PAGE_2M, &pool));
	if (pool) {
		EXPECT_EQ(0, wr_procfile_number(&now, unused));
		EXPECT_EQ(start - 4, now);
		EXPECT_EQ(0, weir_pool_alloc(pool, 5 * MIB, WEIR_NODE_ANY, &span));
		memset(span.base, 3, span.bytes);
		EXPECT_EQ(0, weir_region_map(weir_pool_region_fd(pool, 0), 0, &base, &bytes, NULL));
		EXPECT_EQ(8 * MIB, bytes);
		EXPECT_EQ(3, ((uint8_t *)base)[5 * MIB - 1]);
		weir_region_unmap(base, bytes);
		EXPECT_EQ(0, weir_pool_free(pool, span));
		weir_pool_close(pool);
	}
	pool = NULL;
	EXPECT_EQ(0, wr_procfile_number(&now, unused));
	EXPECT_EQ(start, now);
	/* More than there is: in a second file. */
	EXPECT_EQ(0, open_shared((start + 1) * 2 * MIB, 0, &pool));
	if (pool) {
		EXPECT_EQ(2u, weir_pool_nr_regions(pool));
		EXPECT_EQ(0, weir_region_map(weir_pool_region_fd(pool, 1), 0, &base, &bytes, NULL));
		EXPECT_EQ(2 * MIB, bytes);
		weir_region_unmap(base, bytes);
		weir_pool_close(pool);
	}
	EXPECT_EQ(0, wr_procfile_number(&now, unused));
	EXPECT_EQ(start, now);
	EXPECT_EQ(0, write_number(setting, before));
}

TEST(each_allocation_of_a_shared_pool_may_fail)
{
	int lowest = dup(0), again;
	uint64_t n;

	close(lowest);
	for (n = 1; n < 100; n++) {
		struct weir_pool *pool = NULL;
		int rc;

		wr_test_alloc_fail_at(n);
		rc = open_shared(MIB, 1u << WEIR_PAGE_4K, &pool);
		wr_test_alloc_fail_at(0);
		if (rc == 0) {
			weir_pool_close(pool);
			/* A failed allocation that only a helper wanted is no failure. */
			if (!wr_test_alloc_failed())
				break;
			continue;
		}
		ASSERT_EQ(-ENOMEM, rc);
		ASSERT_EQ(0, wr_test_alloc_live());
	}
	EXPECT_LT(3u, n);
	EXPECT_GT(100u, n);
	/* No descriptor was left open. */
	again = dup(0);
	EXPECT_EQ(lowest, again);
	close(again);
}

TEST_HARNESS_MAIN
