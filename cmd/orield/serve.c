/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connections and signals. The main thread polls the listening sockets, a
 * signalfd and an eventfd that connections ring when they end; each connection
 * has a thread, inside vhost_backend_run(), and a session of its own.
 *
 * The list of connections is the main thread's alone; a connection's thread
 * touches its own object, and says by "done" that it is to be joined.
 */
#include "orield.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/list.h"
#include "facade/facade.h"
#include "vhost/backend.h"
#include "wire/fuse.h"

#define MAX_CLIENTS 1024u
/* Descriptors of a connection: its sockets, its window, ...; of a queue. */
#define CLIENT_FDS 8u
#define QUEUE_FDS 3u
/* Each is two mappings, of which a process has 65530 by default. */
#define MAX_THREADS 8192u
/* For connections to end in when the daemon is told to. */
#define END_TIMEOUT_S 10
/* After accept(2) ran out of something. */
#define PAUSE_MS 100

/* One share and how many there are on it; the main thread's. */
struct place {
	const struct orield_share *share;
	const struct orield_options *opt; /* the share's */
	unsigned n_clients;
	unsigned max_clients;
	bool paused; /* out of something: no accept for a while */
};

struct daemon {
	const struct orield_options *opt;
	struct place *places;
	unsigned n_places;
	struct list clients;
	unsigned n_clients;
	unsigned next_id;
	int done_fd; /* eventfd; rung by ending connections */
	int ppid;
	const struct orield_guest *guest;
};

struct client {
	struct list link;
	struct daemon *d;
	struct place *place;
	unsigned id;
	pthread_t thread;
	struct vhost_backend *be;
	struct server_session *session;
	_Atomic bool done;
};

/* -------------------------------------------------- back end and server */

static int client_handle(void *ctx, unsigned queue, struct ring_chain *chain,
			 uint32_t *ret_written)
{
	struct client *c = ctx;
	ssize_t n = server_session_handle(c->session, queue, chain->iov,
					  chain->n_out,
					  chain->iov + chain->n_out,
					  chain->n_in);

	if (ORIEL_UNLIKELY(n == SERVER_LATER))
		return VHOST_LATER;
	if (n < 0)
		return (int)n;
	*ret_written = (uint32_t)n;
	return 0;
}

static void *client_keep(void *ctx, unsigned queue)
{
	struct client *c = ctx;

	return vhost_backend_keep(c->be, queue);
}

static void client_answer(void *ctx, void *token, const void *data, size_t len)
{
	vhost_backend_answer(token, data, len);
}

static const struct server_later_ops later_ops = {
	.keep = client_keep,
	.answer = client_answer,
};

static void client_cancel(void *ctx, bool begin)
{
	struct client *c = ctx;

	server_session_cancel(c->session, begin);
}

static void client_reset(void *ctx)
{
	struct client *c = ctx;

	server_session_reset(c->session);
}

static void client_thread_start(void *ctx, unsigned queue)
{
	struct client *c = ctx;

	orield_log_about(orield_share_name(c->place->share));
	orield_guard_thread(c->be);
}

static int client_refuse(void *ctx, const struct ring_chain *chain, int err,
			 uint32_t *ret_written)
{
	ssize_t n = server_refuse(chain->iov, chain->iov + chain->n_out, err);

	if (n < 0)
		return (int)n;
	*ret_written = (uint32_t)n;
	return 0;
}

static int client_window_piece(void *ctx, uint64_t off, struct vhost_piece *ret)
{
	struct client *c = ctx;
	struct server_piece p;
	int r = server_session_piece(c->session, off, &p);

	if (!r)
		*ret = (struct vhost_piece){ p.start, p.len, p.fd, p.fd_off };
	return r;
}

static const struct vhost_backend_ops backend_ops = {
	.handle = client_handle,
	.refuse = client_refuse,
	.window_piece = client_window_piece,
	.thread_start = client_thread_start,
	.cancel = client_cancel,
	.reset = client_reset,
};

static int window_map(void *ctx, int fd, uint64_t fd_off, uint64_t shm_off,
		      uint64_t len, bool writable)
{
	struct client *c = ctx;

	return vhost_backend_map(c->be, fd, fd_off, shm_off, len, writable);
}

