/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Back ends that answer wrongly, not at all, or ask for what they must not
 * have: what vhost_frontend_new() says, and what the channel refuses. The back
 * end is a script here; one byte string at a time.
 */
#include "raw.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

/* How the scripted back end answers; 0 in a field: as a good one does. */
struct script {
	uint32_t stop_at;  /* the request it does not answer but closes at */
	uint32_t wrong_at; /* the request whose answer is changed: */
	uint32_t request;
	uint32_t flags;
	uint32_t size;
	bool set_value;
	uint64_t value;
	bool with_fd;
	/* what is offered */
	uint64_t features;
	uint64_t protocol;
	uint64_t queues;
	uint64_t window;
};

struct scripted {
	const struct script *s;
	int sock;
	int chan; /* from SET_BACKEND_REQ_FD, or -1 */
	int kick; /* of queue 1, or -1 */
	pthread_t thread;
};

#define GOOD_FEATURES UINT64_C(0x170000000)
#define GOOD_PROTOCOL UINT64_C(0x400629)

static uint64_t or_else(uint64_t v, uint64_t otherwise)
{
	return v ? v : otherwise;
}

/* The payload a good back end answers with; its size. */
static uint32_t good_answer(const struct script *s, const struct raw_msg *in,
			    struct raw_msg *out)
{
	static const struct virtio_fs_config config = {
		.tag = "a \x1b[31mred\n one", .num_request_queues = 3
	};

	switch (in->hdr.request) {
	case VHOST_USER_GET_FEATURES:
		out->u.u64 = or_else(s->features, GOOD_FEATURES);
		return 8;
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		out->u.u64 = or_else(s->protocol, GOOD_PROTOCOL);
		return 8;
	case VHOST_USER_GET_QUEUE_NUM:
		out->u.u64 = or_else(s->queues, 5);
		return 8;
	case VHOST_USER_GET_CONFIG:
		out->u.config = in->u.config;
		memcpy(out->u.config.data, &config, 40);
		return in->hdr.size;
	case VHOST_USER_GET_SHMEM_CONFIG:
		out->u.shmem.n_regions = 1;
		out->u.shmem.sizes[0] = or_else(s->window, MIB(1));
		return 2056;
	default:
		return in->hdr.flags & VHOST_USER_F_NEED_REPLY ? 8 : 0;
	}
}

static void spoil(const struct script *s, struct raw_msg *out)
{
	if (s->request)
		out->hdr.request = s->request;
	if (s->flags)
		out->hdr.flags = s->flags;
	if (s->size)
		out->hdr.size = s->size;
	if (s->set_value)
		out->u.u64 = s->value;
}

static bool read_all(int sock, struct raw_msg *in)
{
	struct iovec iov = { &in->hdr, sizeof(in->hdr) };
	_Alignas(struct cmsghdr) char ctl[256];
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1,
			     .msg_control = ctl,
			     .msg_controllen = sizeof(ctl) };
	struct cmsghdr *c;

	in->n_fds = 0;
	if (recvmsg(sock, &mh, MSG_WAITALL | MSG_CMSG_CLOEXEC) !=
	    sizeof(in->hdr))
		return false;
	c = CMSG_FIRSTHDR(&mh);
	if (c) {
		in->n_fds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / 4);
		memcpy(in->fds, CMSG_DATA(c), in->n_fds * sizeof(int));
	}
	return in->hdr.size == 0 ||
	       recv(sock, &in->u, in->hdr.size, MSG_WAITALL) ==
		       (ssize_t)in->hdr.size;
}

static void *scripted_main(void *arg)
{
	struct scripted *b = arg;
	struct raw_msg in, out;

	while (read_all(b->sock, &in)) {
		memset(&out, 0, sizeof(out));
		if (in.hdr.request == VHOST_USER_SET_BACKEND_REQ_FD &&
		    in.n_fds == 1) {
			b->chan = in.fds[0];
			in.n_fds = 0;
		}
		if (in.hdr.request == VHOST_USER_SET_VRING_KICK &&
		    in.n_fds == 1 && in.u.u64 == 1 && b->kick < 0) {
			b->kick = in.fds[0];
			in.n_fds = 0;
		}
		fd_close_all(in.fds, in.n_fds);
		if (in.hdr.request == b->s->stop_at)
			break;
		out.hdr.size = good_answer(b->s, &in, &out);
		if (out.hdr.size == 0)
			continue;
		out.hdr.request = in.hdr.request;
		out.hdr.flags = VHOST_USER_VERSION | VHOST_USER_F_REPLY;
		if (in.hdr.request == b->s->wrong_at)
			spoil(b->s, &out);
		if (send(b->sock, &out.hdr, 12, MSG_NOSIGNAL) < 0 ||
		    send(b->sock, &out.u, out.hdr.size, MSG_NOSIGNAL) < 0)
			break;
	}
	shutdown(b->sock, SHUT_RDWR);
	return NULL;
}

