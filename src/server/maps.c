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
 * A mapping holds its inode and one of the inode's descriptors for mappings
 * (read-only, read-write, and what stands for the file towards a virtual machine
 * monitor), which are shared by all its mappings and outlive the handles that
 * were open at the time.
 *
 * QEMU maps whatever it is given for writing, so a guest's mapping is a writable
 * one from the start where the file and the share allow it, whatever the guest
 * asked for; the guest's own kernel knows what it may. Its upgrade to writable
 * then changes nothing here.
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
	enum server_dax_kind kind;
};

static uint64_t map_len(const struct server_mapping *m)
{
	return m->node.last - m->node.start + 1;
}

/* ----------------------------------------------- descriptors for mappings */

static bool is_writable(enum server_dax_kind kind)
{
	return kind == SERVER_DAX_WRITE || kind == SERVER_DAX_GUEST_WRITE;
}

/* The descriptor of @kind, with its reservation. */
static int dax_fd_open(struct server_share *sh, struct server_inode *ino,
		       enum server_dax_kind kind)
{
	const struct server_guest_files *files = sh->cfg.guest_files;
	int fd = server_inode_open(sh, ino, is_writable(kind) ? O_RDWR :
							       O_RDONLY);
	int stand_in;

	if (fd < 0 || kind < SERVER_DAX_GUEST_READ || !files)
		return fd;
	stand_in = files->open(sh->cfg.guest_files_ctx, fd, is_writable(kind));
	if (stand_in < 0) {
		server_fd_drop(sh, fd);
		return stand_in;
	}
	close(fd);
	return stand_in;
}

static void tally_put(struct server_tally *t)
{
	/* acq_rel: whoever frees it sees that the others are done */
	if (atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1)
		free(t);
}