static int window_unmap(void *ctx, uint64_t shm_off, uint64_t len)
{
	struct client *c = ctx;

	return vhost_backend_unmap(c->be, shm_off, len);
}

static bool window_usable(void *ctx)
{
	struct client *c = ctx;

	return vhost_backend_has_shmem(c->be);
}

static bool window_is_guest(void *ctx)
{
	struct client *c = ctx;

	return !vhost_backend_is_oriel(c->be);
}

static const struct server_window_ops window_ops = {
	.map = window_map,
	.unmap = window_unmap,
	.usable = window_usable,
	.is_guest = window_is_guest,
};

/* -------------------------------------------------------------- clients */

static void ring(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		log_debug("eventfd: %s", strerror(errno));
}

static void *client_main(void *arg)
{
	struct client *c = arg;
	int r;

	orield_log_about(orield_share_name(c->place->share));
	orield_guard_thread(c->be);
	r = vhost_backend_run(c->be);
	if (r && r != -ECANCELED)
		log_warn("client %u: ended with %s", c->id, strerror(-r));
	else
		log_info("client %u: left", c->id);
	server_session_free(c->session);
	c->session = NULL;
	/* pairs with the acquire in reap() */
	atomic_store_explicit(&c->done, true, memory_order_release);
	ring(c->d->done_fd);
	return NULL;
}

static int make_backend(struct client *c, int sock)
{
	const struct orield_options *opt = c->place->opt;
	const struct orield_guest *guest = c->d->guest;
	bool window = guest->offered && (!guest->facade || !opt->readonly);
	struct vhost_backend_config cfg = {
		.sock = sock,
		.request_queues = opt->request_queues,
		.window_bytes = opt->window_bytes,
		.guest_window_bytes = window ? opt->guest_window_bytes : 0,
		.guest_window_dev = guest->facade ?
				facade_dev(guest->facade) : 0,
		.poll_ns = opt->poll_us * NS_PER_US,
		/*
		 * With these, QEMU 11.1 drops its mappings when the device is
		 * reset, and at the next start dereferences what it has
		 * forgotten: a guest's reboot would end it. Liboriel does
		 * without; other monitors (GUEST_DAX_ALWAYS) need them.
		 */
		.mem_slots = !window ||
			     opt->guest_dax == ORIELD_GUEST_DAX_ALWAYS,
		.ops = &backend_ops,
		.ctx = c,
	};

	memcpy(cfg.tag, opt->tag, sizeof(cfg.tag));
	return vhost_backend_new(&cfg, &c->be);
}

/* Serve @sock, which is used up in any case. */
static int client_start(struct daemon *d, struct place *place, int sock)
{
	struct client *c = calloc(1, sizeof(*c));
	struct server_session_config cfg = {
		.window_bytes = place->opt->window_bytes,
		.window_ops = &window_ops,
		.window_ctx = c,
		.later_ops = &later_ops,
		.later_ctx = c,
	};
	int r;

	if (!c) {
		close(sock);
		return -ENOMEM;
	}
	c->d = d;
	c->place = place;
	c->id = ++d->next_id;
	r = server_session_new(place->share->server, &cfg, &c->session);
	if (r)
		goto err_sock;
	r = make_backend(c, sock);
	if (r)
		goto err_session;
	r = -pthread_create(&c->thread, NULL, client_main, c);
	if (r) {
		vhost_backend_free(c->be);
		server_session_free(c->session);
		free(c);
		return r;
	}
	list_add_tail(&d->clients, &c->link);
	d->n_clients++;
	place->n_clients++;
	log_info("client %u: connected", c->id);
	return 0;

err_session:
	server_session_free(c->session);
err_sock:
	close(sock);
	free(c);
	return r;
}

static void client_gone(struct daemon *d, struct client *c)
{
	vhost_backend_free(c->be);
	list_del(&c->link);
	d->n_clients--;
	c->place->n_clients--;
	free(c);
}

/* Join those that are done. */
static void reap(struct daemon *d)
{
	struct list *pos;
	struct list *tmp;

	list_for_each_safe(pos, tmp, &d->clients) {
		struct client *c = list_entry(pos, struct client, link);

		/* pairs with the release in client_main() */
		if (!atomic_load_explicit(&c->done, memory_order_acquire))
			continue;
		pthread_join(c->thread, NULL);
		client_gone(d, c);
	}
}