static int connect_to(struct scripted *b, const struct script *s,
		      struct vhost_frontend **ret, char *error, size_t len)
{
	struct vhost_frontend_config cfg;
	int pair[2], err;

	b->s = s;
	b->chan = -1;
	b->kick = -1;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	b->sock = pair[0];
	assert_int_equal(pthread_create(&b->thread, NULL, scripted_main, b),
			 0);
	cfg = pair_frontend_config(pair[1], &(struct pair_options){
						    .client_queues = 8 });
	err = vhost_frontend_new(&cfg, ret, error, len);
	if (err)
		close(pair[1]); /* it stayed ours */
	return err;
}

static void disconnect(struct scripted *b, struct vhost_frontend *fe)
{
	vhost_frontend_free(fe);
	pthread_join(b->thread, NULL);
	fd_close(&b->sock);
	fd_close(&b->chan);
	fd_close(&b->kick);
}

static const struct {
	struct script s;
	int err;
	const char *says;
} failures[] = {
	{ { .stop_at = VHOST_USER_GET_FEATURES }, -ECONNRESET,
	  "GET_FEATURES: the peer closed the connection; is it a vhost-user "
	  "daemon, and has it room for one more client?" },
	{ { .stop_at = VHOST_USER_SET_MEM_TABLE }, -ECONNRESET,
	  "SET_MEM_TABLE: the peer closed" },
	{ { .stop_at = VHOST_USER_SET_VRING_ENABLE }, -ECONNRESET,
	  "SET_VRING_ENABLE: the peer closed" },
	{ { .features = 0x40000000 }, -EPROTO,
	  "GET_FEATURES: the daemon offers 0x40000000, without VERSION_1" },
	{ { .wrong_at = VHOST_USER_GET_FEATURES, .request = 2 }, -EPROTO,
	  "GET_FEATURES: expected its answer, got SET_FEATURES (2), flags "
	  "0x5" },
	{ { .wrong_at = VHOST_USER_GET_FEATURES, .flags = 1 }, -EPROTO,
	  "GET_FEATURES: expected its answer, got GET_FEATURES (1), flags "
	  "0x1" },
	{ { .wrong_at = VHOST_USER_GET_FEATURES, .flags = 7 }, -EPROTO,
	  "GET_FEATURES: what came is no vhost-user message (request 0x1, "
	  "flags 0x7, size 8)" },
	{ { .wrong_at = VHOST_USER_GET_FEATURES, .size = 4 }, -EPROTO,
	  "GET_FEATURES: expected 8 bytes, got 4" },
	{ { .wrong_at = VHOST_USER_GET_QUEUE_NUM, .set_value = true,
	    .value = 1 }, -EPROTO, "GET_QUEUE_NUM: the daemon has 1 queues" },
	{ { .wrong_at = VHOST_USER_GET_CONFIG, .size = 12 }, -EPROTO,
	  "GET_CONFIG: expected 52 bytes, got 12" },
	{ { .wrong_at = VHOST_USER_GET_SHMEM_CONFIG, .size = 72 }, -EPROTO,
	  "GET_SHMEM_CONFIG: expected 2056 bytes, got 72" },
	{ { .wrong_at = VHOST_USER_SET_MEM_TABLE, .set_value = true,
	    .value = 22 }, -EPROTO,
	  "SET_MEM_TABLE: the daemon refused it (0x16)" },
	{ { .wrong_at = VHOST_USER_SET_VRING_KICK, .request = 13 }, -EPROTO,
	  "SET_VRING_KICK: expected its answer, got SET_VRING_CALL" },
};

