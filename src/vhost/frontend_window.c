/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The DAX window of the front end and the back-end channel that fills it.
 *
 * The window's address space is reserved for as long as the front end lives:
 * every byte of it is at any time either inaccessible (PROT_NONE) or part of
 * one mapping the back end asked for. Never a hole: another mmap of the process
 * could land in it, and the next SHMEM_MAP would overwrite it. For that reason
 * a file is first mapped elsewhere, where it may fail harmlessly, and then
 * moved into place.
 *
 * The back end is not trusted: it chooses offsets, lengths and descriptors, but
 * nothing it sends may touch memory outside the window, and only regular files
 * (memfds are such) are mapped. It may still shrink a file that is mapped: who
 * reads the window must be prepared for SIGBUS.
 *
 * The descriptor that comes with a SHMEM_MAP can be kept by whoever asked for the
 * mapping (vhost_frontend_want()). With it further pieces of the same file are
 * mapped and unmapped here, without the back end, which need not know: all its
 * own records are of what it was asked for. A range that both have mapped stays
 * the back end's to unmap.
 *
 * Lock: window_lock over records and wishes; taken last, nothing waits under it
 * but mmap(2).
 */
#include "vhost/frontend_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

/*
 * Each mapping is one of the process's memory areas, of which it has 65530 by
 * default; a back end that maps page by page must not use them up.
 */
#define MAX_MAPPINGS 32768u

struct fe_mapping {
	struct itree_node node; /* [window offset, last byte] */
	bool live;              /* in the tree */
	bool by_peer;           /* the back end asked for it, and keeps count;
				   else it is the caller's alone */
};

static void *reserve(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Make [@p, @p + @len) inaccessible again, dropping what is mapped there. */
static int close_range_of_window(unsigned char *p, uint64_t len)
{
	if (mmap(p, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
		 MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		return -errno;
	return 0;
}

int fe_window_reserve(struct vhost_frontend *fe, uint64_t offered_bytes)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	const uint64_t align = max_u64(fe->cfg.window_align, page);
	uint64_t bytes = min_u64(offered_bytes, fe->cfg.max_window_bytes);
	uintptr_t base;

	bytes = align_down(bytes, page);
	if (bytes == 0) {
		fe->info.no_window_why =
			"the daemon's shared memory region 0 is empty";
		return 0;
	}
	if (bytes > INT64_MAX - align) {
		fe->info.no_window_why = "the window does not fit into memory";
		return 0;
	}
	fe->reserved = reserve(bytes + align);
	if (!fe->reserved) {
		snprintf(fe->why, sizeof(fe->why), "cannot reserve %" PRIu64
			 " bytes of address space: %s", bytes,
			 strerror(errno));
		fe->info.no_window_why = fe->why;
		return 0;
	}
	fe->reserved_bytes = bytes + align;
	base = align_up((uintptr_t)fe->reserved, align);
	fe->info.window = (unsigned char *)base;
	fe->info.window_bytes = bytes;
	fe->info.no_window_why = NULL;
	return 0;
}

static struct fe_mapping *first_in(const struct vhost_frontend *fe,
				   uint64_t off, uint64_t len)
{
	struct itree_node *n = itree_first(&fe->mappings, off, off + len - 1);

	return n ? container_of(n, struct fe_mapping, node) : NULL;
}

static void forget_mapping(struct vhost_frontend *fe, struct fe_mapping *m)
{
	itree_remove(&fe->mappings, &m->node);
	free(m);
}

void fe_window_destroy(struct vhost_frontend *fe)
{
	struct itree_node *n;

	while ((n = itree_first(&fe->mappings, 0, UINT64_MAX)))
		forget_mapping(fe, container_of(n, struct fe_mapping, node));
	if (fe->reserved)
		munmap(fe->reserved, fe->reserved_bytes);
	fe->reserved = NULL;
	fe->info.window = NULL;
}

/* What UNMAP needs, and MAP too. */
static int check_range(const struct vhost_frontend *fe,
		       const struct vhost_user_mmap *r)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (r->shmid != 0 || r->len == 0)
		return -EINVAL;
	if (!is_aligned(r->shm_offset | r->len, page))
		return -EINVAL;
	if (!range_fits(r->shm_offset, r->len, fe->info.window_bytes))
		return -ERANGE;
	return 0;
}

/* A regular file, open for what is asked. */
static int check_file(int fd, bool writable)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (flags & O_PATH || (flags & O_ACCMODE) == O_WRONLY)
		return -EACCES;
	if (writable && (flags & O_ACCMODE) != O_RDWR)
		return -EACCES;
	return 0;
}

