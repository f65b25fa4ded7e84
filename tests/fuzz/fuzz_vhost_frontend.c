/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hostile back end. All it will ever say in the handshake is in the socket
 * before the front end begins: either the input's bytes as they are, or the
 * answers of a good back end with some bytes changed. If the handshake comes
 * to an end all the same, the rest of the input is what it sends on the
 * back-end channel. No threads.
 *
 * What is demanded: no mapping outside the window, none left, no descriptor
 * left, and a sentence for every failure.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "vhost/frontend.h"
#include "wire/vhost_user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEMAND(cond)             \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

#define WINDOW MIB(1)
#define MAX_OPS 512

struct input {
	const uint8_t *p;
	size_t left;
};

static unsigned take8(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->p++;
}

static unsigned take16(struct input *in)
{
	unsigned low = take8(in);

	return low | take8(in) << 8;
}

static unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	DEMAND(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* --- the handshake -------------------------------------------------------- */

struct stream {
	uint8_t buf[8192];
	size_t len;
};

static void put(struct stream *s, uint32_t request, const void *payload,
		uint32_t size)
{
	const struct vhost_user_header h = { request, 5, size };

	memcpy(s->buf + s->len, &h, sizeof(h));
	memcpy(s->buf + s->len + sizeof(h), payload, size);
	s->len += sizeof(h) + size;
}

static void put_u64(struct stream *s, uint32_t request, uint64_t v)
{
	put(s, request, &v, sizeof(v));
}

/* What a good back end with one request queue answers, in order. */
static void good_answers(struct stream *s)
{
	static const uint32_t per_queue[] = {
		VHOST_USER_SET_VRING_NUM,  VHOST_USER_SET_VRING_BASE,
		VHOST_USER_SET_VRING_ADDR, VHOST_USER_SET_VRING_CALL,
		VHOST_USER_SET_VRING_KICK,
	};
	struct vhost_user_config config = { .size = 40 };
	static struct vhost_user_shmem_config shmem;

	s->len = 0;
	put_u64(s, VHOST_USER_GET_FEATURES, 0x170000000);
	put_u64(s, VHOST_USER_GET_PROTOCOL_FEATURES, 0x400629);
	put_u64(s, VHOST_USER_GET_QUEUE_NUM, 2);
	config.data[36] = 1;
	put(s, VHOST_USER_GET_CONFIG, &config, 52);
	shmem.n_regions = 1;
	shmem.sizes[0] = WINDOW;
	put(s, VHOST_USER_GET_SHMEM_CONFIG, &shmem, sizeof(shmem));
	put_u64(s, VHOST_USER_SET_BACKEND_REQ_FD, 0);
	put_u64(s, VHOST_USER_SET_FEATURES, 0);
	put_u64(s, VHOST_USER_SET_MEM_TABLE, 0);
	for (unsigned i = 0; i < 2 * ARRAY_LEN(per_queue); i++)
		put_u64(s, per_queue[i % ARRAY_LEN(per_queue)], 0);
	put_u64(s, VHOST_USER_SET_VRING_ENABLE, 0);
	put_u64(s, VHOST_USER_SET_VRING_ENABLE, 0);
}

static void fill_handshake(struct stream *s, struct input *in)
{
	unsigned mode = take8(in);

	if (mode & 1) {
		s->len = in->left < sizeof(s->buf) ? in->left : sizeof(s->buf);
		memcpy(s->buf, in->p, s->len);
		return;
	}
	good_answers(s);
	for (unsigned n = (mode >> 1) % 8; n; n--) {
		size_t at = take16(in) % s->len;

		s->buf[at] ^= (uint8_t)take8(in);
	}
	if (mode & 0x80)
		s->len = take16(in) % s->len;
}

static int handshake(int sock, struct vhost_frontend **ret)
{
	const struct vhost_frontend_config cfg = {
		.sock = sock,
		.request_queues = 1,
		.queue_size = 16,
		.arena_bytes = 65536,
		.max_window_bytes = WINDOW,
		.window_align = 65536,
		.timeout_ms = 2, /* everything is there already */
	};
	char error[128] = "";
	int err = vhost_frontend_new(&cfg, ret, error, sizeof(error));

	DEMAND(err == 0 || *error);
	return err;
}

/* The back end's end of the channel, from what the front end has sent. */
static int find_channel(int sock)
{
	_Alignas(struct cmsghdr) char ctl[256];
	char buf[64];
	int chan = -1;

	for (;;) {
		struct iovec iov = { buf, sizeof(buf) };
		struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1,
				     .msg_control = ctl,
				     .msg_controllen = sizeof(ctl) };
		struct cmsghdr *c;
		struct stat st;
		int fd;

		if (recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
			return chan;
		c = CMSG_FIRSTHDR(&mh);
		if (!c)
			continue;
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		if (chan < 0 && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode))
			chan = fd;
		else
			close(fd);
	}
}

