/* SPDX-License-Identifier: BSD-2-Clause */
/* See raw.h. */
#include "raw.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"

void raw_send_fds(int sock, uint32_t request, uint32_t flags,
		  const void *payload, uint32_t size, const int *fds,
		  unsigned n_fds)
{
	const struct vhost_user_header h = { request,
					     flags | VHOST_USER_VERSION,
					     size };
	_Alignas(struct cmsghdr) char ctl[CMSG_SPACE(sizeof(int) * 64)];
	struct iovec iov[2] = { { (void *)(uintptr_t)&h, sizeof(h) },
				{ (void *)(uintptr_t)payload, size } };
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };
	struct cmsghdr *c;

	memset(ctl, 0, sizeof(ctl));
	if (n_fds) {
		mh.msg_control = ctl;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	assert_int_equal(sendmsg(sock, &mh, MSG_NOSIGNAL), sizeof(h) + size);
}

void raw_send(int sock, uint32_t request, uint32_t flags, const void *payload,
	      uint32_t size)
{
	raw_send_fds(sock, request, flags, payload, size, NULL, 0);
}

static void recv_some(int sock, void *buf, size_t len, struct raw_msg *m)
{
	_Alignas(struct cmsghdr) char ctl[CMSG_SPACE(sizeof(int) * 32)];
	struct pollfd p = { .fd = sock, .events = POLLIN };

	while (len) {
		struct iovec iov = { buf, len };
		struct msghdr mh = { .msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = ctl,
				     .msg_controllen = sizeof(ctl) };
		struct cmsghdr *c;
		ssize_t n;

		assert_int_equal(poll(&p, 1, 20000), 1);
		n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC);
		assert_true(n > 0);
		c = CMSG_FIRSTHDR(&mh);
		if (c) {
			m->n_fds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) /
					      sizeof(int));
			memcpy(m->fds, CMSG_DATA(c), m->n_fds * sizeof(int));
		}
		buf = (char *)buf + n;
		len -= (size_t)n;
	}
}

void raw_recv(int sock, struct raw_msg *m)
{
	memset(m, 0, sizeof(*m));
	recv_some(sock, &m->hdr, sizeof(m->hdr), m);
	assert_true(m->hdr.size <= sizeof(m->u));
	recv_some(sock, &m->u, m->hdr.size, m);
}

void raw_expect_eof(int sock)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	char buf[4096];
	ssize_t n;

	do {
		assert_int_equal(poll(&p, 1, 20000), 1);
		n = recv(sock, buf, sizeof(buf), 0);
	} while (n > 0);
	assert_true(n == 0 || errno == ECONNRESET);
}

static uint64_t ring_off(unsigned queue)
{
	return queue * MIB(1) / 4;
}

static void queue_init(struct raw *r, unsigned i)
{
	unsigned char *m = r->mem + ring_off(i);
	const struct ring_driver_config c = {
		.size = RAW_RING,
		.desc = (void *)m,
		.avail = (void *)(m + 4096),
		.used = (void *)(m + 8192),
		.indirect = (void *)(m + 12288),
		.indirect_gpa = RAW_GPA + ring_off(i) + 12288,
		.event_idx = true,
	};

	assert_int_equal(ring_driver_new(&c, &r->q[i].d), 0);
	r->q[i].kick_fd = eventfd(0, EFD_NONBLOCK);
	r->q[i].call_fd = eventfd(0, EFD_NONBLOCK);
}

static void queue_done(struct raw *r, unsigned i)
{
	ring_driver_free(r->q[i].d);
	fd_close(&r->q[i].kick_fd);
	fd_close(&r->q[i].call_fd);
}

void raw_new_rings(struct raw *r)
{
	for (unsigned i = 0; i < 3; i++) {
		queue_done(r, i);
		memset(r->mem + ring_off(i), 0, 12288);
		queue_init(r, i);
	}
}

void raw_init(struct raw *r, int sock)
{
	r->sock = sock;
	r->chan = -1;
	r->mem_fd = memfd_create("raw", MFD_CLOEXEC);
	assert_int_equal(ftruncate(r->mem_fd, RAW_MEM), 0);
	r->mem = mmap(NULL, RAW_MEM, PROT_READ | PROT_WRITE, MAP_SHARED,
		      r->mem_fd, 0);
	assert_true(r->mem != MAP_FAILED);
	for (unsigned i = 0; i < 3; i++)
		queue_init(r, i);
}

void raw_done(struct raw *r)
{
	for (unsigned i = 0; i < 3; i++)
		queue_done(r, i);
	munmap(r->mem, RAW_MEM);
	fd_close(&r->mem_fd);
	fd_close(&r->sock);
	fd_close(&r->chan);
}

void raw_u64(struct raw *r, uint32_t request, uint64_t v)
{
	raw_send(r->sock, request, 0, &v, sizeof(v));
}

void raw_state(struct raw *r, uint32_t request, unsigned queue, unsigned num)
{
	const struct vhost_user_vring_state s = { queue, num };

	raw_send(r->sock, request, 0, &s, sizeof(s));
}

uint64_t raw_get(struct raw *r, uint32_t request)
{
	struct raw_msg m;

	raw_send(r->sock, request, 0, NULL, 0);
	raw_recv(r->sock, &m);
	assert_int_equal(m.hdr.request, request);
	assert_int_equal(m.hdr.flags, 5);
	assert_int_equal(m.hdr.size, 8);
	return m.u.u64;
}

