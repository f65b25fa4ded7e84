/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The handshake of the front end: what is asked, in which order, and what an
 * acceptable answer is. Every wait has the caller's time limit; every failure
 * leaves a sentence that names the message, what came and what was expected.
 *
 * Only feature bits we know are acknowledged. With REPLY_ACK each command asks
 * for an answer: a daemon that dislikes our memory table then says so here
 * instead of leaving us waiting for a queue that never starts.
 */
#include "vhost/frontend_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"

#define BIT(n) (UINT64_C(1) << (n))

#define KNOWN_FEATURES                                               \
	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_INDIRECT_DESC) |     \
	 BIT(VIRTIO_F_EVENT_IDX) | BIT(VHOST_USER_VF_PROTOCOL_FEATURES))

#define CONFIG_BYTES 40u /* tag and number of request queues */

static bool has_pf(const struct vhost_frontend *fe, int bit)
{
	return fe->info.protocol_features >> bit & 1;
}

static uint64_t deadline(const struct vhost_frontend *fe)
{
	return clock_now_ns() + (uint64_t)fe->cfg.timeout_ms * NS_PER_MS;
}

/* Turn a failure of sending or receiving into the sentence for it. */
static int io_error(struct vhost_frontend *fe, const char *name, int err)
{
	const struct vhost_user_header *h = &fe->rx.msg.hdr;

	switch (err) {
	case -ECONNRESET:
	case -EPIPE:
		return fe_error(fe, -ECONNRESET,
				"%s: the peer closed the connection; "
				"is it a vhost-user daemon, and has it room "
				"for one more client?", name);
	case -ETIMEDOUT:
		return fe_error(fe, err, "%s: no answer within %d ms; is it a "
				"vhost-user daemon, and not busy with another "
				"client?", name, fe->cfg.timeout_ms);
	case -EPROTO:
		if (fe->rx.got < sizeof(*h))
			return fe_error(fe, err, "%s: the peer closed the "
					"connection in the middle of a "
					"message", name);
		return fe_error(fe, err, "%s: what came is no vhost-user "
				"message (request 0x%" PRIx32 ", flags 0x%"
				PRIx32 ", size %" PRIu32 ")", name,
				h->request, h->flags, h->size);
	default:
		return fe_error(fe, err, "%s: %s", name, strerror(-err));
	}
}

static int send_msg(struct vhost_frontend *fe, struct vhost_user_msg *m,
		    const int *fds, unsigned n_fds)
{
	const struct vhost_tx tx = { fe->cfg.sock, -1, deadline(fe) };
	int err;

	m->hdr.flags |= VHOST_USER_VERSION;
	err = vhost_send(&tx, m, fds, n_fds);
	if (err)
		return io_error(fe, vhost_user_request_name(m->hdr.request),
				err);
	return 0;
}

/* Receive the answer to @request, which must have @size payload bytes. */
static int receive_reply(struct vhost_frontend *fe, uint32_t request,
			 uint32_t size)
{
	const char *name = vhost_user_request_name(request);
	const struct vhost_user_header *h = &fe->rx.msg.hdr;
	int err;

	vhost_rx_next(&fe->rx);
	err = vhost_receive(&fe->rx, fe->cfg.sock, -1, deadline(fe));
	if (err)
		return io_error(fe, name, err);
	if (h->request != request || !(h->flags & VHOST_USER_F_REPLY))
		return fe_error(fe, -EPROTO, "%s: expected its answer, got "
				"%s (%" PRIu32 "), flags 0x%" PRIx32, name,
				vhost_user_request_name(h->request),
				h->request, h->flags);
	if (h->size != size)
		return fe_error(fe, -EPROTO, "%s: expected %" PRIu32 " bytes, "
				"got %" PRIu32, name, size, h->size);
	if (fe->rx.n_fds)
		return fe_error(fe, -EPROTO, "%s: %u unexpected file "
				"descriptors came with the answer", name,
				fe->rx.n_fds);
	return 0;
}

static int ask_u64(struct vhost_frontend *fe, uint32_t request, uint64_t *ret)
{
	struct vhost_user_msg m = { .hdr.request = request };
	int err = send_msg(fe, &m, NULL, 0);

	if (!err)
		err = receive_reply(fe, request, sizeof(uint64_t));
	if (err)
		return err;
	*ret = fe->rx.msg.u.u64;
	return 0;
}

/* Send a command, and see it accepted if the peer can say so. */
static int command(struct vhost_frontend *fe, struct vhost_user_msg *m,
		   const int *fds, unsigned n_fds)
{
	int err;

	if (fe->ack)
		m->hdr.flags |= VHOST_USER_F_NEED_REPLY;
	err = send_msg(fe, m, fds, n_fds);
	if (err || !fe->ack)
		return err;
	err = receive_reply(fe, m->hdr.request, sizeof(uint64_t));
	if (err)
		return err;
	if (fe->rx.msg.u.u64)
		return fe_error(fe, -EPROTO, "%s: the daemon refused it "
				"(0x%" PRIx64 ")",
				vhost_user_request_name(m->hdr.request),
				fe->rx.msg.u.u64);
	return 0;
}