/*
 * Stop and join every one. A thread can be beyond reach: in a file system that
 * does not answer, in close(2) of a client's descriptor on its own FUSE. Then
 * the process ends as it is.
 */
static void end_all(struct daemon *d)
{
	struct timespec until;
	struct list *pos;
	struct list *tmp;

	list_for_each(pos, &d->clients)
		vhost_backend_stop(list_entry(pos, struct client, link)->be);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += END_TIMEOUT_S;
	list_for_each_safe(pos, tmp, &d->clients) {
		struct client *c = list_entry(pos, struct client, link);

		if (pthread_timedjoin_np(c->thread, NULL, &until)) {
			log_error("client %u hangs in the kernel: ending"
				  " without it", c->id);
			orield_janitor_finish();
			_exit(1);
		}
		client_gone(d, c);
	}
}

/*
 * Threads and descriptors are the process's: each share has an equal part, so
 * that a crowd at one leaves the others theirs. The share's files have three
 * quarters of the descriptors (src/server/share.c), connections the rest. Who
 * has all of it may also wait for some to come free, see accept_one().
 */
static unsigned max_clients(const struct orield_options *opt, unsigned n_shares)
{
	/* its queues, hiprio, and the one that reads its socket */
	uint64_t n = min_u64(MAX_CLIENTS,
			     MAX_THREADS / (opt->request_queues + 2)) /
		     n_shares;
	struct rlimit rl;

	if (n_shares > 1 && !getrlimit(RLIMIT_NOFILE, &rl) &&
	    rl.rlim_cur != RLIM_INFINITY)
		n = min_u64(n, rl.rlim_cur / 4 / n_shares /
			       (CLIENT_FDS + QUEUE_FDS *
				(opt->request_queues + 1)));
	if (opt->max_clients)
		n = min_u64(n, opt->max_clients);
	return n ? (unsigned)n : 1;
}

/* -------------------------------------------------------------- signals */

int orield_signals(void)
{
	sigset_t set;
	int fd;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2); /* the parent, or one of its threads, died */
	r = -pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (r)
		return r;
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

/* "LOOKUP=3 READ=1 ": those that ever came. */
static void log_ops(const struct server_stats *st)
{
	char line[1000];
	size_t len = 0;
	unsigned i;

	for (i = 0; i < ARRAY_LEN(st->ops) && len < sizeof(line); i++)
		if (st->ops[i])
			len += (size_t)snprintf(line + len, sizeof(line) - len,
						" %s=%llu", fuse_opcode_name(i),
						(unsigned long long)st->ops[i]);
	log_write(LOG_LEVEL_INFO, "operations:%s", len ? line : " none");
}

/* "0=2 1=130 ": requests by queue, those that had any. */
static void log_queues(const struct server_stats *st)
{
	char line[400];
	size_t len = 0;
	unsigned i;

	for (i = 0; i < ARRAY_LEN(st->queues) && len < sizeof(line); i++)
		if (st->queues[i])
			len += (size_t)snprintf(line + len, sizeof(line) - len,
						" %u=%llu", i,
						(unsigned long long)
						st->queues[i]);
	log_write(LOG_LEVEL_INFO, "queues:%s", len ? line : " none");
}

static void log_stats(const struct place *p)
{
	struct server_stats st;

	server_share_stats(p->share->server, &st);
	log_write(LOG_LEVEL_INFO, "clients %llu, inodes %llu, descriptors "
		  "%llu, handles %llu, mappings %llu, requests %llu",
		  (unsigned long long)st.sessions,
		  (unsigned long long)st.inodes, (unsigned long long)st.fds,
		  (unsigned long long)st.handles,
		  (unsigned long long)st.mappings,
		  (unsigned long long)st.requests);
	log_queues(&st);
	log_ops(&st);
}

static void log_all_stats(const struct daemon *d)
{
	unsigned i;

	for (i = 0; i < d->n_places; i++) {
		orield_log_about(orield_share_name(d->places[i].share));
		log_stats(&d->places[i]);
	}
	orield_log_about(NULL);
}

