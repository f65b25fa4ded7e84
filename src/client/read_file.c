/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel_read_file(): a file's beginning by its path, which the daemon can look
 * up, open, read and close in one message (compound.c). Where it cannot, or the
 * bytes are not those that the caller may expect, the same step by step.
 */
#include "client/append.h"
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>

static ssize_t by_steps(struct oriel_session *s, const char *path, void *buf,
			size_t len)
{
	struct oriel_file *f;
	ssize_t n = oriel_open(s, path, O_RDONLY, 0, &f);
	int err;

	if (n)
		return n;
	n = oriel_pread(f, buf, len, 0);
	err = oriel_close(f);
	return err && n >= 0 ? err : n;
}

/* Did the daemon know all that this session has written when it read? */
static bool is_whole(const struct client_walk *w)
{
	return !client_append_pending(w->ino) &&
	       !atomic_load_explicit(&w->ino->bad, memory_order_relaxed) &&
	       client_attr_is_current(w->ino, w->version);
}

/* 1: *@ret is how much there is; 0: it takes steps; or -errno. */
static int at_once(struct oriel_session *s, const char *path, void *buf,
		   size_t len, size_t *ret)
{
	struct client_walk_open opened = {
		.flags = O_RDONLY,
		.data = { .iov_base = buf, .iov_len = len },
	};
	struct client_walk w;
	int r = client_walk_create(s, path, 0, &opened, &w);

	if (opened.has_fh)
		client_release_later(s, FUSE_RELEASE,
				     r ? FUSE_ROOT_ID : w.ino->nodeid,
				     opened.fh);
	if (r)
		return r;
	if (!w.ino)
		r = -ENOENT;
	else if (opened.tried && opened.err)
		r = opened.err;
	else if (opened.has_data && !opened.has_fh && is_whole(&w)) {
		atomic_fetch_add_explicit(&s->msg_read_bytes, opened.data_len,
					  memory_order_relaxed);
		*ret = opened.data_len;
		r = 1;
	}
	client_walk_done(&w);
	return r;
}

ssize_t oriel_read_file(struct oriel_session *s, const char *path, void *buf,
			size_t len)
{
	size_t n;
	int r = 0;

	if (len > 0 && len <= s->max_read && client_can_compound(s))
		r = at_once(s, path, buf, len, &n);
	if (r < 0)
		return client_fail(r, "read file %s", path);
	return r ? (ssize_t)n : by_steps(s, path, buf, len);
}
