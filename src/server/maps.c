/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The window mappings of one session: an interval tree over window offsets, in
 * which intervals never overlap.
 *
 * Front ends are promised only the simplest things: a MAP goes where nothing is
 * mapped, an UNMAP names one whole earlier MAP. So whatever is asked to be
 * replaced is unmapped first, and what sticks out on either side is mapped
 * back. Between the two a front end's access may fault; the client that asked
 * for the overlap owns the window and knows.
 *
 * A mapping holds its inode and one of the inode's two descriptors for
 * mappings (read-only, read-write), which are shared by all its mappings and
 * outlive the handles that were open at the time.
 *
 * Lock: map_lock over everything, also while the front end answers: two
 * requests for the same place in the window must not mix.
 */
#include "server/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

struct server_mapping {
	struct itree_node node; /* window offsets */
	uint64_t file_off;      /* of node.start */
	struct server_inode *inode; /* counted */
	bool writable;
};

static uint64_t map_len(const struct server_mapping *m)
{
	return m->node.last - m->node.start + 1;
}

/* ----------------------------------------------- descriptors for mappings */

static int dax_fd_get(struct server_share *sh, struct server_inode *ino,
		      bool writable)
{
	struct server_dax_fd *d = &ino->dax[writable];
	int fd;

	pthread_mutex_lock(&ino->dax_lock);
	fd = d->fd;
	if (!d->users)
		fd = server_inode_open(sh, ino, writable ? O_RDWR : O_RDONLY);
	if (fd >= 0) {
		d->fd = fd;
		d->users++;
	}
	pthread_mutex_unlock(&ino->dax_lock);
	return fd;
}

static void dax_fd_put(struct server_share *sh, struct server_inode *ino,
		       bool writable)
{
	struct server_dax_fd *d = &ino->dax[writable];

	pthread_mutex_lock(&ino->dax_lock);
	if (--d->users == 0)
		server_fd_drop(sh, d->fd);
	pthread_mutex_unlock(&ino->dax_lock);
}

/* The descriptor of a mapping that is there: its user count is not zero. */
static int dax_fd_of(const struct server_mapping *m)
{
	int fd;

	pthread_mutex_lock(&m->inode->dax_lock);
	fd = m->inode->dax[m->writable].fd;
	pthread_mutex_unlock(&m->inode->dax_lock);
	return fd;
}

/* --------------------------------------------------------------- mappings */

/* Holds @ino and a descriptor; not in the tree yet. */
static int mapping_new(struct server_share *sh, struct server_inode *ino,
		       bool writable, struct server_mapping **ret)
{
	struct server_mapping *m = calloc(1, sizeof(*m));
	int fd;

	if (!m)
		return -ENOMEM;
	fd = dax_fd_get(sh, ino, writable);
	if (fd < 0) {
		free(m);
		return fd;
	}
	server_inode_ref(ino);
	m->inode = ino;
	m->writable = writable;
	*ret = m;
	return 0;
}

static void mapping_free(struct server_share *sh, struct server_mapping *m)
{
	dax_fd_put(sh, m->inode, m->writable);
	server_inode_unref(sh, m->inode);
	free(m);
}

static void tree_add(struct server_session *s, struct server_mapping *m)
{
	itree_insert(&s->maps, &m->node);
	atomic_fetch_add_explicit(&s->share->n.mappings, 1,
				  memory_order_relaxed);
}

static void tree_del(struct server_session *s, struct server_mapping *m)
{
	itree_remove(&s->maps, &m->node);
	atomic_fetch_sub_explicit(&s->share->n.mappings, 1,
				  memory_order_relaxed);
}

/* Have the front end map @m, and enter it. @m is used up on failure. */
static int map_locked(struct server_session *s, struct server_mapping *m)
{
	int r = s->cfg.window_ops->map(s->cfg.window_ctx,
				       dax_fd_of(m), m->file_off,
				       m->node.start, map_len(m), m->writable);

	if (r) {
		mapping_free(s->share, m);
		/* a refusal is not the fault of an address of the client */
		return r == -EFAULT ? -EIO : r;
	}
	tree_add(s, m);
	return 0;
}

/* Let @m be what it is from window offset @start on, to @last. */
static void trim(struct server_mapping *m, uint64_t start, uint64_t last)
{
	m->file_off += start - m->node.start;
	m->node.start = start;
	m->node.last = last;
}

/*
 * Take @m down except for what lies outside [@start, @last]. On failure to
 * unmap nothing has changed; a rest that cannot be mapped back is lost, and the
 * error says so.
 */
