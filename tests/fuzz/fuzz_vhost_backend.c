/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hostile front end: the input is a script of messages, with descriptors of
 * all kinds, of writes to the shared memory and of answers on the back-end
 * channel. The back end runs in its threads as it does in the daemon; its
 * handler reads and writes all of each chain and asks for mappings.
 *
 * What is demanded: run() returns once the connection is closed, every queue
 * thread has ended, and no descriptor is left.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "vhost/backend.h"
#include "wire/vhost_user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEMAND(cond)             \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

#define MEM_BYTES 65536u
#define GPA UINT64_C(0x10000)
#define WINDOW MIB(1)
#define MAX_OPS 256

struct input {
	const uint8_t *p;
	size_t left;
};

struct world {
	struct vhost_backend *be;
	int sock;
	int chan;
	int mem_fd;
	unsigned char *mem;
	int event_fd;
	_Atomic unsigned running;
	int result;
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

static size_t take_bytes(struct input *in, void *buf, size_t n)
{
	if (n > in->left)
		n = in->left;
	memcpy(buf, in->p, n);
	in->p += n;
	in->left -= n;
	return n;
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

/* --- the back end ------------------------------------------------------- */

static int handle(void *ctx, unsigned queue, struct ring_chain *chain,
		  uint32_t *ret_written)
{
	struct world *w = ctx;
	unsigned sum = queue;
	uint64_t in = 0;

	for (unsigned i = 0; i < chain->n_out; i++)
		for (size_t k = 0; k < chain->iov[i].iov_len; k++)
			sum += ((volatile uint8_t *)chain->iov[i].iov_base)[k];
	for (unsigned i = chain->n_out; i < chain->n_out + chain->n_in; i++) {
		memset(chain->iov[i].iov_base, (int)sum,
		       chain->iov[i].iov_len);
		in += chain->iov[i].iov_len;
	}
	DEMAND(in == chain->in_bytes);
	if (sum % 4 == 1)
		sum += (unsigned)vhost_backend_map(w->be, w->mem_fd, 0,
						   sum % 16 * 4096, 4096, true);
	else if (sum % 4 == 2)
		sum += (unsigned)vhost_backend_unmap(w->be, 0, 4096);
	*ret_written = (uint32_t)in;
	return sum % 251 == 7 ? -EPROTO : 0;
}

static void thread_start(void *ctx, unsigned queue)
{
	(void)queue;
	atomic_fetch_add(&((struct world *)ctx)->running, 1);
}

static void thread_stop(void *ctx, unsigned queue)
{
	(void)queue;
	atomic_fetch_sub(&((struct world *)ctx)->running, 1);
}

static void reset(void *ctx)
{
	DEMAND(atomic_load(&((struct world *)ctx)->running) == 0);
}

static void *run(void *arg)
{
	struct world *w = arg;

	w->result = vhost_backend_run(w->be);
	return NULL;
}

/* --- the script --------------------------------------------------------- */

/* What came back is of no interest, but it must not fill the socket. */
static void drain(int sock)
{
	char buf[8192];

	while (sock >= 0 && recv(sock, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
}

static void send_msg(struct world *w, int sock, struct vhost_user_header h,
		     const void *payload, const int *fds, unsigned n_fds)
{
	_Alignas(struct cmsghdr) char ctl[CMSG_SPACE(sizeof(int) * 40)];
	struct iovec iov[2] = { { &h, sizeof(h) },
				{ (void *)(uintptr_t)payload, h.size } };
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };
	struct cmsghdr *c;

	drain(w->sock);
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

static void send_u64(struct world *w, uint32_t request, uint64_t v, int fd)
{
	send_msg(w, w->sock,
		 (struct vhost_user_header){ request, 1, sizeof(v) }, &v, &fd,
		 fd >= 0 ? 1 : 0);
}

static void send_state(struct world *w, uint32_t request, unsigned q,
		       unsigned num)
{
	const struct vhost_user_vring_state s = { q, num };

	send_msg(w, w->sock,
		 (struct vhost_user_header){ request, 1, sizeof(s) }, &s,
		 NULL, 0);
}

static int new_fd(struct world *w, unsigned kind)
{
	switch (kind % 5) {
	case 0:
		return dup(w->mem_fd);
	case 1:
		return dup(w->event_fd);
	case 2:
		return socket(AF_UNIX, SOCK_STREAM, 0);
	case 3:
		return open("/dev/null", O_RDWR);
	default:
		return eventfd(0, 0);
	}
}

/* Any message, any descriptors. */
static void op_message(struct world *w, struct input *in)
{
	struct vhost_user_header h = { .request = take8(in) };
	unsigned char payload[512] = { 0 };
	unsigned n_fds;
	int fds[40];

	h.flags = take8(in) ^ 1;
	h.size = (uint32_t)take_bytes(in, payload, take8(in));
	n_fds = take8(in);
	n_fds = n_fds < 40 ? n_fds % 4 : n_fds % 40;
	for (unsigned i = 0; i < n_fds; i++)
		fds[i] = new_fd(w, take8(in));
	send_msg(w, w->sock, h, payload, fds, n_fds);
	fd_close_all(fds, n_fds);
}

static void op_table(struct world *w)
{
	const struct vhost_user_mem_table t = {
		.n_regions = 1,
		.regions[0] = { .gpa = GPA, .size = MEM_BYTES, .uaddr = GPA },
	};

	send_msg(w, w->sock, (struct vhost_user_header){
				     VHOST_USER_SET_MEM_TABLE, 1, 40 },
		 &t, &w->mem_fd, 1);
}

static void op_vring(struct world *w, struct input *in)
{
	const unsigned q = take8(in) % 3;
	const struct vhost_user_vring_addr a = {
		.index = q,
		.desc = GPA + q * 4096,
		.avail = GPA + q * 4096 + 1024,
		.used = GPA + q * 4096 + 2048,
	};

	send_state(w, VHOST_USER_SET_VRING_NUM, q, 16);
	send_state(w, VHOST_USER_SET_VRING_BASE, q, take8(in));
	send_msg(w, w->sock, (struct vhost_user_header){
				     VHOST_USER_SET_VRING_ADDR, 1, sizeof(a) },
		 &a, NULL, 0);
	send_u64(w, VHOST_USER_SET_VRING_CALL, q, w->event_fd);
	send_u64(w, VHOST_USER_SET_VRING_KICK, q, w->event_fd);
	send_state(w, VHOST_USER_SET_VRING_ENABLE, q, 1);
}

static void op_channel(struct world *w)
{
	int s[2];

	DEMAND(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) == 0);
	send_msg(w, w->sock, (struct vhost_user_header){
				     VHOST_USER_SET_BACKEND_REQ_FD, 1, 0 },
		 NULL, &s[1], 1);
	close(s[1]);
	fd_close(&w->chan);
	w->chan = s[0];
}

static void op_answer(struct world *w, struct input *in)
{
	struct vhost_user_header h = { 9 + take8(in) % 3, 5, 8 };
	uint64_t v = 0;

	if (take8(in) % 8 == 0)
		h.flags = take8(in);
	take_bytes(in, &v, take8(in) % 4);
	drain(w->chan);
	if (w->chan >= 0)
		send_msg(w, w->chan, h, &v, NULL, 0);
}

static void op_write(struct world *w, struct input *in)
{
	size_t off = take16(in) % MEM_BYTES;
	size_t n = take8(in);

	if (n > MEM_BYTES - off)
		n = MEM_BYTES - off;
	take_bytes(in, w->mem + off, n);
	(void)eventfd_write(w->event_fd, 1);
}

static void op_raw(struct world *w, struct input *in)
{
	unsigned char buf[256];
	size_t n = take_bytes(in, buf, take8(in));

	drain(w->sock);
	(void)send(w->sock, buf, n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void play(struct world *w, struct input *in)
{
	for (unsigned n = 0; in->left && n < MAX_OPS; n++) {
		switch (take8(in) % 10) {
		case 0:
			op_raw(w, in);
			break;
		case 1:
			send_u64(w, VHOST_USER_SET_FEATURES, 0x170000000, -1);
			break;
		case 2:
			send_u64(w, VHOST_USER_SET_PROTOCOL_FEATURES, 0x40a629,
				 -1);
			break;
		case 3:
			op_table(w);
			break;
		case 4:
			op_vring(w, in);
			break;
		case 5:
			op_channel(w);
			break;
		case 6:
			op_answer(w, in);
			break;
		case 7:
			op_write(w, in);
			break;
		default:
			op_message(w, in);
			break;
		}
	}
}

static void world_init(struct world *w, int sock)
{
	w->sock = sock;
	w->chan = -1;
	w->mem_fd = memfd_create("fuzz", MFD_CLOEXEC);
	DEMAND(ftruncate(w->mem_fd, MEM_BYTES) == 0);
	w->mem = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
		      w->mem_fd, 0);
	DEMAND(w->mem != MAP_FAILED);
	w->event_fd = eventfd(0, EFD_NONBLOCK);
}

static void world_done(struct world *w)
{
	munmap(w->mem, MEM_BYTES);
	fd_close(&w->mem_fd);
	fd_close(&w->event_fd);
	fd_close(&w->chan);
	fd_close(&w->sock);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct vhost_backend_ops ops = {
		.handle = handle,
		.thread_start = thread_start,
		.thread_stop = thread_stop,
		.reset = reset,
	};
	struct world w = { .result = 1 };
	struct vhost_backend_config cfg = {
		.request_queues = 2,
		.window_bytes = WINDOW,
		.guest_window_bytes = WINDOW,
		.tag = "fuzz",
		.mem_slots = true,
		.ops = &ops,
		.ctx = &w,
	};
	struct input in = { data, size };
	unsigned fds = count_fds();
	pthread_t thread;
	int s[2];

	cfg.poll_ns = take8(&in) & 1 ? 20000 : 0;
	DEMAND(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) == 0);
	world_init(&w, s[0]);
	cfg.sock = s[1];
	DEMAND(vhost_backend_new(&cfg, &w.be) == 0);
	DEMAND(pthread_create(&thread, NULL, run, &w) == 0);
	play(&w, &in);
	drain(w.sock);
	shutdown(w.sock, SHUT_RDWR);
	DEMAND(pthread_join(thread, NULL) == 0);
	DEMAND(w.result <= 0);
	DEMAND(atomic_load(&w.running) == 0);
	vhost_backend_free(w.be);
	world_done(&w);
	DEMAND(count_fds() == fds);
	return 0;
}