/* --- the channel -------------------------------------------------------- */

static int new_fd(unsigned kind)
{
	int fd;

	switch (kind % 4) {
	case 0:
		return open("/dev/null", O_RDWR);
	case 1:
		return open("/proc/self/exe", O_RDONLY);
	case 2:
		return open("/", O_PATH);
	default:
		fd = memfd_create("fuzz", MFD_CLOEXEC);
		DEMAND(ftruncate(fd, 65536) == 0);
		return fd;
	}
}

static void send_msg(int sock, struct vhost_user_header h,
		     const struct vhost_user_mmap *r, const int *fds,
		     unsigned n_fds)
{
	_Alignas(struct cmsghdr) char ctl[CMSG_SPACE(sizeof(int) * 3)];
	struct iovec iov[2] = { { &h, sizeof(h) },
				{ (void *)(uintptr_t)r, sizeof(*r) } };
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
	(void)sendmsg(sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Mostly plausible: few pages, few places. */
static void op_request(int chan, struct input *in)
{
	const unsigned odd = take8(in);
	struct vhost_user_header h = { 9 + take8(in) % 3, 9, 40 };
	struct vhost_user_mmap r = {
		.shm_offset = take8(in) % 32 * UINT64_C(4096),
		.len = (1 + take8(in) % 4) * UINT64_C(4096),
		.flags = take8(in) & 1,
	};
	unsigned n_fds = h.request == VHOST_USER_BACKEND_SHMEM_MAP;
	int fds[3];

	if (odd == 255)
		h.flags = take8(in);
	if (odd == 254)
		h.size = take16(in);
	if (odd == 253)
		memcpy(&r, in->p, in->left < sizeof(r) ? in->left : sizeof(r));
	if (odd >= 240)
		n_fds = take8(in) % 4;
	for (unsigned i = 0; i < n_fds; i++)
		fds[i] = new_fd(odd < 200 ? 3 : take8(in));
	send_msg(chan, h, &r, fds, n_fds);
	fd_close_all(fds, n_fds);
}

static void op_raw(int chan, struct input *in)
{
	size_t n = take8(in);

	if (n > in->left)
		n = in->left;
	(void)send(chan, in->p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	in->p += n;
	in->left -= n;
}

/* How many pages of the window can be read; without touching them. */
static unsigned readable_pages(const struct vhost_frontend_info *info)
{
	int p[2];
	unsigned n = 0;

	DEMAND(pipe(p) == 0);
	for (uint64_t off = 0; off < info->window_bytes; off += 4096) {
		char c;

		if (write(p[1], info->window + off, 1) == 1) {
			DEMAND(read(p[0], &c, 1) == 1);
			n++;
		}
	}
	close(p[0]);
	close(p[1]);
	return n;
}

static void channel_phase(struct vhost_frontend *fe, int chan,
			  struct input *in)
{
	const struct vhost_frontend_info *info = vhost_frontend_info(fe);
	char sink[256];
	int dead = 0;

	for (unsigned n = 0; in->left && n < MAX_OPS && !dead; n++) {
		if (take8(in) % 16 == 0)
			op_raw(chan, in);
		else
			op_request(chan, in);
		dead = vhost_frontend_service(fe);
		DEMAND(dead <= 0);
		while (recv(chan, sink, sizeof(sink), MSG_DONTWAIT) > 0)
			;
		DEMAND(vhost_frontend_mappings(fe) <=
		       info->window_bytes / 4096);
	}
	if (vhost_frontend_mappings(fe) == 0)
		DEMAND(readable_pages(info) == 0);
	DEMAND(!dead || vhost_frontend_service(fe) == dead);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct stream s;
	struct input in = { data, size };
	struct vhost_frontend *fe = NULL;
	unsigned fds = count_fds();
	int pair[2], chan;

	fill_handshake(&s, &in);
	DEMAND(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	DEMAND(send(pair[1], s.buf, s.len, 0) == (ssize_t)s.len || !s.len);
	if (handshake(pair[0], &fe)) {
		close(pair[0]);
	} else {
		chan = find_channel(pair[1]);
		if (chan >= 0)
			channel_phase(fe, chan, &in);
		fd_close(&chan);
		vhost_frontend_free(fe);
	}
	/* What it sent and nobody received is freed with the socket. */
	close(pair[1]);
	DEMAND(count_fds() == fds);
	return 0;
}
