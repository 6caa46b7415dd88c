/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing: the folder, its lock, the manifest, and what is found in it. Every name
 * that is not a store's is left alone, everything that is one's is believed after it was checked.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "tier/internal.h"

#define MANIFEST "MANIFEST"
#define LOCK	 "LOCK"

#define DEFAULT_SEGMENT_MIN ((uint64_t)4 << 20)
#define DEFAULT_SEGMENT_MAX ((uint64_t)64 << 20)

static int fail(struct weir_error *err, int code, const char *file, const char *what)
{
	return wr_error_set(err, code, file, WEIR_OFFSET_NONE, "%s: %s", what, weir_strerror(code));
}

/* The system's code, as one of those that store.h names. */
static int system_code(int system_errno)
{
	switch (system_errno) {
	case ENOENT:
	case ENOTDIR:
	case EACCES:
	case ELOOP:
	case EROFS:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		return -system_errno;
	case EPERM:
		return -EACCES;
	case ENOSPC:
	case EDQUOT:
		return -EDQUOT;
	default:
		return -EIO;
	}
}

/* ---- the folder ------------------------------------------------------------------------------------- */

static int open_folder(struct wr_store *s, struct weir_error *err)
{
	struct stat st;

	if (mkdir(s->dir, 0700) != 0 && errno != EEXIST)
		return fail(err, system_code(errno), s->dir, "the folder cannot be made");
	s->dir_fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd < 0)
		return fail(err, system_code(errno), s->dir, "the folder cannot be opened");
	if (fstat(s->dir_fd, &st) != 0)
		return fail(err, -EIO, s->dir, "the folder cannot be examined");
	if (st.st_uid != geteuid() || (st.st_mode & 022) != 0)
		return wr_error_set(err, -EACCES, s->dir, WEIR_OFFSET_NONE,
				    "the folder is another user's, or others may write to it");
	return 0;
}

/* One store at a time: a lock of the open file, which ends with the process however that ends. */
static int lock_folder(struct wr_store *s, struct weir_error *err)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char text[32] = "";
	ssize_t n;
	int len;

	s->lock_fd = wr_store_openat(s->dir_fd, LOCK, O_RDWR | O_CREAT);
	if (s->lock_fd < 0)
		return fail(err, system_code(-s->lock_fd), s->dir, "its LOCK cannot be opened");
	if (fcntl(s->lock_fd, F_OFD_SETLK, &lock) != 0) {
		if (errno != EAGAIN && errno != EACCES)
			return fail(err, system_code(errno), s->dir, "it cannot be locked");
		n = pread(s->lock_fd, text, sizeof(text) - 1, 0);
		text[n > 0 ? strspn(text, "0123456789") : 0] = '\0';
		return wr_error_set(err, -EBUSY, s->dir, WEIR_OFFSET_NONE,
				    "the store is open in process %s",
				    text[0] != '\0' ? text : "(unknown)");
	}
	len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	if (ftruncate(s->lock_fd, 0) != 0 || pwrite(s->lock_fd, text, (size_t)len, 0) != len)
		return fail(err, system_code(errno), s->dir, "its LOCK cannot be written");
	return 0;
}

/* ---- names -------------------------------------------------------------------------------------------- */

struct names {
	uint64_t *numbers;
	size_t nr, room;
	uint64_t nr_foreign;
};

static bool segment_number(const char *name, uint64_t *ret)
{
	uint64_t number = 0;

	if (strncmp(name, "seg-", 4) != 0 || strlen(name) != 20)
		return false;
	for (const char *p = name + 4; *p != '\0'; p++) {
		const char *digits = "0123456789abcdef", *at = strchr(digits, *p);

		if (at == NULL)
			return false;
		number = number << 4 | (uint64_t)(at - digits);
	}
	*ret = number;
	/* The last ones are never reached. */
	return number != 0 && number < UINT64_MAX / 2;
}

static bool is_ours_tmp(const char *name)
{
	char head[WR_STORE_NAME_MOST];
	size_t n = strlen(name);
	uint64_t number;

	if (strcmp(name, MANIFEST ".tmp") == 0)
		return true;
	if (n != 24 || strcmp(name + 20, ".tmp") != 0)
		return false;
	snprintf(head, sizeof(head), "%.20s", name);
	return segment_number(head, &number);
}