void raw_vring_fd(struct raw *r, uint32_t request, unsigned queue, int fd)
{
	const uint64_t v = queue;

	raw_send_fds(r->sock, request, 0, &v, sizeof(v), &fd, 1);
}

void raw_vring_addr(struct raw *r, unsigned queue)
{
	const uint64_t base = RAW_UADDR + ring_off(queue);
	const struct vhost_user_vring_addr a = {
		.index = queue,
		.desc = base,
		.avail = base + 4096,
		.used = base + 8192,
		.log = UINT64_MAX,
	};

	raw_send(r->sock, VHOST_USER_SET_VRING_ADDR, 0, &a, sizeof(a));
}

struct vhost_user_one_region raw_region(void)
{
	return (struct vhost_user_one_region){
		.region = { .gpa = RAW_GPA, .size = RAW_MEM,
			    .uaddr = RAW_UADDR },
	};
}

void raw_mem_table(struct raw *r)
{
	const struct vhost_user_mem_table t = {
		.n_regions = 1,
		.regions[0] = raw_region().region,
	};

	raw_send_fds(r->sock, VHOST_USER_SET_MEM_TABLE, 0, &t, 8 + 32,
		     &r->mem_fd, 1);
}

void raw_give_channel(struct raw *r)
{
	int s[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	raw_send_fds(r->sock, VHOST_USER_SET_BACKEND_REQ_FD, 0, NULL, 0, &s[1],
		     1);
	close(s[1]);
	fd_close(&r->chan);
	r->chan = s[0];
}

void raw_vring(struct raw *r, unsigned queue)
{
	raw_state(r, VHOST_USER_SET_VRING_NUM, queue, RAW_RING);
	raw_state(r, VHOST_USER_SET_VRING_BASE, queue, 0);
	raw_vring_addr(r, queue);
	raw_vring_fd(r, VHOST_USER_SET_VRING_CALL, queue,
		     r->q[queue].call_fd);
	raw_vring_fd(r, VHOST_USER_SET_VRING_KICK, queue,
		     r->q[queue].kick_fd);
}

void raw_connect(struct raw *r)
{
	raw_u64(r, VHOST_USER_SET_PROTOCOL_FEATURES,
		1 << 0 | 1 << 3 | 1 << 5 | 1 << 9 | 1 << 10 | 1 << 13 |
			1 << 15 | 1 << 22);
	raw_u64(r, VHOST_USER_SET_FEATURES, 0x170000000);
	raw_give_channel(r);
	raw_mem_table(r);
	for (unsigned i = 0; i < 3; i++) {
		raw_vring(r, i);
		raw_state(r, VHOST_USER_SET_VRING_ENABLE, i, 1);
	}
}

void raw_offer(struct raw *r, unsigned queue, const struct ring_seg *segs,
	       unsigned n_out, unsigned n_in, void *token)
{
	assert_int_equal(ring_driver_add(r->q[queue].d, segs, n_out, n_in,
					 token), 0);
	if (ring_driver_needs_kick(r->q[queue].d))
		eventfd_write(r->q[queue].kick_fd, 1);
}

void raw_submit(struct raw *r, unsigned queue, unsigned slot,
		const struct pair_request *req)
{
	const uint64_t off = RAW_REQ + slot * KIB(64);
	const struct ring_seg segs[2] = {
		{ RAW_GPA + off, sizeof(*req) + 8 },
		{ RAW_GPA + off + 4096, 4096 },
	};

	memcpy(r->mem + off, req, sizeof(*req));
	raw_offer(r, queue, segs, 1, 1, r->mem + off);
}

void *raw_wait(struct raw *r, unsigned queue, uint32_t *len)
{
	struct pollfd p = { .fd = r->q[queue].call_fd, .events = POLLIN };
	eventfd_t v;
	void *token;
	int n;

	while ((n = ring_driver_poll(r->q[queue].d, &token, len)) == 0) {
		ring_driver_want_call(r->q[queue].d, true);
		if (ring_driver_has_used(r->q[queue].d))
			continue;
		assert_int_equal(poll(&p, 1, 20000), 1);
		eventfd_read(p.fd, &v);
	}
	assert_int_equal(n, 1);
	return token;
}

int raw_result(struct raw *r, unsigned queue)
{
	uint32_t len = 0;
	int32_t result;
	unsigned char *req = raw_wait(r, queue, &len);

	assert_int_equal(len, sizeof(result));
	memcpy(&result, req + 4096, sizeof(result));
	return result;
}

void raw_echo(struct raw *r, unsigned queue)
{
	const struct pair_request req = { .op = OP_ECHO, .len = 8 };
	/* a slot for each queue: they run at the same time */
	const unsigned slot = 8 + queue;
	unsigned char *at = r->mem + RAW_REQ + slot * KIB(64);
	static uint64_t salt = 0x1234567800000000;
	uint32_t len = 0;

	salt++;
	memcpy(at + sizeof(req), &salt, 8);
	memset(at + 4096, 0, 8);
	raw_submit(r, queue, slot, &req);
	assert_ptr_equal(raw_wait(r, queue, &len), at);
	assert_int_equal(len, 8);
	assert_memory_equal(at + 4096, &salt, 8);
}
