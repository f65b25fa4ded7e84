/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * GET_INFLIGHT_FD and SET_INFLIGHT_FD: memory in which requests under way are
 * tracked, kept by the front end, so that they are not lost with this process.
 * What a queue does with its part of it is src/ring/inflight.c.
 *
 * The memory is checked and mapped like a region of the guest's: it may be cut
 * at any time (mem_map_blank()). Of what the front end names only what the
 * queues need is mapped, 1.5 MiB for three of the largest: it is not charged to
 * the front end's quota. Main only; queue threads use it while they run,
 * and it is not changed while one does.
 */
#include "vhost/backend_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

static int check(struct vhost_backend *be, const char *name)
{
	const struct vhost_user_inflight *in = &be->rx.msg.u.inflight;

	if (in->num_queues && in->num_queues <= be->n_queues &&
	    in->queue_size && in->queue_size <= RING_MAX_SIZE)
		return 0;
	return be_violation(name, "%" PRIu16 " queues of %" PRIu16
			    ", there are %u", in->num_queues, in->queue_size,
			    be->n_queues);
}

static uint64_t bytes_of(const struct vhost_user_inflight *in)
{
	return in->num_queues * ring_inflight_bytes(in->queue_size);
}

int be_inflight_get(struct vhost_backend *be)
{
	const struct vhost_tx tx = { be->sock, be->stop_fd,
				     clock_now_ns() + 5 * NS_PER_S };
	struct vhost_user_msg *m = &be->rx.msg;
	int fd = -1;
	int err = check(be, "GET_INFLIGHT_FD");

	if (err)
		return err;
	m->u.inflight.mmap_size = align_up(bytes_of(&m->u.inflight), 4096);
	m->u.inflight.mmap_offset = 0;
	err = fd_memfd("oriel-inflight", m->u.inflight.mmap_size, &fd);
	if (err)
		return err;
	m->hdr.flags = VHOST_USER_VERSION | VHOST_USER_F_REPLY;
	m->hdr.size = sizeof(m->u.inflight);
	err = vhost_send(&tx, m, &fd, 1);
	fd_close(&fd);
	return err;
}

int be_inflight_set(struct vhost_backend *be)
{
	const struct vhost_user_inflight *in = &be->rx.msg.u.inflight;
	struct mem_map *m = NULL;
	int err = check(be, "SET_INFLIGHT_FD");

	for (unsigned i = 0; !err && i < be->n_queues; i++)
		if (be->vqs[i].running)
			err = be_violation("SET_INFLIGHT_FD", "queue %u is"
					   " running", i);
	if (err)
		return err;
	if (in->mmap_size < bytes_of(in))
		return be_violation("SET_INFLIGHT_FD", "%" PRIu64 " bytes for %"
				    PRIu16 " queues of %" PRIu16, in->mmap_size,
				    in->num_queues, in->queue_size);
	err = mem_map_new(NULL, 1, &m);
	if (!err)
		err = mem_region_map(&m->regions[0], be->rx.fds[0],
				     in->mmap_offset, 0, 0, bytes_of(in));
	if (!err && (uintptr_t)m->regions[0].host % 16) {
		m->n_regions = 1;
		err = -EINVAL;
	}
	if (err) {
		mem_map_unref(m);
		return be_violation("SET_INFLIGHT_FD", "%" PRIu64 " bytes at 0x%"
				    PRIx64 " of the descriptor: %s",
				    in->mmap_size, in->mmap_offset,
				    strerror(-err));
	}
	m->n_regions = 1;
	be_inflight_clear(be);
	be->inflight = m;
	be->inflight_queues = in->num_queues;
	be->inflight_size = in->queue_size;
	return 0;
}

void be_inflight_clear(struct vhost_backend *be)
{
	mem_map_unref(be->inflight);
	be->inflight = NULL;
	be->inflight_queues = 0;
}

int be_inflight_attach(struct vhost_vq *vq, uint16_t used_idx)
{
	struct vhost_backend *be = vq->be;
	struct ring_inflight *part;
	int err;

	if (vq->index >= be->inflight_queues)
		return 0;
	part = (struct ring_inflight *)(void *)(be->inflight->regions[0].host +
		vq->index * ring_inflight_bytes(be->inflight_size));
	err = ring_inflight_attach(&vq->inflight, part, be->inflight_size,
				   vq->size, used_idx);
	if (err)
		return be_violation("SET_INFLIGHT_FD", "queue %u of %u: what it"
				    " has is not of such a queue: %s",
				    vq->index, vq->size, strerror(-err));
	if (vq->inflight.n)
		log_info("queue %u: %u requests of an earlier daemon are served"
			 " again", vq->index, vq->inflight.n);
	return 0;
}
