/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The messages of the main channel, one handler each. A table says which size
 * and how many descriptors a message must have, so handlers see only complete
 * ones. They run in any order the front end likes: each puts down what it was
 * told and starts a queue when nothing is missing any more.
 *
 * A handler returns 0; -EPROTO after logging a violation, which ends the
 * session; or another negative errno when it could not do what is allowed: that
 * goes into the reply if one was asked for and ends the session if not, since
 * the front end would go on in a false belief. It takes a descriptor by setting
 * its entry to -1; the rest is closed for it.
 */
#include "vhost/backend_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

#define BIT(n) (UINT64_C(1) << (n))

/* For a front end that does not read its answers. */
#define SEND_TIMEOUT_NS (5 * NS_PER_S)

static uint64_t offered_features(void)
{
	return BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_INDIRECT_DESC) |
	       BIT(VIRTIO_F_EVENT_IDX) | BIT(VHOST_USER_VF_PROTOCOL_FEATURES);
}

static uint64_t offered_protocol_features(const struct vhost_backend *be)
{
	uint64_t f = BIT(VHOST_USER_PF_MQ) | BIT(VHOST_USER_PF_REPLY_ACK) |
		     BIT(VHOST_USER_PF_BACKEND_REQ) |
		     BIT(VHOST_USER_PF_CONFIG) |
		     BIT(VHOST_USER_PF_BACKEND_SEND_FD) |
		     BIT(VHOST_USER_PF_INFLIGHT_SHMFD) |
		     BIT(VHOST_USER_PF_RESET_DEVICE) |
		     BIT(VHOST_USER_PF_ORIEL);

	if (be->cfg.mem_slots)
		f |= BIT(VHOST_USER_PF_CONFIGURE_MEM_SLOTS);
	if (be->cfg.window_bytes)
		f |= BIT(VHOST_USER_PF_SHMEM);
	/* Only for chan_barrier(). */
	if (be->cfg.guest_window_bytes)
		f |= BIT(VHOST_USER_PF_SHARED_OBJECT);
	return f;
}

/* Answer with the first @size payload bytes of be->rx.msg. */
static int reply(struct vhost_backend *be, uint32_t size)
{
	const struct vhost_tx tx = { be->sock, be->stop_fd,
				     clock_now_ns() + SEND_TIMEOUT_NS };
	struct vhost_user_msg *m = &be->rx.msg;

	m->hdr.flags = VHOST_USER_VERSION | VHOST_USER_F_REPLY;
	m->hdr.size = size;
	return vhost_send(&tx, m, NULL, 0);
}

static int reply_u64(struct vhost_backend *be, uint64_t v)
{
	be->rx.msg.u.u64 = v;
	return reply(be, sizeof(v));
}

/* The queue a message is about; NULL (logged) if there is none. */
static struct vhost_vq *find_vq(struct vhost_backend *be, uint64_t i,
				const char *name)
{
	if (i < be->n_queues)
		return &be->vqs[i];
	(void)be_violation(name, "queue %" PRIu64 ", there are %u", i,
			   be->n_queues);
	return NULL;
}

/* The window of this front end. */
static uint64_t window_bytes(const struct vhost_backend *be)
{
	return vhost_backend_is_oriel(be) ? be->cfg.window_bytes :
					    be->cfg.guest_window_bytes;
}

/* REPLY_ACK too: without it nobody would say when a mapping is there. */
static void update_shmem(struct vhost_backend *be)
{
	const uint64_t need = BIT(VHOST_USER_PF_SHMEM) |
			      BIT(VHOST_USER_PF_BACKEND_REQ) |
			      BIT(VHOST_USER_PF_REPLY_ACK);
	bool oriel = be->protocol & BIT(VHOST_USER_PF_ORIEL);
	bool has;

	atomic_store_explicit(&be->is_oriel, oriel, memory_order_relaxed);
	atomic_store_explicit(&be->has_barrier, !oriel && be->protocol &
			      BIT(VHOST_USER_PF_SHARED_OBJECT),
			      memory_order_relaxed);
	has = (be->protocol & need) == need && be->chan.fd >= 0 &&
	      window_bytes(be);
	atomic_store_explicit(&be->has_shmem, has, memory_order_relaxed);
}