static int command_u64(struct vhost_frontend *fe, uint32_t request, uint64_t v)
{
	struct vhost_user_msg m = {
		.hdr = { .request = request, .size = sizeof(v) },
		.u.u64 = v,
	};

	return command(fe, &m, NULL, 0);
}

/* Features of the device, then those of the protocol. */
static int negotiate_features(struct vhost_frontend *fe)
{
	struct vhost_user_msg owner = { .hdr.request = VHOST_USER_SET_OWNER };
	uint64_t offered = 0;
	int err = ask_u64(fe, VHOST_USER_GET_FEATURES, &offered);

	if (err)
		return err;
	if (!(offered & BIT(VIRTIO_F_VERSION_1)))
		return fe_error(fe, -EPROTO, "GET_FEATURES: the daemon offers "
				"0x%" PRIx64 ", without VERSION_1 (bit 32)",
				offered);
	fe->info.virtio_features = offered & KNOWN_FEATURES;
	return command(fe, &owner, NULL, 0);
}

static uint64_t wanted_protocol_features(const struct vhost_frontend *fe,
					 uint64_t offered)
{
	/* REPLY_ACK: the daemon must hear that a mapping is in place. */
	const uint64_t shmem = BIT(VHOST_USER_PF_BACKEND_REQ) |
			       BIT(VHOST_USER_PF_REPLY_ACK) |
			       BIT(VHOST_USER_PF_SHMEM);
	uint64_t want = BIT(VHOST_USER_PF_MQ) | BIT(VHOST_USER_PF_REPLY_ACK) |
			BIT(VHOST_USER_PF_CONFIG) | BIT(VHOST_USER_PF_ORIEL);

	if (fe->cfg.max_window_bytes && (offered & shmem) == shmem)
		want |= shmem | BIT(VHOST_USER_PF_BACKEND_SEND_FD);
	return want & offered;
}

static int negotiate_protocol(struct vhost_frontend *fe)
{
	uint64_t offered = 0;
	int err;

	if (!fe->cfg.max_window_bytes)
		fe->info.no_window_why = "no window was asked for";
	else
		fe->info.no_window_why = "the daemon does not offer shared "
			"memory (SHMEM, protocol bit 22)";
	if (!fe_has_feature(fe, VHOST_USER_VF_PROTOCOL_FEATURES))
		return 0;
	err = ask_u64(fe, VHOST_USER_GET_PROTOCOL_FEATURES, &offered);
	if (err)
		return err;
	fe->info.protocol_features = wanted_protocol_features(fe, offered);
	err = command_u64(fe, VHOST_USER_SET_PROTOCOL_FEATURES,
			  fe->info.protocol_features);
	if (err)
		return err;
	fe->ack = has_pf(fe, VHOST_USER_PF_REPLY_ACK);
	fe->shmem = has_pf(fe, VHOST_USER_PF_SHMEM);
	if (fe->cfg.max_window_bytes && !fe->shmem &&
	    offered & BIT(VHOST_USER_PF_SHMEM))
		fe->info.no_window_why = "the daemon offers shared memory but "
			"not what it needs (REPLY_ACK and BACKEND_REQ, "
			"protocol bits 3 and 5)";
	return 0;
}

static int negotiate_queues(struct vhost_frontend *fe)
{
	uint64_t n = 2; /* hiprio and one request queue */
	int err;

	if (has_pf(fe, VHOST_USER_PF_MQ)) {
		err = ask_u64(fe, VHOST_USER_GET_QUEUE_NUM, &n);
		if (err)
			return err;
	}
	if (n < 2)
		return fe_error(fe, -EPROTO, "GET_QUEUE_NUM: the daemon has %"
				PRIu64 " queues, virtio-fs needs at least 2",
				n);
	fe->info.n_queues = (unsigned)min_u64(n,
				(uint64_t)fe->cfg.request_queues + 1);
	return 0;
}