static int check_map(const struct vhost_frontend *fe,
		     const struct vhost_user_mmap *r, const int *fds,
		     unsigned n_fds)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	int err = check_range(fe, r);

	if (err)
		return err;
	if (n_fds != 1 || r->flags & ~VHOST_USER_MMAP_F_RW)
		return -EINVAL;
	if (!is_aligned(r->fd_offset, page) ||
	    !range_fits(r->fd_offset, r->len, INT64_MAX))
		return -EINVAL;
	return check_file(fds[0], r->flags & VHOST_USER_MMAP_F_RW);
}

/* Map the file where the kernel likes: all that can be wrong shows here. */
static int map_elsewhere(const struct vhost_user_mmap *r, int fd, void **ret)
{
	const int prot = r->flags & VHOST_USER_MMAP_F_RW
				 ? PROT_READ | PROT_WRITE : PROT_READ;
	void *p = mmap(NULL, r->len, prot, MAP_SHARED, fd,
		       (off_t)r->fd_offset);

	if (p == MAP_FAILED)
		return -errno;
	*ret = p;
	return 0;
}

/*
 * Move @p over [shm_offset, + len), in one step as other threads see it: they
 * find the old pages or the new ones. On failure the range is closed, since
 * the attempt may have taken its old contents away.
 */