static int do_nothing(struct vhost_backend *be)
{
	return 0;
}

static int do_get_features(struct vhost_backend *be)
{
	return reply_u64(be, offered_features());
}

static int do_set_features(struct vhost_backend *be)
{
	uint64_t v = be->rx.msg.u.u64;

	if (v & ~offered_features())
		return be_violation("SET_FEATURES", "0x%" PRIx64 ", offered "
				    "were 0x%" PRIx64, v, offered_features());
	be->features = v;
	if (v & BIT(VHOST_USER_VF_PROTOCOL_FEATURES))
		return 0;
	for (unsigned i = 0; i < be->n_queues; i++)
		be->vqs[i].enabled = true;
	return be_try_start_all(be, "SET_FEATURES");
}

static int do_get_protocol(struct vhost_backend *be)
{
	return reply_u64(be, offered_protocol_features(be));
}

static int do_set_protocol(struct vhost_backend *be)
{
	uint64_t v = be->rx.msg.u.u64;

	if (v & ~offered_protocol_features(be))
		return be_violation("SET_PROTOCOL_FEATURES", "0x%" PRIx64
				    ", offered were 0x%" PRIx64, v,
				    offered_protocol_features(be));
	be->protocol = v;
	update_shmem(be);
	return 0;
}

static int do_get_queue_num(struct vhost_backend *be)
{
	return reply_u64(be, be->n_queues);
}

static int do_get_mem_slots(struct vhost_backend *be)
{
	return reply_u64(be, MEM_MAP_MAX_REGIONS);
}

/* Deprecated: disabling the queues is what the protocol recommends. */
static int do_reset_owner(struct vhost_backend *be)
{
	be_stop_all(be);
	for (unsigned i = 0; i < be->n_queues; i++)
		be->vqs[i].enabled = false;
	return 0;
}

static int do_reset_device(struct vhost_backend *be)
{
	be_stop_all(be);
	for (unsigned i = 0; i < be->n_queues; i++)
		vq_reset(&be->vqs[i]);
	/* The mappings are gone with the device: nothing to take back. */
	chan_drop_owed_mapping(&be->chan);
	if (be->cfg.ops->reset)
		be->cfg.ops->reset(be->cfg.ctx);
	return 0;
}

static int do_vring_num(struct vhost_backend *be)
{
	const struct vhost_user_vring_state *s = &be->rx.msg.u.state;
	struct vhost_vq *vq = find_vq(be, s->index, "SET_VRING_NUM");

	if (!vq)
		return -EPROTO;
	if (!is_pow2(s->num) || s->num > RING_MAX_SIZE || vq->running)
		return be_violation("SET_VRING_NUM", "queue %" PRIu32 ": %"
				    PRIu32 "%s", s->index, s->num,
				    vq->running ? " while it runs" : "");
	vq->size = s->num;
	vq->size_set = true;
	return vq_try_start(vq, "SET_VRING_NUM");
}

static bool none_runs(const struct vhost_backend *be)
{
	for (unsigned i = 0; i < be->n_queues; i++) {
		if (be->vqs[i].running)
			return false;
	}
	return true;
}

static int do_vring_base(struct vhost_backend *be)
{
	const struct vhost_user_vring_state *s = &be->rx.msg.u.state;
	struct vhost_vq *vq = find_vq(be, s->index, "SET_VRING_BASE");

	if (!vq)
		return -EPROTO;
	if (s->num > UINT16_MAX || vq->running)
		return be_violation("SET_VRING_BASE", "queue %" PRIu32 ": %"
				    PRIu32 "%s", s->index, s->num,
				    vq->running ? " while it runs" : "");
	/* whoever goes on where it had stopped says where that was */
	if (!s->num && vq->base && none_runs(be) && be->cfg.ops->restart)
		be->cfg.ops->restart(be->cfg.ctx);
	vq->base = (uint16_t)s->num;
	return 0;
}

static bool same_place(const struct vhost_user_vring_addr *a,
		       const struct vhost_user_vring_addr *b)
{
	return a->desc == b->desc && a->avail == b->avail && a->used == b->used;
}

