/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading directories: one READDIR or READDIRPLUS a buffer, decoded entry by
 * entry. Every READDIRPLUS entry but "." and ".." counts as a lookup: it is taken
 * into the inode table and let go again at once, also for entries that the caller
 * never asks for (closed early, or sought away).
 */
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"

#define DIR_BUFFER (64u << 10)
/* The first buffer is small: an answer that comes while we poll costs no sleep, and
 * the daemon reads on meanwhile. */
#define DIR_ASK_MIN (2u << 10)
/* Where we sleep for small ones again and again, let it be for large ones. */
#define DIR_SLOW_ANSWERS 2u

struct oriel_dir {
	struct oriel_file *f;
	bool plus;
	uint32_t ask;  /* bytes of the next READDIR */
	unsigned slow; /* smallest answers in a row that were not soon */
	uint64_t next; /* cookie of the next READDIR */
	size_t len;    /* valid bytes of buf */
	size_t pos;    /* next entry in buf */
	char name[FUSE_WIRE_NAME_MAX + 1];
	unsigned char buf[DIR_BUFFER];
};

int oriel_opendir(struct oriel_session *s, const char *path, unsigned flags,
		  struct oriel_dir **ret)
{
	struct oriel_dir *d;
	int err;

	if (flags & ~ORIEL_DIR_STAT)
		return client_fail(-EINVAL, "opendir %s: flags 0x%x", path,
				   flags);
	d = malloc(sizeof(*d));
	if (!d)
		return client_fail(-ENOMEM, "opendir %s", path);
	err = oriel_open(s, path, O_RDONLY | O_DIRECTORY, 0, &d->f);
	if (err) {
		free(d);
		return err;
	}
	d->plus = (flags & ORIEL_DIR_STAT) &&
		  (s->fuse_flags & FUSE_DO_READDIRPLUS);
	/* who does not poll sleeps each time: as seldom as possible then */
	d->ask = s->opts.poll_us ? DIR_ASK_MIN : DIR_BUFFER;
	d->slow = s->opts.poll_us ? 0 : DIR_SLOW_ANSWERS;
	d->next = 0;
	d->len = 0;
	d->pos = 0;
	*ret = d;
	return 0;
}

static bool is_dot(const struct fuse_dirent_view *v)
{
	return v->name[0] == '.' &&
	       (v->namelen == 1 || (v->namelen == 2 && v->name[1] == '.'));
}

/* Count the lookup an entry stands for, and let it go. Its attributes are the
 * caller's alone: they are as old as the buffer, that is, of any age. */
static int count_entry(struct oriel_dir *d, const struct fuse_dirent_view *v)
{
	struct client_inode *ino;
	int err;

	if (!d->plus || !v->entry.nodeid || is_dot(v))
		return 0;
	err = client_inode_get(d->f->s, &v->entry, CLIENT_VERSION_OLD, &ino);
	if (!err)
		client_inode_put(ino);
	return err;
}

/* Entries of the buffer that nobody will ask for were counted all the same. */
static void drop_buffer(struct oriel_dir *d)
{
	struct fuse_dirent_view v;

	while (d->plus && fuse_next_dirent(d->buf, d->len, &d->pos, true, &v) > 0)
		if (v.entry.nodeid && !is_dot(&v))
			client_forget(d->f->s, v.entry.nodeid, 1);
	d->len = 0;
	d->pos = 0;
}

/* How much to ask for next, when that much took @ns. */
static void adapt(struct oriel_dir *d, uint64_t ns)
{
	uint64_t poll_ns = (uint64_t)d->f->s->opts.poll_us * NS_PER_US;

	if (d->slow == DIR_SLOW_ANSWERS)
		return; /* it has been decided */
	if (ns <= poll_ns / 2) {
		d->slow = 0;
		if (ns < poll_ns / 4)
			d->ask = (uint32_t)min_u64(2 * d->ask, DIR_BUFFER);
	} else if (d->ask > DIR_ASK_MIN) {
		d->ask /= 2;
	} else if (++d->slow == DIR_SLOW_ANSWERS) {
		d->ask = DIR_BUFFER;
	}
}

/* The next buffer: 1, 0 at the end of the directory, or -errno. */
static int fill(struct oriel_dir *d)
{
	struct fuse_read_in in = { .fh = d->f->fh, .offset = d->next };
	struct iovec iov = { .iov_base = d->buf };
	struct client_call c = {
		.opcode = d->plus ? FUSE_READDIRPLUS : FUSE_READDIR,
		.nodeid = d->f->ino->nodeid,
		.arg = &in,
		.arg_len = sizeof(in),
		.bulk = &iov,
		.n_bulk = 1,
	};
	const uint64_t start_ns = clock_now_ns();
	int err;

	c.bulk_len = (size_t)min_u64(d->ask, d->f->s->slot_data_bytes);
	iov.iov_len = c.bulk_len;
	in.size = (uint32_t)c.bulk_len;
	err = client_call(d->f->s, &c);
	adapt(d, clock_now_ns() - start_ns);
	if (err == -ENOSYS && d->plus) {
		d->plus = false;
		return fill(d);
	}
	if (err)
		return err;
	d->len = c.ret_bulk;
	d->pos = 0;
	return d->len > 0;
}

static void entry_to_dirent(struct oriel_dir *d,
			    const struct fuse_dirent_view *v,
			    struct oriel_dirent *ret)
{
	memset(ret, 0, sizeof(*ret));
	memcpy(d->name, v->name, v->namelen);
	d->name[v->namelen] = '\0';
	ret->ino = v->ino;
	ret->off = v->off;
	ret->type = v->type;
	ret->namelen = v->namelen;
	ret->name = d->name;
	if (d->plus && v->entry.nodeid && !is_dot(v)) {
		ret->has_stat = 1;
		client_attr_to_stat(NULL, &v->entry.attr, &ret->st);
	}
}

int oriel_readdir(struct oriel_dir *d, struct oriel_dirent *ret)
{
	struct fuse_dirent_view v;
	int r = 1;

	if (d->pos >= d->len)
		r = fill(d);
	if (r > 0) {
		r = fuse_next_dirent(d->buf, d->len, &d->pos, d->plus, &v);
		if (r == -EPROTO)
			client_die(d->f->s, r);
	}
	if (r > 0) {
		int err = count_entry(d, &v);

		if (err)
			r = err;
	}
	if (r <= 0) {
		if (r < 0)
			client_fail(r, "readdir %s", d->f->path);
		return r;
	}
	d->next = v.off;
	entry_to_dirent(d, &v, ret);
	return 1;
}

void oriel_seekdir(struct oriel_dir *d, uint64_t off)
{
	drop_buffer(d);
	d->next = off;
}

int oriel_fsyncdir(struct oriel_dir *d)
{
	return oriel_fsync(d->f);
}

void oriel_closedir(struct oriel_dir *d)
{
	if (!d)
		return;
	drop_buffer(d);
	oriel_close(d->f);
	free(d);
}