static int move_into_place(struct vhost_frontend *fe,
			   const struct vhost_user_mmap *r, void *p)
{
	unsigned char *to = fe->info.window + r->shm_offset;
	int err;

	if (mremap(p, r->len, r->len, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to)
		return 0;
	err = -errno;
	munmap(p, r->len);
	if (close_range_of_window(to, r->len))
		log_error("vhost: the window has a hole at %" PRIu64,
			  r->shm_offset);
	return err;
}

static bool is_exactly(const struct fe_mapping *m,
		       const struct vhost_user_mmap *r)
{
	return m->node.start == r->shm_offset &&
	       m->node.last == r->shm_offset + r->len - 1;
}

/* Who asked for this mapping may want its descriptor. */
static void hand_over_locked(struct vhost_frontend *fe,
			     const struct vhost_user_mmap *r, int *fd)
{
	struct list *node;

	list_for_each(node, &fe->wants) {
		struct vhost_want *w = list_entry(node, struct vhost_want,
						  node);

		if (w->fd >= 0 || w->window_off != r->shm_offset ||
		    w->len != r->len)
			continue;
		w->fd = *fd;
		w->file_off = r->fd_offset;
		w->writable = r->flags & VHOST_USER_MMAP_F_RW;
		*fd = -1;
		return;
	}
}

/* @m: the record of the same range if it is mapped already, or a new one. */
static int map_as(struct vhost_frontend *fe, const struct vhost_user_mmap *r,
		  int fd, struct fe_mapping *m)
{
	void *p = NULL;
	int err = map_elsewhere(r, fd, &p);

	if (err)
		return err;
	err = move_into_place(fe, r, p);
	if (!err && !m->live) {
		m->live = true;
		itree_insert(&fe->mappings, &m->node);
	} else if (err && m->live) {
		m->live = false;
		itree_remove(&fe->mappings, &m->node);
	}
	return err;
}

/* The record of exactly this range, a new one if there is none. */
static int record_locked(struct vhost_frontend *fe,
			 const struct vhost_user_mmap *r,
			 struct fe_mapping **ret)
{
	struct fe_mapping *m = first_in(fe, r->shm_offset, r->len);

	if (m && !is_exactly(m, r))
		return -EEXIST;
	if (!m && fe->mappings.count >= MAX_MAPPINGS)
		return -ENOSPC;
	if (!m) {
		m = calloc(1, sizeof(*m));
		if (!m)
			return -ENOMEM;
		m->node.start = r->shm_offset;
		m->node.last = r->shm_offset + r->len - 1;
	}
	*ret = m;
	return 0;
}

static int do_map_locked(struct vhost_frontend *fe,
			 const struct vhost_user_mmap *r, int *fd)
{
	struct fe_mapping *m;
	int err = record_locked(fe, r, &m);

	if (err)
		return err;
	err = map_as(fe, r, *fd, m);
	if (!err) {
		m->by_peer = true;
		hand_over_locked(fe, r, fd);
	}
	if (!m->live)
		free(m);
	return err;
}

static int do_map(struct vhost_frontend *fe, const struct vhost_user_mmap *r,
		  int *fds, unsigned n_fds)
{
	int err = check_map(fe, r, fds, n_fds);

	if (err)
		return err;
	pthread_mutex_lock(&fe->window_lock);
	err = do_map_locked(fe, r, &fds[0]);
	pthread_mutex_unlock(&fe->window_lock);
	return err;
}

static int do_unmap_locked(struct vhost_frontend *fe,
			   const struct vhost_user_mmap *r)
{
	struct fe_mapping *m = first_in(fe, r->shm_offset, r->len);
	int err;

	if (!m || !is_exactly(m, r))
		return -ENOENT;
	err = close_range_of_window(fe->info.window + r->shm_offset, r->len);
	if (!err)
		forget_mapping(fe, m);
	return err;
}

static int do_unmap(struct vhost_frontend *fe, const struct vhost_user_mmap *r,
		    unsigned n_fds)
{
	int err = check_range(fe, r);

	if (err)
		return err;
	if (n_fds)
		return -EINVAL;
	pthread_mutex_lock(&fe->window_lock);
	err = do_unmap_locked(fe, r);
	pthread_mutex_unlock(&fe->window_lock);
	return err;
}

static int handle(struct vhost_frontend *fe)
{
	struct vhost_rx *rx = &fe->chan_rx;

	switch (rx->msg.hdr.request) {
	case VHOST_USER_BACKEND_SHMEM_MAP:
		return do_map(fe, &rx->msg.u.mmap, rx->fds, rx->n_fds);
	case VHOST_USER_BACKEND_SHMEM_UNMAP:
		return do_unmap(fe, &rx->msg.u.mmap, rx->n_fds);
	case VHOST_USER_BACKEND_CONFIG_CHANGE_MSG:
		return 0; /* our copy of the tag does not matter any more */
	default:
		return -EOPNOTSUPP;
	}
}

/* Malformed: no answer could be right, the two ends disagree on framing. */
static int check_shape(const struct vhost_user_header *h)
{
	bool is_mmap = h->request == VHOST_USER_BACKEND_SHMEM_MAP ||
		       h->request == VHOST_USER_BACKEND_SHMEM_UNMAP;

	if (h->flags & VHOST_USER_F_REPLY ||
	    (is_mmap && h->size != sizeof(struct vhost_user_mmap))) {
		log_error("vhost: %s on the back-end channel: flags 0x%" PRIx32
			  ", size %" PRIu32,
			  vhost_user_backend_request_name(h->request),
			  h->flags, h->size);
		return -EPROTO;
	}
	return 0;
}

static int answer(struct vhost_frontend *fe, uint32_t request, int result)
{
	/* Deadline 0: a back end that reads no answers is not waited for. */
	const struct vhost_tx tx = { fe->chan, -1, 0 };
	struct vhost_user_msg *m = &fe->chan_rx.msg;

	m->hdr.request = request;
	m->hdr.flags = VHOST_USER_VERSION | VHOST_USER_F_REPLY;
	m->hdr.size = sizeof(m->u.u64);
	m->u.u64 = (uint64_t)(int64_t)result;
	return vhost_send(&tx, m, NULL, 0);
}

/* Handle the complete message in chan_rx and answer it. */
static int serve(struct vhost_frontend *fe)
{
	const struct vhost_user_header h = fe->chan_rx.msg.hdr;
	int err = check_shape(&h);
	int result;

	if (err)
		return err;
	result = handle(fe);
	if (result)
		log_warn("vhost: %s refused: %s",
			 vhost_user_backend_request_name(h.request),
			 strerror(-result));
	if (!fe->ack || !(h.flags & VHOST_USER_F_NEED_REPLY))
		return 0;
	return answer(fe, h.request, result);
}

int fe_channel_step(struct vhost_frontend *fe)
{
	int r = vhost_rx_step(&fe->chan_rx, fe->chan);
	int err;

	if (r <= 0)
		return r;
	err = serve(fe);
	vhost_rx_next(&fe->chan_rx);
	return err ? err : 1;
}

/* ------------------------------------------------ without the back end */

void vhost_frontend_want(struct vhost_frontend *fe, struct vhost_want *w)
{
	w->fd = -1;
	pthread_mutex_lock(&fe->window_lock);
	list_add_tail(&fe->wants, &w->node);
	pthread_mutex_unlock(&fe->window_lock);
}

void vhost_frontend_unwant(struct vhost_frontend *fe, struct vhost_want *w)
{
	pthread_mutex_lock(&fe->window_lock);
	list_del(&w->node);
	pthread_mutex_unlock(&fe->window_lock);
}

/*
 * Where nothing is mapped, in one system call in place of two. If it fails the
 * range is closed: the attempt may have left a hole.
 */
static int map_in_place(struct vhost_frontend *fe,
			const struct vhost_user_mmap *r, int fd)
{
	const int prot = r->flags & VHOST_USER_MMAP_F_RW
				 ? PROT_READ | PROT_WRITE : PROT_READ;
	unsigned char *to = fe->info.window + r->shm_offset;
	int err;

	if (mmap(to, r->len, prot, MAP_SHARED | MAP_FIXED, fd,
		 (off_t)r->fd_offset) != MAP_FAILED)
		return 0;
	err = -errno;
	if (close_range_of_window(to, r->len))
		log_error("vhost: the window has a hole at %" PRIu64,
			  r->shm_offset);
	return err;
}

int vhost_frontend_map(struct vhost_frontend *fe, const struct vhost_local_map *p)
{
	const struct vhost_user_mmap r = {
		.fd_offset = p->file_off,
		.shm_offset = p->window_off,
		.len = p->len,
		.flags = p->writable ? VHOST_USER_MMAP_F_RW : 0,
	};
	struct fe_mapping *m = NULL;
	int err = check_range(fe, &r);

	if (err)
		return err;
	pthread_mutex_lock(&fe->window_lock);
	err = record_locked(fe, &r, &m);
	if (!err && m->live) {
		/* there may be pointers to it, which a refusal must not hurt */
		err = map_as(fe, &r, p->fd, m);
	} else if (!err) {
		err = map_in_place(fe, &r, p->fd);
		m->live = !err;
		if (!err)
			itree_insert(&fe->mappings, &m->node);
	}
	if (m && !m->live)
		free(m);
	pthread_mutex_unlock(&fe->window_lock);
	return err;
}

/*
 * A mapping of our own that nobody uses any more. If its pages cannot be taken
 * away they stay until the range is mapped again: nobody looks at them.
 */
static void forget_locked(struct vhost_frontend *fe, struct fe_mapping *m)
{
	close_range_of_window(fe->info.window + m->node.start,
			      m->node.last - m->node.start + 1);
	itree_remove(&fe->mappings, &m->node);
	free(m);
}

int vhost_frontend_unmap(struct vhost_frontend *fe, uint64_t window_off,
			 uint64_t len)
{
	const struct vhost_user_mmap r = {
		.shm_offset = window_off,
		.len = len,
	};
	struct fe_mapping *m;
	int err = check_range(fe, &r);

	if (err)
		return err;
	pthread_mutex_lock(&fe->window_lock);
	m = first_in(fe, window_off, len);
	if (!m || !is_exactly(m, &r))
		err = -ENOENT;
	else if (m->by_peer)
		err = -EREMOTE;
	else
		forget_locked(fe, m);
	pthread_mutex_unlock(&fe->window_lock);
	return err;
}