static int do_vring_addr(struct vhost_backend *be)
{
	const struct vhost_user_vring_addr *a = &be->rx.msg.u.addr;
	struct vhost_vq *vq = find_vq(be, a->index, "SET_VRING_ADDR");

	if (!vq)
		return -EPROTO;
	/* The same once more is how logging is switched: harmless. */
	if (vq->running && !same_place(a, &vq->addr))
		return be_violation("SET_VRING_ADDR", "queue %" PRIu32
				    " while it runs", a->index);
	vq->addr = *a;
	vq->addr_set = true;
	return vq_try_start(vq, "SET_VRING_ADDR");
}

/* The queue stops; a new SET_VRING_KICK will start it again. */
static int do_get_vring_base(struct vhost_backend *be)
{
	struct vhost_user_vring_state *s = &be->rx.msg.u.state;
	struct vhost_vq *vq = find_vq(be, s->index, "GET_VRING_BASE");

	if (!vq)
		return -EPROTO;
	vq_stop(vq);
	fd_close(&vq->kick_fd);
	vq->kick_set = false;
	s->num = vq->base;
	return reply(be, sizeof(*s));
}

/*
 * The queue and the descriptor of SET_VRING_KICK, CALL or ERR. *@ret_fd is -1
 * if the message says that there is none; it stays in be->rx.
 */
static int take_vring_fd(struct vhost_backend *be, struct vhost_vq **ret_vq,
			 int *ret_fd)
{
	const char *name = vhost_user_request_name(be->rx.msg.hdr.request);
	uint64_t v = be->rx.msg.u.u64;
	bool none = v & VHOST_USER_VRING_NOFD;
	struct vhost_vq *vq = find_vq(be, v & 0xff, name);

	if (!vq)
		return -EPROTO;
	if (be->rx.n_fds != (none ? 0 : 1))
		return be_violation(name, "0x%" PRIx64 " with %u descriptors",
				    v, be->rx.n_fds);
	if (!none && !vq_fd_is_usable(be->rx.fds[0]))
		return be_violation(name, "queue %u: the descriptor is neither "
				    "an eventfd nor a socket", vq->index);
	*ret_fd = none ? -1 : be->rx.fds[0];
	*ret_vq = vq;
	return 0;
}

static int do_vring_kick(struct vhost_backend *be)
{
	struct vhost_vq *vq = NULL;
	int fd = -1;
	int err = take_vring_fd(be, &vq, &fd);

	if (err)
		return err;
	be->rx.fds[0] = -1;
	vq_stop(vq);
	vq_set_kick(vq, fd);
	vq->kick_set = true;
	return vq_try_start(vq, "SET_VRING_KICK");
}

static int do_vring_call(struct vhost_backend *be)
{
	struct vhost_vq *vq = NULL;
	int fd = -1;
	int err = take_vring_fd(be, &vq, &fd);

	if (!err)
		err = vq_set_call(vq, fd);
	if (!err)
		be->rx.fds[0] = -1;
	return err;
}

static int do_vring_err(struct vhost_backend *be)
{
	struct vhost_vq *vq = NULL;
	int fd = -1;
	int err = take_vring_fd(be, &vq, &fd);

	if (!err)
		err = vq_set_err(vq, fd);
	if (!err)
		be->rx.fds[0] = -1;
	return err;
}

static int do_vring_enable(struct vhost_backend *be)
{
	const struct vhost_user_vring_state *s = &be->rx.msg.u.state;
	struct vhost_vq *vq = find_vq(be, s->index, "SET_VRING_ENABLE");

	if (!vq)
		return -EPROTO;
	if (s->num > 1)
		return be_violation("SET_VRING_ENABLE", "queue %" PRIu32 ": %"
				    PRIu32 ", not 0 or 1", s->index, s->num);
	vq->enabled = s->num;
	if (s->num)
		return vq_try_start(vq, "SET_VRING_ENABLE");
	vq_stop(vq);
	return 0;
}

