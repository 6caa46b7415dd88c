/* SPDX-License-Identifier: MIT */
/* What is opened and what is not: kinds of files, rights, limits, and the text of each refusal. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "io/io_help.h"

FIXTURE(opening)
{
	struct weir_io *io;
	struct weir_io_file *file;
	struct weir_error err;
	char path[256];
};

FIXTURE_SETUP(opening)
{
	io_scratch_path(self->path, sizeof(self->path), false, "file");
	ASSERT_EQ(weir_io_open(NULL, &self->io, NULL), 0);
	self->file = NULL;
}

FIXTURE_TEARDOWN(opening)
{
	weir_io_file_close(self->file);
	weir_io_close(self->io);
	unlink(self->path);
}

/* The code of opening @path; the error record must agree with it. */
static int refusal(FIXTURE_DATA(opening) * self, const char *path)
{
	int rc;

	memset(&self->err, 0, sizeof(self->err));
	rc = weir_io_file_open(self->io, path, &self->file, &self->err);
	if (self->err.code != rc)
		return 1;
	if (rc != 0 && (self->err.message[0] == '\0' || strcmp(self->err.file, path) != 0))
		return 2;
	return rc;
}

TEST_F(opening, a_missing_file)
{
	EXPECT_EQ(refusal(self, self->path), -ENOENT);
	EXPECT_EQ(refusal(self, ""), -ENOENT);
	ASSERT_EQ(io_file_make(self->path, 10), 0);
	strcat(self->path, "/below");
	EXPECT_EQ(refusal(self, self->path), -ENOENT);
	*strrchr(self->path, '/') = '\0';
}

TEST_F(opening, a_fifo_does_not_hold_us)
{
	ASSERT_EQ(mkfifo(self->path, 0600), 0);
	EXPECT_EQ(refusal(self, self->path), -EINVAL);
	EXPECT_STREQ(self->err.message, "is a FIFO");
}

TEST_F(opening, a_directory_a_device_a_socket_and_a_loop)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	EXPECT_EQ(refusal(self, "/"), -EINVAL);
	EXPECT_STREQ(self->err.message, "is a directory");
	EXPECT_EQ(refusal(self, "/dev/null"), -EINVAL);
	EXPECT_STREQ(self->err.message, "is not a regular file");
	ASSERT_EQ(symlink(self->path, self->path), 0);
	EXPECT_EQ(refusal(self, self->path), -ELOOP);
	ASSERT_EQ(unlink(self->path), 0);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ASSERT_GE(fd, 0);
	ASSERT_LT(strlen(self->path), sizeof(addr.sun_path));
	strcpy(addr.sun_path, self->path);
	ASSERT_EQ(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	EXPECT_EQ(refusal(self, self->path), -EINVAL);
	close(fd);
}

TEST_F(opening, a_link_to_a_file_is_a_file)
{
	char target[280];
	void *data, *buf = io_buffer(4096);

	snprintf(target, sizeof(target), "%s.target", self->path);
	ASSERT_EQ(io_file_make(target, 100), 0);
	ASSERT_EQ(symlink(target, self->path), 0);
	ASSERT_EQ(refusal(self, self->path), 0);
	EXPECT_EQ(weir_io_file_check(self->file), 0);
	EXPECT_EQ(io_read_now(self->io, self->file, 99, 1, buf, 4096, &data), 0);
	EXPECT_EQ(*(uint8_t *)data, io_byte_at(99));
	io_buffer_free(buf, 4096);
	unlink(target);
}

TEST_F(opening, a_file_without_a_byte_opens_and_has_nothing_to_read)
{
	void *data, *buf = io_buffer(4096);

	ASSERT_EQ(io_file_make(self->path, 0), 0);
	ASSERT_EQ(refusal(self, self->path), 0);
	EXPECT_EQ(io_read_now(self->io, self->file, 0, 1, buf, 4096, &data), -ENODATA);
	io_buffer_free(buf, 4096);
}

TEST_F(opening, no_right_to_read)
{
	ASSERT_EQ(io_file_make(self->path, 10), 0);
	ASSERT_EQ(chmod(self->path, 0), 0);
	if (geteuid() == 0)
		ASSERT_EQ(io_drop_privileges(), 0);
	EXPECT_EQ(refusal(self, self->path), -EACCES);
}

TEST_F(opening, no_descriptor_left)
{
	struct rlimit before, none;

	ASSERT_EQ(io_file_make(self->path, 10), 0);
	ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 3;
	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	EXPECT_EQ(refusal(self, self->path), -EMFILE);
	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST_F(opening, more_files_than_the_kernels_table_holds)
{
	enum { NR = 300 };
	static struct weir_io_file *files[NR];
	void *data, *buf = io_buffer(4096);

	ASSERT_EQ(io_file_make(self->path, 5000), 0);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < NR; i++)
			ASSERT_EQ(weir_io_file_open(self->io, self->path, &files[i], NULL), 0);
		for (int i = 0; i < NR; i++) {
			EXPECT_EQ(
				io_read_now(self->io, files[i], (uint64_t)i, 10, buf, 4096, &data),
				0);
			EXPECT_EQ(io_first_wrong(data, (uint64_t)i, 10), (uint64_t)i + 10);
		}
		for (int i = 0; i < NR; i++)
			weir_io_file_close(files[i]);
	}
	io_buffer_free(buf, 4096);
}

TEST_F(opening, a_file_of_another_engine_is_refused)
{
	struct weir_io *other;
	void *data, *buf = io_buffer(4096);

	ASSERT_EQ(io_file_make(self->path, 100), 0);
	ASSERT_EQ(refusal(self, self->path), 0);
	ASSERT_EQ(weir_io_open(NULL, &other, NULL), 0);
	EXPECT_EQ(io_read_now(other, self->file, 0, 1, buf, 4096, &data), -EINVAL);
	weir_io_close(other);
	io_buffer_free(buf, 4096);
}

TEST_HARNESS_MAIN