/* One descriptor more for @s to pay: 0 or -EMFILE. */
static int tally_add(struct server_session *s)
{
	int r;

	pthread_mutex_lock(&s->lock);
	r = server_quota_locked(s);
	if (!r) {
		atomic_fetch_add_explicit(&s->tally->fds, 1,
					  memory_order_relaxed);
		atomic_fetch_add_explicit(&s->tally->refs, 1,
					  memory_order_relaxed);
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

static void tally_sub(struct server_tally *t)
{
	atomic_fetch_sub_explicit(&t->fds, 1, memory_order_relaxed);
	tally_put(t);
}

static int dax_fd_first(struct server_session *s, struct server_inode *ino,
			enum server_dax_kind kind)
{
	int fd = tally_add(s);

	if (fd)
		return fd;
	fd = dax_fd_open(s->share, ino, kind);
	if (fd < 0)
		tally_sub(s->tally);
	else
		ino->dax[kind].payer = s->tally;
	return fd;
}

static int dax_fd_get(struct server_session *s, struct server_inode *ino,
		      enum server_dax_kind kind)
{
	struct server_dax_fd *d = &ino->dax[kind];
	int fd;

	pthread_mutex_lock(&ino->dax_lock);
	fd = d->fd;
	if (!d->users)
		fd = dax_fd_first(s, ino, kind);
	if (fd >= 0) {
		d->fd = fd;
		d->users++;
	}
	pthread_mutex_unlock(&ino->dax_lock);
	return fd;
}

static void dax_fd_put(struct server_share *sh, struct server_inode *ino,
		       enum server_dax_kind kind)
{
	struct server_dax_fd *d = &ino->dax[kind];

	pthread_mutex_lock(&ino->dax_lock);
	if (--d->users == 0) {
		server_fd_drop(sh, d->fd);
		tally_sub(d->payer);
	}
	pthread_mutex_unlock(&ino->dax_lock);
}

/* The descriptor of a mapping that is there: its user count is not zero. */
static int dax_fd_of(const struct server_mapping *m)
{
	int fd;

	pthread_mutex_lock(&m->inode->dax_lock);
	fd = m->inode->dax[m->kind].fd;
	pthread_mutex_unlock(&m->inode->dax_lock);
	return fd;
}

/* --------------------------------------------------------------- mappings */

/* Holds @ino and a descriptor; not in the tree yet. */
static int mapping_new(struct server_session *s, struct server_inode *ino,
		       enum server_dax_kind kind,
		       struct server_mapping **ret)
{
	struct server_mapping *m = calloc(1, sizeof(*m));
	int fd;

	if (!m)
		return -ENOMEM;
	fd = dax_fd_get(s, ino, kind);
	if (fd < 0) {
		free(m);
		return fd;
	}
	server_inode_ref(ino);
	m->inode = ino;
	m->kind = kind;
	*ret = m;
	return 0;
}

static void mapping_free(struct server_share *sh, struct server_mapping *m)
{
	dax_fd_put(sh, m->inode, m->kind);
	server_inode_unref(sh, m->inode);
	free(m);
}

static void tree_add(struct server_session *s, struct server_mapping *m)
{
	itree_insert(&s->maps, &m->node);
	atomic_fetch_add_explicit(&s->n_maps, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&s->share->n.mappings, 1,
				  memory_order_relaxed);
}

static void tree_del(struct server_session *s, struct server_mapping *m)
{
	itree_remove(&s->maps, &m->node);
	atomic_fetch_sub_explicit(&s->n_maps, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&s->share->n.mappings, 1,
				  memory_order_relaxed);
}

/* Have the front end map @m, and enter it. @m is used up on failure. */
static int map_locked(struct server_session *s, struct server_mapping *m)
{
	int r = s->cfg.window_ops->map(s->cfg.window_ctx,
				       dax_fd_of(m), m->file_off,
				       m->node.start, map_len(m),
				       is_writable(m->kind));

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
		r = mapping_new(s, m->inode, m->kind, &tail);
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

/* Why a file can be open for reading when it cannot be for writing. */
static bool only_readable(int err)
{
	return err == -EACCES || err == -EPERM || err == -EROFS ||
	       err == -ETXTBSY;
}

/* A new mapping for a guest: writable if it can be. */
static int new_for_guest(struct server_session *s, struct server_inode *ino,
			 bool writes, struct server_mapping **ret)
{
	int r = -EROFS;

	if (!s->share->cfg.readonly)
		r = mapping_new(s, ino, SERVER_DAX_GUEST_WRITE, ret);
	if (r && only_readable(r) && !writes)
		r = mapping_new(s, ino, SERVER_DAX_GUEST_READ, ret);
	return r;
}

/* Stores to the window pass the kernel's own clearing by. */
static int clear_privileges(struct server_share *sh, struct server_inode *ino)
{
	int fd = server_inode_open(sh, ino, O_RDONLY);
	int r;

	if (fd < 0)
		return fd;
	r = server_clear_privileges(fd);
	server_fd_drop(sh, fd);
	return r;
}

/* Is it there already, just so? Then nothing needs to be mapped anew. */
static bool is_there_locked(struct server_session *s,
			    const struct server_mapping *m)
{
	struct itree_node *n = itree_first(&s->maps, m->node.start,
					   m->node.last);
	struct server_mapping *old;

	if (!n)
		return false;
	old = container_of(n, struct server_mapping, node);
	return old->node.start == m->node.start &&
	       old->node.last == m->node.last && old->inode == m->inode &&
	       old->kind == m->kind && old->file_off == m->file_off;
}

/* Put @m in its place; it is used up in any case. */
static int place_locked(struct server_session *s, struct server_mapping *m,
			bool is_guest)
{
	unsigned max = is_guest ? SERVER_GUEST_MAPPINGS_MAX :
				  SERVER_MAPPINGS_MAX;
	int r = 0;

	if (is_guest && is_there_locked(s, m)) {
		mapping_free(s->share, m);
		return 0;
	}
	r = clear_range_locked(s, m->node.start, m->node.last);
	if (!r && s->maps.count >= max)
		r = -ENOMEM;
	if (!r)
		return map_locked(s, m);
	mapping_free(s->share, m);
	return r;
}

int server_map_setup(struct server_session *s, struct server_inode *ino,
		     const struct fuse_setupmapping_in *in)
{
	bool guest = atomic_load_explicit(&s->is_guest, memory_order_relaxed);
	bool writes = in->flags & FUSE_SETUPMAPPING_FLAG_WRITE;
	struct server_mapping *m;
	int r = check_setup(s, in);

	if (r)
		return r;
	if (guest)
		r = new_for_guest(s, ino, writes, &m);
	else
		r = mapping_new(s, ino, writes ? SERVER_DAX_WRITE :
							SERVER_DAX_READ, &m);
	if (!r && writes) {
		r = clear_privileges(s->share, ino);
		if (r)
			mapping_free(s->share, m);
	}
	if (r)
		return r;
	m->file_off = in->foffset;
	m->node.start = in->moffset;
	m->node.last = in->moffset + in->len - 1;
	pthread_mutex_lock(&s->map_lock);
	r = place_locked(s, m, guest);
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

int server_session_piece(struct server_session *s, uint64_t off,
			 struct server_piece *ret)
{
	struct server_piece p;
	struct itree_node *n;
	int r = -ENXIO;

	pthread_mutex_lock(&s->map_lock);
	n = itree_first(&s->maps, off, off);
	if (n) {
		const struct server_mapping *m =
			container_of(n, struct server_mapping, node);

		p.start = n->start;
		p.len = map_len(m);
		p.fd_off = m->file_off;
		p.fd = fcntl(dax_fd_of(m), F_DUPFD_CLOEXEC, 0);
		r = p.fd < 0 ? -errno : 0;
	}
	pthread_mutex_unlock(&s->map_lock);
	if (!r)
		*ret = p;
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

int server_maps_init(struct server_session *s)
{
	s->tally = calloc(1, sizeof(*s->tally));
	if (!s->tally)
		return -ENOMEM;
	atomic_init(&s->tally->refs, 1);
	pthread_mutex_init(&s->map_lock, NULL);
	itree_init(&s->maps);
	return 0;
}

void server_maps_done(struct server_session *s)
{
	tally_put(s->tally);
	pthread_mutex_destroy(&s->map_lock);
}