static int do_backend_fd(struct vhost_backend *be)
{
	struct stat st;
	int err;

	if (fstat(be->rx.fds[0], &st) || !S_ISSOCK(st.st_mode))
		return be_violation("SET_BACKEND_REQ_FD",
				    "the descriptor is no socket");
	err = chan_set(&be->chan, be->rx.fds[0]);
	if (err)
		return err;
	be->rx.fds[0] = -1;
	update_shmem(be);
	return 0;
}

/* Any piece of the configuration, which ends in zeros. */
static int do_get_config(struct vhost_backend *be)
{
	struct vhost_user_config *c = &be->rx.msg.u.config;
	union {
		struct virtio_fs_config fs;
		uint8_t bytes[sizeof(c->data)];
	} all = { .bytes = { 0 } };

	if (!range_fits(c->offset, c->size, sizeof(all.bytes)) ||
	    be->rx.msg.hdr.size < VHOST_USER_CONFIG_HEADER + c->size)
		return be_violation("GET_CONFIG", "offset %" PRIu32 ", size %"
				    PRIu32 " in %" PRIu32 " bytes", c->offset,
				    c->size, be->rx.msg.hdr.size);
	memcpy(all.fs.tag, be->cfg.tag, strnlen(be->cfg.tag,
						sizeof(all.fs.tag)));
	all.fs.num_request_queues = be->cfg.request_queues;
	memcpy(c->data, all.bytes + c->offset, c->size);
	return reply(be, VHOST_USER_CONFIG_HEADER + c->size);
}

/* Nothing in it can be written. */
static int do_set_config(struct vhost_backend *be)
{
	return be->rx.msg.hdr.flags & VHOST_USER_F_NEED_REPLY ? -EPERM : 0;
}

static int do_get_shmem(struct vhost_backend *be)
{
	struct vhost_user_shmem_config *s = &be->rx.msg.u.shmem;

	memset(s, 0, sizeof(*s));
	s->n_regions = window_bytes(be) ? 1 : 0;
	s->sizes[0] = window_bytes(be);
	return reply(be, sizeof(*s));
}

/* Shape and handler of a message. */
struct msg_kind {
	int (*handle)(struct vhost_backend *be);
	uint16_t min_size; /* of the payload */
	uint16_t max_size;
	uint8_t min_fds;
	uint8_t max_fds;
	bool replies; /* by itself, not because of NEED_REPLY */
};

#define U64 sizeof(uint64_t), sizeof(uint64_t)
#define STATE sizeof(struct vhost_user_vring_state), \
	      sizeof(struct vhost_user_vring_state)
#define REGION sizeof(struct vhost_user_one_region), \
	       sizeof(struct vhost_user_one_region)
/* Some leave the last four bytes, which are padding, out. */
#define INFLIGHT sizeof(struct vhost_user_inflight) - 4, \
		 sizeof(struct vhost_user_inflight)
#define NONE 0, 0

/* A GET needs no payload, but some front ends send one: it is not read. */
#define ANY 0, VHOST_USER_MAX_PAYLOAD