static void test_handshake_failures(void **state)
{
	unsigned fds = count_fds();

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(failures); i++) {
		struct vhost_frontend *fe = NULL;
		struct scripted b;
		char error[256] = "";
		int err = connect_to(&b, &failures[i].s, &fe, error,
				     sizeof(error));

		if (err != failures[i].err || !strstr(error, failures[i].says))
			fail_msg("case %u: %d, \"%s\"", i, err, error);
		assert_null(fe);
		disconnect(&b, NULL);
		assert_int_equal(count_fds(), fds);
	}
}

/* Whatever does not speak the protocol: silence, a web server, nonsense. */
static void test_no_daemon_at_all(void **state)
{
	static const char http[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
	struct vhost_frontend_config cfg;
	struct vhost_frontend *fe = NULL;
	char error[256];
	int s[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	cfg = pair_frontend_config(s[0], &(struct pair_options){ 0 });
	cfg.timeout_ms = 20;
	assert_int_equal(vhost_frontend_new(&cfg, &fe, error, sizeof(error)),
			 -ETIMEDOUT);
	assert_non_null(strstr(error, "GET_FEATURES: no answer within 20 ms"));
	assert_int_equal(write(s[1], http, sizeof(http)), sizeof(http));
	assert_int_equal(vhost_frontend_new(&cfg, &fe, error, sizeof(error)),
			 -EPROTO);
	assert_non_null(strstr(error, "no vhost-user message (request "
			       "0x50545448"));
	/* Too short a buffer, and none. What is left of the text comes too. */
	assert_int_equal(write(s[1], http, sizeof(http)), sizeof(http));
	assert_int_equal(vhost_frontend_new(&cfg, &fe, error, 4), -EPROTO);
	assert_string_equal(error, "GET");
	assert_int_equal(vhost_frontend_new(&cfg, &fe, NULL, 0), -EPROTO);
	assert_null(fe);
	close(s[0]);
	close(s[1]);
}

static void test_bad_configurations(void **state)
{
	const struct vhost_frontend_config good =
		pair_frontend_config(-1, &(struct pair_options){ 0 });
	struct vhost_frontend_config bad[7];
	struct vhost_frontend *fe = NULL;

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		bad[i] = good;
	bad[0].request_queues = 0;
	bad[1].queue_size = 48;
	bad[2].queue_size = 65536;
	bad[3].arena_bytes = 100;
	bad[4].window_align = 3;
	bad[5].timeout_ms = 0;
	bad[6].request_queues = 256;
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(vhost_frontend_new(&bad[i], &fe, NULL, 0),
				 -EINVAL);
	assert_null(fe);
}

/* What is agreed when the other side offers more or less than we know. */
static void test_offers(void **state)
{
	static const struct {
		struct script s;
		uint64_t features, protocol;
		unsigned queues;
		const char *no_window;
	} cases[] = {
		{ { 0 }, 0x170000000, 0x400629, 4, NULL },
		{ { .features = UINT64_MAX }, 0x170000000, 0x400629, 4, NULL },
		{ { .protocol = UINT64_MAX }, 0x170000000, 0x100000000400629,
		  4, NULL },
		{ { .features = 0x100000000 }, 0x100000000, 0, 2,
		  "does not offer shared memory" },
		{ { .protocol = 1 | 1 << 22 }, 0x170000000, 1, 5,
		  "REPLY_ACK and BACKEND_REQ" },
		{ { .protocol = 1 << 5 | 1 << 22 }, 0x170000000, 0, 2,
		  "REPLY_ACK and BACKEND_REQ" },
		{ { .protocol = 0x600209 & ~(1u << 22) }, 0x170000000,
		  0x209, 4, "does not offer shared memory" },
		{ { .queues = UINT64_MAX }, 0x170000000, 0x400629, 4, NULL },
		{ { .window = 1 }, 0x170000000, 0x400629, 4, "is empty" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		const struct vhost_frontend_info *info;
		struct vhost_frontend *fe = NULL;
		struct scripted b;
		char error[256] = "";

		if (connect_to(&b, &cases[i].s, &fe, error, sizeof(error)))
			fail_msg("case %u: %s", i, error);
		info = vhost_frontend_info(fe);
		assert_int_equal(info->virtio_features, cases[i].features);
		assert_int_equal(info->protocol_features, cases[i].protocol);
		assert_int_equal(info->n_queues, cases[i].queues);
		assert_int_equal(!info->window, !!cases[i].no_window);
		if (cases[i].no_window)
			assert_non_null(strstr(info->no_window_why,
					       cases[i].no_window));
		if (cases[i].protocol & 1u << 9)
			assert_string_equal(info->tag, "a ?[31mred? one");
		disconnect(&b, fe);
	}
}

/* A window larger than we want, than memory, and odd ones. */
static void test_window_sizes(void **state)
{
	static const struct {
		uint64_t said, got;
	} cases[] = {
		{ MIB(1), MIB(1) },
		{ MIB(1) + 5, MIB(1) },
		{ GIB(1) + 4096, GIB(1) },
		{ UINT64_MAX, GIB(1) },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		const struct script s = { .window = cases[i].said };
		struct vhost_frontend *fe = NULL;
		struct scripted b;

		assert_int_equal(connect_to(&b, &s, &fe, NULL, 0), 0);
		assert_int_equal(vhost_frontend_info(fe)->window_bytes,
				 cases[i].got);
		disconnect(&b, fe);
	}
}

/* --- the channel ---------------------------------------------------------- */

struct live {
	struct scripted b;
	struct vhost_frontend *fe;
	int file;
};

static const struct script good_script = { .window = MIB(1) };

static void live_start(struct live *l)
{
	l->fe = NULL;
	assert_int_equal(connect_to(&l->b, &good_script, &l->fe, NULL, 0), 0);
	assert_true(l->b.chan >= 0);
	l->file = pattern_file(MIB(1), 0);
}

static void live_end(struct live *l)
{
	disconnect(&l->b, l->fe);
	close(l->file);
}

/* Send @r as SHMEM_MAP or UNMAP and return what is answered. */
static int64_t ask(struct live *l, uint32_t request,
		   const struct vhost_user_mmap *r, const int *fds,
		   unsigned n_fds)
{
	struct raw_msg m;

	raw_send_fds(l->b.chan, request, VHOST_USER_F_NEED_REPLY, r,
		     sizeof(*r), fds, n_fds);
	assert_int_equal(vhost_frontend_service(l->fe), 0);
	raw_recv(l->b.chan, &m);
	assert_int_equal(m.hdr.request, request);
	assert_int_equal(m.hdr.flags, 5);
	assert_int_equal(m.hdr.size, 8);
	return (int64_t)m.u.u64;
}

static void test_refused_maps(void **state)
{
	const struct vhost_user_mmap good = { .shm_offset = 8192,
					      .len = 8192 };
	static const struct {
		struct vhost_user_mmap r;
		int err;
	} bad[] = {
		{ { .shmid = 1, .len = 4096 }, -EINVAL },
		{ { .shmid = 255, .len = 4096 }, -EINVAL },
		{ { .len = 0 }, -EINVAL },
		{ { .len = 4095 }, -EINVAL },
		{ { .shm_offset = 1, .len = 4096 }, -EINVAL },
		{ { .shm_offset = MIB(1), .len = 4096 }, -ERANGE },
		{ { .shm_offset = 4096, .len = MIB(1) }, -ERANGE },
		{ { .len = UINT64_MAX - 4095 }, -ERANGE },
		{ { .shm_offset = UINT64_MAX - 4095, .len = 4096 }, -ERANGE },
		{ { .shm_offset = UINT64_MAX - 4095, .len = 8192 }, -ERANGE },
		{ { .fd_offset = 5, .len = 4096 }, -EINVAL },
		{ { .fd_offset = UINT64_MAX - 4095, .len = 4096 }, -EINVAL },
		{ { .fd_offset = INT64_MAX - 4095, .len = 8192 }, -EINVAL },
		{ { .len = 4096, .flags = 2 }, -EINVAL },
		{ { .len = 4096, .flags = UINT64_MAX }, -EINVAL },
		{ { .shm_offset = 12288, .len = 4096 }, -EEXIST },
	};
	unsigned fds = count_fds();
	struct live l;
	int two[2];

	(void)state;
	live_start(&l);
	two[0] = two[1] = l.file;
	assert_int_equal(ask(&l, VHOST_USER_BACKEND_SHMEM_MAP, &good, two, 1),
			 0);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		int64_t v = ask(&l, VHOST_USER_BACKEND_SHMEM_MAP, &bad[i].r,
				two, 1);

		if (v != bad[i].err)
			fail_msg("case %u: %lld", i, (long long)v);
	}
	assert_int_equal(ask(&l, VHOST_USER_BACKEND_SHMEM_MAP, &good, two, 0),
			 -EINVAL);
	assert_int_equal(ask(&l, VHOST_USER_BACKEND_SHMEM_MAP, &good, two, 2),
			 -EINVAL);
	assert_int_equal(ask(&l, VHOST_USER_BACKEND_SHMEM_UNMAP, &good, two,
			     1), -EINVAL);
	assert_int_equal(vhost_frontend_mappings(l.fe), 1);
	assert_int_equal(ask(&l, VHOST_USER_BACKEND_SHMEM_UNMAP, &good, NULL,
			     0), 0);
	live_end(&l);
	assert_int_equal(count_fds(), fds);
}

/* A file whose mapping the kernel refuses leaves what was there. */
static void test_kernel_refuses(void **state)
{
	const struct vhost_user_mmap rw = { .len = 4096, .flags = 1 };
	struct live l;
	uint64_t v;
	int sealed;

	(void)state;
	live_start(&l);
	sealed = memfd_create("sealed", MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(sealed, 4096), 0);
	assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE), 0);
	assert_int_equal(ask(&l, VHOST_USER_BACKEND_SHMEM_MAP, &rw, &l.file,
			     1), 0);
	assert_int_equal(ask(&l, VHOST_USER_BACKEND_SHMEM_MAP, &rw, &sealed,
			     1), -EPERM);
	memcpy(&v, vhost_frontend_info(l.fe)->window + 8, 8);
	assert_int_equal(v, 8);
	assert_int_equal(vhost_frontend_mappings(l.fe), 1);
	close(sealed);
	live_end(&l);
}