static void copy_tag(struct vhost_frontend *fe, const uint8_t *tag)
{
	memcpy(fe->info.tag, tag, 36);
	fe->info.tag[36] = '\0';
	/* It ends up in messages and on terminals. */
	for (char *c = fe->info.tag; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
}

static int get_config(struct vhost_frontend *fe)
{
	const uint32_t size = VHOST_USER_CONFIG_HEADER + CONFIG_BYTES;
	struct vhost_user_msg m = {
		.hdr = { .request = VHOST_USER_GET_CONFIG, .size = size },
		.u.config = { .offset = 0, .size = CONFIG_BYTES },
	};
	struct virtio_fs_config c = { .num_request_queues = 0 };
	int err = send_msg(fe, &m, NULL, 0);

	if (!err)
		err = receive_reply(fe, VHOST_USER_GET_CONFIG, size);
	if (err)
		return err;
	memcpy(&c, fe->rx.msg.u.config.data, CONFIG_BYTES);
	if (c.num_request_queues == 0)
		return fe_error(fe, -EPROTO, "GET_CONFIG: the daemon has 0 "
				"request queues, at least 1 is needed");
	copy_tag(fe, c.tag);
	fe->info.n_queues = (unsigned)min_u64(fe->info.n_queues,
			(uint64_t)c.num_request_queues + 1);
	return 0;
}

/* Our end of the back-end channel stays here, the other one is sent. */
static int make_channel(struct vhost_frontend *fe)
{
	struct vhost_user_msg m = {
		.hdr.request = VHOST_USER_SET_BACKEND_REQ_FD,
	};
	int pair[2];
	int err;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return fe_error(fe, -errno, "no back-end channel (socketpair)");
	fe->chan = pair[0];
	err = command(fe, &m, &pair[1], 1);
	fd_close(&pair[1]);
	return err;
}

static int negotiate_window(struct vhost_frontend *fe)
{
	struct vhost_user_msg m = {
		.hdr.request = VHOST_USER_GET_SHMEM_CONFIG,
	};
	uint64_t bytes;
	int err = send_msg(fe, &m, NULL, 0);

	if (!err)
		err = receive_reply(fe, VHOST_USER_GET_SHMEM_CONFIG,
				    sizeof(struct vhost_user_shmem_config));
	if (err)
		return err;
	bytes = fe->rx.msg.u.shmem.sizes[0];
	err = fe_window_reserve(fe, bytes);
	if (err || !fe->info.window)
		return err;
	return make_channel(fe);
}

int fe_negotiate(struct vhost_frontend *fe)
{
	int err = negotiate_features(fe);

	if (!err)
		err = negotiate_protocol(fe);
	if (!err)
		err = negotiate_queues(fe);
	if (!err && has_pf(fe, VHOST_USER_PF_CONFIG))
		err = get_config(fe);
	if (!err && fe->shmem)
		err = negotiate_window(fe);
	if (!err)
		err = command_u64(fe, VHOST_USER_SET_FEATURES,
				  fe->info.virtio_features);
	return err;
}

static int send_memory(struct vhost_frontend *fe)
{
	struct vhost_user_msg m = {
		.hdr = {
			.request = VHOST_USER_SET_MEM_TABLE,
			.size = 8 + sizeof(struct vhost_user_mem_region),
		},
		.u.mem = {
			.n_regions = 1,
			.regions[0] = {
				.gpa = FE_GPA_BASE,
				.size = fe->mem_bytes,
				.uaddr = FE_GPA_BASE,
			},
		},
	};

	return command(fe, &m, &fe->mem_fd, 1);
}

static int send_state(struct vhost_frontend *fe, uint32_t request, unsigned i,
		      unsigned num)
{
	struct vhost_user_msg m = {
		.hdr = { .request = request, .size = sizeof(m.u.state) },
		.u.state = { .index = i, .num = num },
	};

	return command(fe, &m, NULL, 0);
}

static int send_vring_fd(struct vhost_frontend *fe, uint32_t request,
			 unsigned i, int fd)
{
	struct vhost_user_msg m = {
		.hdr = { .request = request, .size = sizeof(m.u.u64) },
		.u.u64 = i,
	};

	return command(fe, &m, &fd, 1);
}

static int send_vring(struct vhost_frontend *fe, unsigned i)
{
	const struct fe_queue *q = &fe->queues[i];
	struct vhost_user_msg m = {
		.hdr = {
			.request = VHOST_USER_SET_VRING_ADDR,
			.size = sizeof(m.u.addr),
		},
		.u.addr = {
			.index = i,
			.desc = FE_GPA_BASE + q->desc_off,
			.used = FE_GPA_BASE + q->used_off,
			.avail = FE_GPA_BASE + q->avail_off,
		},
	};
	int err = send_state(fe, VHOST_USER_SET_VRING_NUM, i,
			     fe->cfg.queue_size);

	if (!err)
		err = send_state(fe, VHOST_USER_SET_VRING_BASE, i, 0);
	if (!err)
		err = command(fe, &m, NULL, 0);
	if (!err)
		err = send_vring_fd(fe, VHOST_USER_SET_VRING_CALL, i,
				    q->call_fd);
	if (!err)
		err = send_vring_fd(fe, VHOST_USER_SET_VRING_KICK, i,
				    q->kick_fd);
	return err;
}

int fe_start_queues(struct vhost_frontend *fe)
{
	int err = send_memory(fe);

	for (unsigned i = 0; !err && i < fe->info.n_queues; i++)
		err = send_vring(fe, i);
	/* Without the protocol features SET_FEATURES has enabled them. */
	if (!fe_has_feature(fe, VHOST_USER_VF_PROTOCOL_FEATURES))
		return err;
	for (unsigned i = 0; !err && i < fe->info.n_queues; i++)
		err = send_state(fe, VHOST_USER_SET_VRING_ENABLE, i, 1);
	return err;
}