static int cut_locked(struct server_session *s, struct server_mapping *m,
		      uint64_t start, uint64_t last)
{
	uint64_t m_start = m->node.start;
	uint64_t m_last = m->node.last;
	struct server_mapping *tail = NULL;
	int r;
	int r2 = 0;

	if (m_last > last) {
		r = mapping_new(s->share, m->inode, m->writable, &tail);
		if (r)
			return r;
		tail->file_off = m->file_off;
		tail->node.start = m_start;
		trim(tail, last + 1, m_last);
	}
	r = s->cfg.window_ops->unmap(s->cfg.window_ctx, m_start, map_len(m));
	if (r) {
		if (tail)
			mapping_free(s->share, tail);
		return r;
	}
	tree_del(s, m);
	if (m_start < start) {
		trim(m, m_start, start - 1);
		r = map_locked(s, m);
	} else {
		mapping_free(s->share, m);
	}
	if (tail)
		r2 = map_locked(s, tail);
	return r ? r : r2;
}

/* Unmap whatever lies in [@start, @last]. */
static int clear_range_locked(struct server_session *s, uint64_t start,
			      uint64_t last)
{
	struct itree_node *n;
	int r;

	while ((n = itree_first(&s->maps, start, last))) {
		r = cut_locked(s, container_of(n, struct server_mapping, node),
			       start, last);
		if (r)
			return r;
	}
	return 0;
}

/* ----------------------------------------------------------------- public */

bool server_has_window(const struct server_session *s)
{
	const struct server_window_ops *ops = s->cfg.window_ops;

	return s->cfg.window_bytes && ops &&
	       (!ops->usable || ops->usable(s->cfg.window_ctx));
}

/* A place in the window that a client may name. */
static int check_place(const struct server_session *s, uint64_t off,
		       uint64_t len)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (!len || !is_aligned(off | len, page))
		return -EINVAL;
	return range_fits(off, len, s->cfg.window_bytes) ? 0 : -EINVAL;
}

static int check_setup(const struct server_session *s,
		       const struct fuse_setupmapping_in *in)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t known = FUSE_SETUPMAPPING_FLAG_READ |
			 FUSE_SETUPMAPPING_FLAG_WRITE;

	if (in->flags & ~known)
		return -EINVAL;
	if (!is_aligned(in->foffset, page) ||
	    !range_fits(in->foffset, in->len, INT64_MAX))
		return -EINVAL;
	return check_place(s, in->moffset, in->len);
}

int server_map_setup(struct server_session *s, struct server_inode *ino,
		     const struct fuse_setupmapping_in *in)
{
	bool writable = in->flags & FUSE_SETUPMAPPING_FLAG_WRITE;
	struct server_mapping *m;
	int r = check_setup(s, in);

	if (r)
		return r;
	r = mapping_new(s->share, ino, writable, &m);
	if (r)
		return r;
	/* Stores to the window pass the kernel's own clearing by. */
	if (writable) {
		r = server_clear_privileges(dax_fd_of(m));
		if (r) {
			mapping_free(s->share, m);
			return r;
		}
	}
	m->file_off = in->foffset;
	m->node.start = in->moffset;
	m->node.last = in->moffset + in->len - 1;
	pthread_mutex_lock(&s->map_lock);
	r = clear_range_locked(s, m->node.start, m->node.last);
	if (!r && s->maps.count >= SERVER_MAPPINGS_MAX)
		r = -ENOMEM;
	if (r)
		mapping_free(s->share, m);
	else
		r = map_locked(s, m);
	pthread_mutex_unlock(&s->map_lock);
	return r;
}

int server_map_remove(struct server_session *s, uint64_t off, uint64_t len)
{
	int r = check_place(s, off, len);

	if (r)
		return r;
	pthread_mutex_lock(&s->map_lock);
	r = clear_range_locked(s, off, off + len - 1);
	pthread_mutex_unlock(&s->map_lock);
	return r;
}

void server_maps_clear(struct server_session *s, bool tell)
{
	struct itree_node *n;

	pthread_mutex_lock(&s->map_lock);
	while ((n = itree_first(&s->maps, 0, UINT64_MAX))) {
		struct server_mapping *m =
			container_of(n, struct server_mapping, node);
		int r = 0;

		if (tell)
			r = s->cfg.window_ops->unmap(s->cfg.window_ctx,
						     n->start, map_len(m));
		if (r) {
			/* one that does not answer is not waited for again */
			tell = false;
			log_warn("front end did not unmap window offset 0x%llx:"
				 " error %d", (unsigned long long)n->start, r);
		}
		tree_del(s, m);
		mapping_free(s->share, m);
	}
	pthread_mutex_unlock(&s->map_lock);
}