static int take_name(struct wr_store *s, struct names *names, const char *name)
{
	uint64_t number;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, LOCK) == 0 ||
	    strcmp(name, MANIFEST) == 0)
		return 0;
	if (is_ours_tmp(name)) {
		(void)unlinkat(s->dir_fd, name, 0);
		return 0;
	}
	if (!segment_number(name, &number)) {
		names->nr_foreign++;
		return 0;
	}
	if (names->nr == names->room) {
		size_t room = names->room != 0 ? names->room * 2 : 64;
		uint64_t *numbers = wr_reallocarray(names->numbers, room, sizeof(*numbers));

		if (numbers == NULL)
			return -ENOMEM;
		names->numbers = numbers;
		names->room = room;
	}
	names->numbers[names->nr++] = number;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int list_names(struct wr_store *s, struct names *names, struct weir_error *err)
{
	int fd = openat(s->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (dir == NULL) {
		rc = system_code(errno);
		if (fd >= 0)
			close(fd);
		return fail(err, rc, s->dir, "the folder cannot be listed");
	}
	while (rc == 0 && (errno = 0, d = readdir(dir)) != NULL)
		rc = take_name(s, names, d->d_name);
	if (rc == 0 && errno != 0)
		rc = system_code(errno);
	closedir(dir);
	if (rc != 0)
		return fail(err, rc, s->dir, "the folder cannot be listed");
	if (names->nr != 0)
		qsort(names->numbers, names->nr, sizeof(*names->numbers), by_number);
	return 0;
}

/* ---- which store ---------------------------------------------------------------------------------------- */

/* A page of a file of the folder. 0, -ENOENT, -EBADMSG (shorter), -ELOOP, -EIO... */
static int read_page(struct wr_store *s, const char *name, void *page)
{
	int fd = wr_store_openat(s->dir_fd, name, O_RDONLY), rc = 0;
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return system_code(-fd);
	if (fstat(fd, &st) != 0)
		rc = -EIO;
	else if (!S_ISREG(st.st_mode))
		rc = -EBADMSG;
	n = rc != 0 ? 0 : pread(fd, page, WR_STORE_PAGE, 0);
	if (rc == 0 && n != WR_STORE_PAGE)
		rc = n < 0 ? -EIO : -EBADMSG;
	close(fd);
	return rc;
}

static int publish_manifest(struct wr_store *s, void *page, struct weir_error *err)
{
	struct wr_store_manifest *m = page;
	int rc;

	memset(page, 0, WR_STORE_PAGE);
	*m = (struct wr_store_manifest){
		.magic = WR_STORE_MANIFEST_MAGIC,
		.version = WR_STORE_VERSION,
		.bytes = sizeof(*m),
		.store = {s->id[0], s->id[1]},
		.segment_bytes = s->segment_bytes,
	};
	m->hash = wr_store_hash(m, sizeof(*m) - sizeof(m->hash));
	rc = wr_store_publish(s->dir_fd, MANIFEST, page, WR_STORE_PAGE, NULL);
	return rc == 0 ? 0 : fail(err, rc, s->dir, "its MANIFEST cannot be written");
}

/* Without a manifest that checks, the segments say it, if they say one thing. */
static int ask_segments(struct wr_store *s, const struct names *names, void *page)
{
	const struct wr_store_segment_head *head = page;
	bool found = false;

	for (size_t i = 0; i < names->nr; i++) {
		char name[WR_STORE_NAME_MOST];

		wr_store_segment_name(names->numbers[i], name);
		if (read_page(s, name, page) != 0 || wr_store_check_head(head) != 0)
			continue;
		if (found && (head->store[0] != s->id[0] || head->store[1] != s->id[1] ||
			      head->segment_bytes != s->segment_bytes))
			return -EBADMSG;
		found = true;
		s->id[0] = head->store[0];
		s->id[1] = head->store[1];
		s->segment_bytes = head->segment_bytes;
	}
	return found ? 0 : -EBADMSG;
}

static int identify(struct wr_store *s, const struct names *names, void *page,
		    struct weir_error *err)
{
	const struct wr_store_manifest *m = page;
	int rc = read_page(s, MANIFEST, page);

	if (rc == 0)
		rc = wr_store_check_manifest(m);
	if (rc == 0) {
		s->id[0] = m->store[0];
		s->id[1] = m->store[1];
		s->segment_bytes = m->segment_bytes;
		return 0;
	}
	if (rc == -EOPNOTSUPP)
		return wr_error_set(err, rc, s->dir, 8,
				    "the store is of format %u, this build knows format %u",
				    m->version, WR_STORE_VERSION);
	if (rc != -ENOENT && rc != -EBADMSG)
		return fail(err, rc, s->dir, "its MANIFEST cannot be read");
	if (rc == -ENOENT && names->nr == 0) {
		if (names->nr_foreign != 0)
			return wr_error_set(err, -EINVAL, s->dir, WEIR_OFFSET_NONE,
					    "the folder is neither empty nor a store");
		if (getrandom(s->id, sizeof(s->id), 0) != sizeof(s->id))
			return fail(err, -EIO, s->dir, "no random bytes");
		return publish_manifest(s, page, err);
	}
	if (ask_segments(s, names, page) != 0)
		return wr_error_set(err, -EBADMSG, s->dir, 0,
				    "its MANIFEST is damaged and no segment says which store "
				    "this is");
	wr_log(WEIR_LOG_WARN, "tier", "%s: the MANIFEST was lost and is made anew", s->dir);
	return publish_manifest(s, page, err);
}

/* ---- what is there -------------------------------------------------------------------------------------- */

struct loading {
	struct wr_store *s;
	struct wr_store_segment *seg;
	int fd;
};

static int load_read(void *arg, uint64_t offset, void *buf, size_t bytes)
{
	struct loading *l = arg;

	return wr_store_io_now(l->s, WR_STORE_IO_READ, l->seg->file, offset, buf, bytes);
}

/* Of several records of a key the newest counts; a copy is as good as what it was made from. */
static int load_item(void *arg, const struct wr_store_item *item)
{
	struct loading *l = arg;
	struct wr_store *s = l->s;
	struct wr_store_entry *e;
	int rc = 0;

	if (item->seq == 0 || item->seq >= UINT64_MAX / 2)
		return 0;
	wr_mutex_lock(&s->lock);
	e = wr_store_entry_get(s, item->key);
	if (e == NULL || wr_store_segment_reserve(l->seg) != 0) {
		if (e != NULL)
			wr_store_entry_put(s, e);
		rc = -ENOMEM;
	} else {
		wr_store_segment_add(l->seg, item);
		if (e->state == WR_ENTRY_NONE || item->seq > e->item.seq)
			wr_store_entry_set(s, e, l->seg, item);
		s->next_seq = wr_max(s->next_seq, item->seq + 1);
	}
	wr_mutex_unlock(&s->lock);
	return rc;
}

/* What a scan has found makes the segment what it is from now on. */
static void judge(struct wr_store *s, struct wr_store_segment *seg,
		  const struct wr_store_scan *found, bool whole)
{
	seg->used = found->end;
	s->stats.nr_torn += found->nr_torn;
	s->stats.nr_scanned += whole || !found->sealed;
	if (found->nr_errors != 0) {
		seg->state = WR_SEGMENT_BAD;
		s->stats.nr_bad_segments++;
	} else if (found->sealed) {
		seg->state = WR_SEGMENT_SEALED;
	} else {
		/* The keeper cuts it behind the last whole record and seals it. */
		seg->state = WR_SEGMENT_FULL;
		/* Without room behind it for a seal it stays as it is. */
		if (seg->used + wr_store_extent(seg->nr_items * sizeof(*seg->items)) >
		    wr_max(s->segment_bytes, seg->file_bytes))
			seg->state = WR_SEGMENT_BAD;
	}
	if (seg->state != WR_SEGMENT_FULL) {
		wr_free(seg->items);
		seg->items = NULL;
		seg->nr_items = seg->nr_planned = seg->room_items = 0;
	}
}

/* 1: a segment of this store; 0: it is not, and left alone; or a code. */
static int open_segment(struct wr_store *s, struct wr_store_segment *seg, struct weir_error *err)
{
	char name[WR_STORE_NAME_MOST], page[sizeof(struct wr_store_segment_head)];
	struct wr_store_segment_head head;
	struct stat st;
	int fd, rc;

	wr_store_segment_name(seg->number, name);
	fd = wr_store_openat(s->dir_fd, name, O_RDWR);
	if (fd < 0)
		return fail(err, system_code(-fd), name, "a segment cannot be opened");
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
	    (uint64_t)st.st_size > 2 * WR_STORE_MAX_SEGMENT || fcntl(fd, F_SETFL, 0) != 0) {
		close(fd);
		return 0;
	}
	/* Its first page may be damaged, and the records are good all the same. */
	if (pread(fd, page, sizeof(page), 0) == (ssize_t)sizeof(page)) {
		memcpy(&head, page, sizeof(head));
		rc = wr_store_check_head(&head);
		if (rc == -EOPNOTSUPP) {
			close(fd);
			return wr_error_set(err, rc, name, 8, "a segment is of format %u",
					    head.version);
		}
		if (rc == 0 && (head.store[0] != s->id[0] || head.store[1] != s->id[1] ||
				head.number != seg->number)) {
			close(fd);
			return 0;
		}
	}
	seg->file_bytes = (uint64_t)st.st_size;
	/* A summary may still be appended to one that is not sealed. */
	rc = wr_io_file_adopt(s->io, fd, name, wr_max(seg->file_bytes, s->segment_bytes),
			      &seg->file, err);
	if (rc != 0)
		close(fd);
	return rc == 0 ? 1 : rc;
}