static void test_no_reply_unless_asked(void **state)
{
	const struct vhost_user_mmap r = { .len = 4096 };
	struct live l;
	char c;

	(void)state;
	live_start(&l);
	raw_send_fds(l.b.chan, VHOST_USER_BACKEND_SHMEM_MAP, 0, &r, sizeof(r),
		     &l.file, 1);
	assert_int_equal(vhost_frontend_service(l.fe), 0);
	assert_int_equal(vhost_frontend_mappings(l.fe), 1);
	assert_int_equal(recv(l.b.chan, &c, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	live_end(&l);
}

static void test_unknown_channel_requests(void **state)
{
	const struct vhost_user_mmap r = { .len = 4096 };
	struct live l;

	(void)state;
	live_start(&l);
	assert_int_equal(ask(&l, 1, &r, NULL, 0), -EOPNOTSUPP);
	assert_int_equal(ask(&l, 8, &r, &l.file, 1), -EOPNOTSUPP);
	assert_int_equal(ask(&l, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, &r,
			     NULL, 0), 0);
	live_end(&l);
}

/* Half a message: service() does not wait for the rest. */
static void test_message_in_pieces(void **state)
{
	const struct vhost_user_header h = { VHOST_USER_BACKEND_SHMEM_UNMAP,
					     1 | VHOST_USER_F_NEED_REPLY, 40 };
	const struct vhost_user_mmap r = { .len = 4096 };
	struct raw_msg m;
	struct live l;

	(void)state;
	live_start(&l);
	for (size_t i = 0; i < sizeof(h); i++) {
		assert_int_equal(write(l.b.chan, (const char *)&h + i, 1), 1);
		assert_int_equal(vhost_frontend_service(l.fe), 0);
	}
	for (size_t i = 0; i < sizeof(r); i++) {
		assert_int_equal(write(l.b.chan, (const char *)&r + i, 1), 1);
		assert_int_equal(vhost_frontend_service(l.fe), 0);
	}
	raw_recv(l.b.chan, &m);
	assert_int_equal((int64_t)m.u.u64, -ENOENT);
	live_end(&l);
}

/* What ends the session, and stays so. */
static void test_fatal_on_channel(void **state)
{
	static const struct {
		struct vhost_user_header h;
		uint32_t payload;
		int err;
	} bad[] = {
		{ { VHOST_USER_BACKEND_SHMEM_MAP, 1, 39 }, 39, -EPROTO },
		{ { VHOST_USER_BACKEND_SHMEM_MAP, 1, 48 }, 48, -EPROTO },
		{ { VHOST_USER_BACKEND_SHMEM_UNMAP, 5, 40 }, 40, -EPROTO },
		{ { VHOST_USER_BACKEND_SHMEM_UNMAP, 2, 40 }, 40, -EPROTO },
		{ { VHOST_USER_BACKEND_SHMEM_UNMAP, 1, 4097 }, 0, -EPROTO },
		{ { VHOST_USER_BACKEND_SHMEM_UNMAP, 1, 40 }, 10, -EPROTO },
	};
	const uint8_t zeros[64] = { 0 };
	unsigned fds = count_fds();

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		struct live l;

		live_start(&l);
		assert_int_equal(write(l.b.chan, &bad[i].h, 12), 12);
		assert_int_equal(write(l.b.chan, zeros, bad[i].payload),
				 bad[i].payload);
		fd_close(&l.b.chan);
		assert_int_equal(vhost_frontend_service(l.fe), bad[i].err);
		assert_int_equal(vhost_frontend_service(l.fe), bad[i].err);
		live_end(&l);
		assert_int_equal(count_fds(), fds);
	}
}

static void test_main_socket_after_handshake(void **state)
{
	struct live l;

	(void)state;
	live_start(&l);
	assert_int_equal(send(l.b.sock, "x", 1, 0), 1);
	assert_int_equal(vhost_frontend_service(l.fe), -EPROTO);
	live_end(&l);

	live_start(&l);
	shutdown(l.b.sock, SHUT_RDWR);
	assert_int_equal(vhost_frontend_service(l.fe), -ENOTCONN);
	assert_int_equal(vhost_frontend_service(l.fe), -ENOTCONN);
	live_end(&l);
}

/* It asks and asks and never reads an answer: we do not wait for it. */
static void test_answers_not_read(void **state)
{
	const struct vhost_user_mmap r = { .len = 4096 };
	struct live l;
	int small = 1, err = 0;

	(void)state;
	live_start(&l);
	setsockopt(vhost_frontend_channel_fd(l.fe), SOL_SOCKET, SO_SNDBUF,
		   &small, sizeof(small));
	for (unsigned i = 0; !err && i < 10000; i++) {
		raw_send(l.b.chan, VHOST_USER_BACKEND_SHMEM_UNMAP,
			 VHOST_USER_F_NEED_REPLY, &r, sizeof(r));
		err = vhost_frontend_service(l.fe);
	}
	assert_int_equal(err, -EPROTO);
	live_end(&l);
}

static void make_blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	assert_true(flags >= 0);
	assert_int_equal(fcntl(fd, F_SETFL, flags & ~O_NONBLOCK), 0);
}

