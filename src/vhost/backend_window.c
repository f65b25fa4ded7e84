/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Buffers of a guest that lie in its own DAX window: write(2) of what a program
 * has mapped from the same share, for example. They are in no region of the
 * memory table, which cannot be relied on for the window: a monitor stops telling
 * us of its pieces when there are more than eight. What is mapped where is known
 * to the owner of the mappings (ops->window_piece), and where the window is tells
 * any one piece that the monitor does tell us of.
 *
 * Such a piece is mapped here for the one request. The file may be cut meanwhile,
 * by anybody: then its pages become zeros (mem_map_blank()) or the system call
 * that uses them fails, as for all memory of the driver's.
 *
 * Threads: be_window_resolve() on queue threads, the other on main.
 */
#include "vhost/backend_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

bool be_is_window_piece(const struct vhost_backend *be, struct mem_map *m,
			const struct vhost_user_mem_region *r, int fd)
{
	const uint64_t size = be->cfg.guest_window_bytes;
	struct stat st;

	if (!be->cfg.guest_window_dev || !size || fstat(fd, &st) ||
	    st.st_dev != be->cfg.guest_window_dev)
		return false;
	m->window_gpa = align_down(r->gpa, size);
	m->window_size = size;
	return true;
}

/* Map the piece that window offset @off is in, as the next region of @m. */
static int map_piece(const struct vhost_backend *be, struct mem_map *m,
		     unsigned max, uint64_t off)
{
	struct vhost_piece p;
	int err;

	if (m->n_regions == max)
		return -E2BIG;
	err = be->cfg.ops->window_piece(be->cfg.ctx, off, &p);
	if (err)
		return err;
	err = mem_region_map(&m->regions[m->n_regions], p.fd, p.fd_off, p.start,
			     p.start, p.len);
	close(p.fd);
	if (!err)
		m->n_regions++;
	return err;
}

/* The piece of @m that @off is in; NULL: none yet. */
static const struct mem_region *find_piece(const struct mem_map *m,
					   uint64_t off)
{
	for (unsigned i = 0; i < m->n_regions; i++) {
		const struct mem_region *r = &m->regions[i];

		if (off >= r->gpa && off - r->gpa < r->size)
			return r;
	}
	return NULL;
}

/* Room for one more segment behind @seg, of the same direction. */
static int insert_segment(struct ring_chain *c, unsigned seg)
{
	unsigned n = c->n_out + c->n_in;

	if (n == RING_CHAIN_MAX)
		return -E2BIG;
	memmove(&c->iov[seg + 2], &c->iov[seg + 1],
		(n - seg - 1) * sizeof(c->iov[0]));
	if (seg < c->n_out)
		c->n_out++;
	else
		c->n_in++;
	return 0;
}

/* One segment, which may reach over several pieces. */
static int resolve_segment(const struct vhost_backend *be, struct ring_chain *c,
			   const struct ring_away *a, struct mem_map *m,
			   unsigned max)
{
	unsigned seg = a->seg;
	uint64_t off = a->off;
	size_t rest = c->iov[seg].iov_len;

	for (;;) {
		const struct mem_region *r = find_piece(m, off);
		uint64_t n;
		int err = 0;

		if (!r) {
			err = map_piece(be, m, max, off);
			r = find_piece(m, off);
		}
		if (err || !r)
			return err ? err : -EFAULT;
		n = min_u64(rest, r->size - (off - r->gpa));
		c->iov[seg].iov_base = r->host + (off - r->gpa);
		c->iov[seg].iov_len = n;
		rest -= n;
		off += n;
		if (!rest)
			return 0;
		err = insert_segment(c, seg);
		if (err)
			return err;
		seg++;
	}
}

int be_window_resolve(struct vhost_backend *be, struct ring_chain *c,
		      struct mem_map **ret_pieces)
{
	unsigned max = 2 * c->n_away;
	struct mem_map *m;
	bool header = false;
	int err = 0;

	*ret_pieces = NULL;
	if (ORIEL_LIKELY(!c->n_away))
		return 0;
	if (max > MEM_MAP_MAX_REGIONS)
		max = MEM_MAP_MAX_REGIONS;
	if (mem_map_new(NULL, max, &m))
		return -EPROTO;
	for (unsigned i = 0; i < c->n_away; i++)
		header |= !c->away[i].seg || c->away[i].seg == c->n_out;
	/* From the last on: what is inserted moves none that is still to come. */
	for (unsigned i = c->n_away; !err && i-- > 0;)
		err = resolve_segment(be, c, &c->away[i], m, max);
	if (err) {
		log_debug("vhost: a buffer in the window, where nothing is"
			  " mapped: %s", strerror(-err));
		mem_map_unref(m);
		return header ? -EPROTO : -EFAULT;
	}
	*ret_pieces = m;
	return 0;
}