static const struct msg_kind kinds[] = {
	[VHOST_USER_GET_FEATURES] = { do_get_features, ANY, NONE, true },
	[VHOST_USER_SET_FEATURES] = { do_set_features, U64, NONE, false },
	[VHOST_USER_SET_OWNER] = { do_nothing, ANY, NONE, false },
	[VHOST_USER_RESET_OWNER] = { do_reset_owner, ANY, NONE, false },
	[VHOST_USER_SET_MEM_TABLE] = {
		be_mem_set_table, 8, VHOST_USER_MAX_PAYLOAD, 0,
		VHOST_USER_TABLE_REGIONS, false },
	[VHOST_USER_SET_VRING_NUM] = { do_vring_num, STATE, NONE, false },
	[VHOST_USER_SET_VRING_ADDR] = {
		do_vring_addr, sizeof(struct vhost_user_vring_addr),
		sizeof(struct vhost_user_vring_addr), NONE, false },
	[VHOST_USER_SET_VRING_BASE] = { do_vring_base, STATE, NONE, false },
	[VHOST_USER_GET_VRING_BASE] = { do_get_vring_base, STATE, NONE, true },
	[VHOST_USER_SET_VRING_KICK] = { do_vring_kick, U64, 0, 1, false },
	[VHOST_USER_SET_VRING_CALL] = { do_vring_call, U64, 0, 1, false },
	[VHOST_USER_SET_VRING_ERR] = { do_vring_err, U64, 0, 1, false },
	[VHOST_USER_GET_PROTOCOL_FEATURES] = {
		do_get_protocol, ANY, NONE, true },
	[VHOST_USER_SET_PROTOCOL_FEATURES] = {
		do_set_protocol, U64, NONE, false },
	[VHOST_USER_GET_QUEUE_NUM] = { do_get_queue_num, ANY, NONE, true },
	[VHOST_USER_SET_VRING_ENABLE] = {
		do_vring_enable, STATE, NONE, false },
	[VHOST_USER_SET_BACKEND_REQ_FD] = { do_backend_fd, ANY, 1, 1, false },
	[VHOST_USER_GET_CONFIG] = {
		do_get_config, VHOST_USER_CONFIG_HEADER,
		VHOST_USER_MAX_PAYLOAD, NONE, true },
	[VHOST_USER_SET_CONFIG] = {
		do_set_config, VHOST_USER_CONFIG_HEADER,
		VHOST_USER_MAX_PAYLOAD, NONE, false },
	[VHOST_USER_GET_INFLIGHT_FD] = { be_inflight_get, INFLIGHT, NONE, true },
	[VHOST_USER_SET_INFLIGHT_FD] = {
		be_inflight_set, INFLIGHT, 1, 1, false },
	[VHOST_USER_RESET_DEVICE] = { do_reset_device, ANY, NONE, false },
	[VHOST_USER_GET_MAX_MEM_SLOTS] = {
		do_get_mem_slots, ANY, NONE, true },
	[VHOST_USER_ADD_MEM_REG] = { be_mem_add, REGION, 0, 1, false },
	[VHOST_USER_REM_MEM_REG] = { be_mem_remove, REGION, 0, 1, false },
	[VHOST_USER_GET_SHMEM_CONFIG] = { do_get_shmem, ANY, NONE, true },
};

/* The kind of the message in be->rx, or NULL (logged). */
static const struct msg_kind *check_shape(const struct vhost_rx *rx)
{
	const struct vhost_user_header *h = &rx->msg.hdr;
	const char *name = vhost_user_request_name(h->request);
	const struct msg_kind *k;

	if (h->request >= ARRAY_LEN(kinds) || !kinds[h->request].handle) {
		(void)be_violation(name, "request %" PRIu32 " is not part of "
				   "what was offered", h->request);
		return NULL;
	}
	k = &kinds[h->request];
	if (h->size < k->min_size || h->size > k->max_size ||
	    rx->n_fds < k->min_fds || rx->n_fds > k->max_fds ||
	    h->flags & VHOST_USER_F_REPLY) {
		(void)be_violation(name, "flags 0x%" PRIx32 ", %" PRIu32
				   " bytes, %u descriptors", h->flags,
				   h->size, rx->n_fds);
		return NULL;
	}
	return k;
}

/* Pass @err on, logged unless it is already, or no error of ours. */
static int report(uint32_t request, int err)
{
	if (err && err != -EPROTO && err != -ECONNRESET && err != -ECANCELED)
		log_error("vhost: %s: %s", vhost_user_request_name(request),
			  strerror(-err));
	return err;
}

int be_dispatch(struct vhost_backend *be)
{
	const uint32_t request = be->rx.msg.hdr.request;
	const bool asked = be->rx.msg.hdr.flags & VHOST_USER_F_NEED_REPLY;
	const struct msg_kind *k = check_shape(&be->rx);
	int err;

	if (!k)
		return -EPROTO;
	err = k->handle(be);
	if (err == -EPROTO || k->replies)
		return report(request, err);
	/* Looked at afterwards: the message may be what switches it on. */
	if (asked && be->protocol & BIT(VHOST_USER_PF_REPLY_ACK)) {
		be->rx.msg.hdr.request = request;
		return report(request, reply_u64(be, (uint64_t)-err));
	}
	return report(request, err);
}