/*
 * The daemon has the same open files: it can clear our O_NONBLOCK, fill what we
 * write and drain what we read. Neither call may wait for it then.
 */
static void test_notifiers_made_to_block(void **state)
{
	const uint64_t full = UINT64_MAX - 1;
	uint64_t count = 0;
	struct live l;

	(void)state;
	live_start(&l);
	assert_true(l.b.kick >= 0);
	assert_int_equal(write(l.b.kick, &full, sizeof(full)), sizeof(full));
	make_blocking(l.b.kick);
	make_blocking(vhost_frontend_call_fd(l.fe, 1));
	alarm(20); /* a call that waits ends this program */
	vhost_frontend_kick(l.fe, 1);
	vhost_frontend_ack_call(l.fe, 1);
	alarm(0);
	/* And it still kicks where there is room. */
	assert_int_equal(read(l.b.kick, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, full);
	vhost_frontend_kick(l.fe, 1);
	assert_int_equal(read(l.b.kick, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 1);
	live_end(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handshake_failures),
		cmocka_unit_test(test_no_daemon_at_all),
		cmocka_unit_test(test_bad_configurations),
		cmocka_unit_test(test_offers),
		cmocka_unit_test(test_window_sizes),
		cmocka_unit_test(test_refused_maps),
		cmocka_unit_test(test_kernel_refuses),
		cmocka_unit_test(test_no_reply_unless_asked),
		cmocka_unit_test(test_unknown_channel_requests),
		cmocka_unit_test(test_message_in_pieces),
		cmocka_unit_test(test_fatal_on_channel),
		cmocka_unit_test(test_main_socket_after_handshake),
		cmocka_unit_test(test_answers_not_read),
		cmocka_unit_test(test_notifiers_made_to_block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