static int load_segment(struct wr_store *s, uint64_t number, bool verify, void *window,
			struct weir_error *err)
{
	struct wr_store_segment *seg = wr_store_segment_alloc(s, number);
	struct wr_store_place place = {.store = {s->id[0], s->id[1]}, .segment = number};
	struct wr_store_scan found;
	struct loading l = {.s = s, .seg = seg};
	struct wr_store_source src = {.read = load_read, .arg = &l};
	int rc;

	if (seg == NULL)
		return fail(err, -ENOMEM, s->dir, "opening");
	s->next_number = wr_max(s->next_number, number + 1);
	rc = open_segment(s, seg, err);
	if (rc <= 0) {
		wr_store_segment_free(seg);
		s->stats.nr_foreign += rc == 0;
		return rc;
	}
	TAILQ_INSERT_TAIL(&s->segments, seg, link);
	s->stats.nr_segments++;
	s->stats.disk_bytes += seg->file_bytes;
	place.file_bytes = seg->file_bytes;
	rc = wr_store_scan_segment(&src, &place, verify, window, load_item, &l, &found);
	if (rc != 0)
		return fail(err, rc, s->dir, "opening");
	judge(s, seg, &found, verify);
	return 0;
}

/*
 * How far the files may go. Where more was put than this budget allows it is a lowered one, and
 * they may take a segment more, for cleaning is how they come below it. Otherwise, where so much is
 * taken that not even removes would have room, a little more.
 */
