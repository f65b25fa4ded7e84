/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The main thread's loop. It polls the listening sockets, a signalfd and an
 * eventfd that connections ring when they end (see serve.c), and sees to it
 * that no share takes more connections than its part.
 */
#include "serve.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define MAX_CLIENTS 1024u
/* Descriptors of a connection: its sockets, its window, ...; of a queue. */
#define CLIENT_FDS 8u
#define QUEUE_FDS 3u
/* Each is two mappings, of which a process has 65530 by default. */
#define MAX_THREADS 8192u
/* After accept(2) ran out of something. */
#define PAUSE_MS 100
/* Who takes longer hangs in the kernel. */
#define LEAVE_TIMEOUT_NS (5 * NS_PER_S)

static uint64_t file_limit(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) || rl.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	return rl.rlim_cur;
}

static unsigned fds_each(const struct orield_options *opt)
{
	return CLIENT_FDS + QUEUE_FDS * (opt->request_queues + 1);
}

/* No more than @n, and why. */
static void at_most(struct place *p, uint64_t n, const char *why)
{
	if (n >= p->max_clients)
		return;
	p->max_clients = n ? (unsigned)n : 1;
	p->max_why = why;
}

/*
 * Threads and descriptors are the process's: each share has an equal part, so
 * that a crowd at one leaves the others theirs. The share's files have three
 * quarters of the descriptors (src/server/share.c), connections the rest. Who
 * has all of it may also wait for some to come free, see accept_one().
 */
static void set_max_clients(struct place *p, unsigned n_shares)
{
	const struct orield_options *opt = p->opt;
	const unsigned each = opt->thread_pool_size ? opt->thread_pool_size : 1;
	uint64_t fds = file_limit();

	p->max_clients = UINT_MAX;
	at_most(p, MAX_CLIENTS / n_shares, n_shares == 1 ?
		"as many as a daemon serves; start another one" :
		"its part of 1024; fewer shares have more each");
	/* its queues, hiprio, and the one that reads its socket */
	at_most(p, MAX_THREADS / (opt->request_queues * each + 2) / n_shares,
		"for lack of threads; fewer --request-queues or a smaller"
		" --thread-pool-size make room for more");
	if (n_shares > 1 && fds != UINT64_MAX)
		at_most(p, fds / 4 / n_shares / fds_each(opt),
			"for lack of file descriptors; raise --rlimit-nofile"
			" or the hard limit");
	if (opt->max_clients && opt->max_clients > p->max_clients)
		log_warn("--max-clients=%u: there can be %u, %s",
			 opt->max_clients, p->max_clients, p->max_why);
	if (opt->max_clients)
		at_most(p, opt->max_clients, "see --max-clients");
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

/* True: time to end. */
static bool take_signals(struct daemon *d, int fd)
{
	struct signalfd_siginfo si;

	while (read(fd, &si, sizeof(si)) == sizeof(si)) {
		switch (si.ssi_signo) {
		case SIGUSR1:
			orield_log_stats(d->shares);
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

/*
 * Is there no room for another? *@ret_wait: there soon will be. Who has just
 * hung up is still counted, and who comes next may be the same one again.
 */
static bool is_full(const struct daemon *d, struct place *p, bool *ret_wait)
{
	const uint64_t now = clock_now_ns();

	*ret_wait = false;
	if (p->n_clients < p->max_clients)
		return false;
	if (!clients_leaving(d, p))
		return true;
	if (!p->refuse_at)
		p->refuse_at = now + LEAVE_TIMEOUT_NS;
	*ret_wait = now < p->refuse_at;
	return true;
}

/* What it is out of, how much of it there is, and how to have more. */
static void cannot_serve(const struct place *p, int err)
{
	switch (err) {
	case EMFILE:
		log_warn("cannot serve another client: out of file descriptors:"
			 " the limit is %llu, a client takes up to %u; raise the"
			 " hard limit (ulimit -Hn, LimitNOFILE= of a service) or"
			 " --rlimit-nofile, or use --inode-file-handles",
			 (unsigned long long)file_limit(), fds_each(p->opt));
		break;
	case EAGAIN:
		log_warn("cannot serve another client: no more threads: see"
			 " ulimit -u, pids.max of the control group (TasksMax="
			 " of a service) and kernel.threads-max; a client takes"
			 " three or more");
		break;
	default:
		log_warn("cannot serve another client: %s", strerror(err));
	}
}

/* Accept one. False: out of something, wait before the next. */
static bool accept_one(struct daemon *d, struct place *p)
{
	bool wait;
	bool full = is_full(d, p, &wait);
	int sock;
	int r;

	if (wait)
		return false;
	sock = accept4(p->share->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (sock < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return true;
		cannot_serve(p, errno);
		return false;
	}
	if (full) {
		log_warn("refused a client: there are %u, which is the most of"
			 " this share: %s", p->n_clients, p->max_why);
		close(sock);
		return true;
	}
	r = client_start(d, p, sock);
	if (r)
		cannot_serve(p, -r);
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

		/* who comes now has not waited yet */
		if (!p->paused && !polled[i].revents)
			p->refuse_at = 0;
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
			clients_reap(d);
			if (!listening && !d->n_clients)
				return;
		}
		accept_all(d, p + 2);
	}
}

/*
 * How many busy queues may poll: three for two processors, as measured (see
 * docs/design/scale.md); clients that wait for others leave some room.
 */
static unsigned polling_queues(void)
{
	cpu_set_t set;
	unsigned n = 1;

	if (!sched_getaffinity(0, sizeof(set), &set))
		n = (unsigned)CPU_COUNT(&set);
	return n + n / 2;
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
		orield_log_about(orield_share_name(&shares->v[i]));
		set_max_clients(&d->places[i], shares->n);
		d->places[i].mem.max_regions = MEM_MAP_MAX_LIVE / shares->n;
		d->places[i].mem.max_bytes = MEM_MAP_MAX_LIVE_BYTES / shares->n;
	}
	orield_log_about(NULL);
	return 0;
}

int orield_serve(const struct orield_options *opt,
		 struct orield_shares *shares, int signal_fd,
		 const struct orield_guest *guest)
{
	struct daemon d = {
		.opt = opt,
		.shares = shares,
		.guest = guest,
		.ppid = getppid(),
		.crowd = { .most = polling_queues() },
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
	clients_end(&d);
	close(d.done_fd);
out:
	free(d.places);
	return r;
}