/* True: time to end. */
static bool take_signals(struct daemon *d, int fd)
{
	struct signalfd_siginfo si;

	while (read(fd, &si, sizeof(si)) == sizeof(si)) {
		switch (si.ssi_signo) {
		case SIGUSR1:
			log_all_stats(d);
			break;
		case SIGUSR2:
			/* One is sent for each thread that starts children. */
			if (d->opt->exit_with_parent && getppid() != d->ppid)
				return true;
			break;
		default:
			log_info("ending on signal %u", si.ssi_signo);
			return true;
		}
	}
	return false;
}

/* ------------------------------------------------------------- main loop */

/* Accept one. False: out of something, wait before the next. */
static bool accept_one(struct daemon *d, struct place *p)
{
	int sock = accept4(p->share->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	int r;

	if (sock < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return true;
		log_warn("cannot accept a client: %s", strerror(errno));
		return false;
	}
	if (p->n_clients >= p->max_clients) {
		log_warn("refused a client: there are %u, which is the most of"
			 " this share", p->n_clients);
		close(sock);
		return true;
	}
	r = client_start(d, p, sock);
	if (r)
		log_warn("cannot serve a client: %s", strerror(-r));
	return true;
}

static void drain(int fd)
{
	uint64_t n;

	if (read(fd, &n, sizeof(n)) < 0)
		log_debug("eventfd: %s", strerror(errno));
}

static void accept_all(struct daemon *d, const struct pollfd *polled)
{
	unsigned i;

	for (i = 0; i < d->n_places; i++) {
		struct place *p = &d->places[i];

		p->paused = false;
		if (!polled[i].revents)
			continue;
		orield_log_about(orield_share_name(p->share));
		p->paused = !accept_one(d, p);
	}
	orield_log_about(NULL);
}

/* What to poll for new clients; true: some share has to wait. */
static bool fill_polled(const struct daemon *d, struct pollfd *ret)
{
	bool paused = false;
	unsigned i;

	for (i = 0; i < d->n_places; i++) {
		const struct place *p = &d->places[i];

		ret[i] = (struct pollfd){
			.fd = p->paused ? -1 : p->share->listen_fd,
			.events = POLLIN,
		};
		paused = paused || p->paused;
	}
	return paused;
}

static void loop(struct daemon *d, int signal_fd)
{
	const bool listening = d->places[0].share->listen_fd >= 0;

	for (;;) {
		struct pollfd p[2 + ORIELD_SHARES_MAX] = {
			{ .fd = signal_fd, .events = POLLIN },
			{ .fd = d->done_fd, .events = POLLIN },
		};
		bool paused = fill_polled(d, p + 2);
		int n = poll(p, 2 + d->n_places, paused ? PAUSE_MS : -1);

		if (n < 0 && errno != EINTR)
			return;
		if (n < 0)
			continue;
		if (p[0].revents && take_signals(d, signal_fd))
			return;
		if (p[1].revents) {
			drain(d->done_fd);
			reap(d);
			if (!listening && !d->n_clients)
				return;
		}
		accept_all(d, p + 2);
	}
}

static int make_places(struct daemon *d, const struct orield_shares *shares)
{
	unsigned i;

	d->places = calloc(shares->n, sizeof(*d->places));
	if (!d->places)
		return -ENOMEM;
	d->n_places = shares->n;
	for (i = 0; i < shares->n; i++) {
		d->places[i].share = &shares->v[i];
		d->places[i].opt = shares->v[i].opt;
		d->places[i].max_clients = max_clients(shares->v[i].opt,
						       shares->n);
	}
	return 0;
}

int orield_serve(const struct orield_options *opt,
		 struct orield_shares *shares, int signal_fd,
		 const struct orield_guest *guest)
{
	struct daemon d = {
		.opt = opt,
		.guest = guest,
		.ppid = getppid(),
	};
	int r = make_places(&d, shares);

	if (r)
		return r;
	list_init(&d.clients);
	d.done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d.done_fd < 0) {
		r = -errno;
		goto out;
	}
	if (shares->v[0].listen_fd < 0)
		r = client_start(&d, &d.places[0], opt->connected_fd);
	if (!r)
		loop(&d, signal_fd);
	end_all(&d);
	close(d.done_fd);
out:
	free(d.places);
	return r;
}