static uint64_t first_ceiling(struct wr_store *s) WR_NO_THREAD_SAFETY
{
	uint64_t sealed = WR_STORE_OVERHEAD, budget = s->stats.budget_bytes;
	const struct wr_store_segment *seg;

	TAILQ_FOREACH(seg, &s->segments, link)
		sealed += wr_store_segment_sealed_bytes(seg);
	if (sealed > budget || s->stats.live_bytes > wr_store_capacity(s))
		sealed += s->segment_bytes;
	else
		sealed += WR_STORE_SHORT;
	return wr_max(wr_max(budget, s->stats.disk_bytes), sealed);
}

static int load_all(struct wr_store *s, bool verify, struct weir_error *err)
{
	struct names names = {0};
	void *window = wr_calloc_aligned(WR_STORE_PAGE, WR_STORE_WINDOW);
	int rc;

	if (window == NULL)
		return fail(err, -ENOMEM, s->dir, "opening");
	rc = list_names(s, &names, err);
	wr_store_step(WR_STORE_STEP_OPEN_LISTED);
	if (rc == 0)
		rc = identify(s, &names, window, err);
	s->stats.nr_foreign = names.nr_foreign;
	s->stats.disk_bytes = WR_STORE_OVERHEAD;
	for (size_t i = 0; i < names.nr && rc == 0; i++) {
		rc = load_segment(s, names.numbers[i], verify, window, err);
		wr_store_step(WR_STORE_STEP_OPEN_SEGMENT);
	}
	wr_free(names.numbers);
	wr_free(window);
	s->ceiling = first_ceiling(s);
	return rc;
}

/* ---- opening ---------------------------------------------------------------------------------------------- */

static int take_opts(struct wr_store *s, struct wr_store_opts *o, const struct wr_store_opts *opts,
		     struct weir_error *err)
{
	int rc = wr_opts_copy(o, sizeof(*o), opts);

	_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format's byte order");
	if (rc != 0)
		return wr_error_set(err, rc, s->dir, WEIR_OFFSET_NONE,
				    "store options are of another version of weir");
	if (o->segment_bytes == 0) {
		o->segment_bytes = DEFAULT_SEGMENT_MIN;
		while (o->segment_bytes < o->budget_bytes / 16 &&
		       o->segment_bytes < DEFAULT_SEGMENT_MAX)
			o->segment_bytes *= 2;
	}
	if (!wr_is_pow2(o->segment_bytes) || o->segment_bytes < WR_STORE_MIN_SEGMENT ||
	    o->segment_bytes > WR_STORE_MAX_SEGMENT || o->sync > WR_STORE_SYNC_NONE ||
	    o->verify > 1)
		return wr_error_set(err, -EINVAL, s->dir, WEIR_OFFSET_NONE,
				    "store option out of range");
	s->segment_bytes = o->segment_bytes;
	s->sync = o->sync;
	s->stats.budget_bytes = s->ceiling = o->budget_bytes;
	return 0;
}

static int start(struct wr_store *s, const struct wr_store_opts *o, struct weir_error *err)
{
	sigset_t all, before;
	int rc;

	rc = open_folder(s, err);
	if (rc == 0)
		rc = lock_folder(s, err);
	wr_store_step(WR_STORE_STEP_OPEN_LOCKED);
	if (rc == 0 && s->io == NULL) {
		rc = weir_io_open(NULL, &s->io, err);
		s->own_io = rc == 0;
	}
	if (rc == 0)
		rc = load_all(s, o->verify != 0, err);
	if (rc == 0 && o->budget_bytes < WR_STORE_OVERHEAD + 4 * s->segment_bytes)
		rc = wr_error_set(err, -EINVAL, s->dir, WEIR_OFFSET_NONE,
				  "the budget is less than 4 segments of %llu bytes",
				  (unsigned long long)s->segment_bytes);
	if (rc != 0)
		return rc;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&s->keeper, NULL, wr_store_keeper_main, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0)
		return fail(err, -EAGAIN, s->dir, "the store's thread cannot be started");
	pthread_setname_np(s->keeper, "weir-store");
	return 0;
}

int wr_store_open(const char *dir, const struct wr_store_opts *opts, struct wr_store **ret,
		  struct weir_error *err)
{
	struct wr_store *s = wr_calloc(1, sizeof(*s));
	struct wr_store_opts o;
	int rc;

	wr_might_block("opening a store");
	if (s == NULL)
		return fail(err, -ENOMEM, dir, "opening");
	wr_mutex_init(&s->lock, WR_RANK_TIER, "store");
	wr_cond_init(&s->work);
	wr_cond_init(&s->changed);
	TAILQ_INIT(&s->segments);
	STAILQ_INIT(&s->waiting);
	STAILQ_INIT(&s->leaving);
	STAILQ_INIT(&s->late);
	s->dir_fd = s->lock_fd = -1;
	s->next_number = s->next_seq = 1;
	s->nr_buckets = WR_STORE_BUCKETS;
	s->buckets = wr_calloc(s->nr_buckets, sizeof(struct wr_store_entry *));
	s->dir = wr_strdup(dir);
	rc = s->buckets == NULL || s->dir == NULL ? fail(err, -ENOMEM, dir, "opening") : 0;
	if (rc == 0)
		rc = take_opts(s, &o, opts, err);
	if (rc == 0) {
		s->io = o.io;
		rc = start(s, &o, err);
	}
	if (rc != 0) {
		wr_store_free(s);
		return rc;
	}
	*ret = s;
	return 0;
}

void wr_store_free(struct wr_store *s)
{
	struct wr_store_segment *seg;

	while ((seg = TAILQ_FIRST(&s->segments)) != NULL) {
		TAILQ_REMOVE(&s->segments, seg, link);
		wr_store_segment_free(seg);
	}
	if (s->own_io)
		weir_io_close(s->io);
	wr_store_index_fini(s);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	wr_free(s->dir);
	wr_cond_fini(&s->changed);
	wr_cond_fini(&s->work);
	wr_mutex_fini(&s->lock);
	wr_free(s);
}

void wr_store_close(struct wr_store *s)
{
	if (s == NULL)
		return;
	wr_might_block("closing a store");
	wr_mutex_lock(&s->lock);
	s->closing = true;
	while (s->nr_ops != 0)
		wr_cond_wait(&s->changed, &s->lock);
	s->stop = true;
	wr_store_wake(s);
	wr_mutex_unlock(&s->lock);
	pthread_join(s->keeper, NULL);
	wr_store_free(s);
}
