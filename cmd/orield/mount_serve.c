/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Serving /dev/fuse. Each thread has a descriptor and two buffers of its own:
 * it reads a request, hands it to the session with the answer's buffer as the
 * client's memory, and writes what came of it. The kernel is the client here,
 * but what it sends is checked like anybody's.
 *
 * The threads end when the mount goes: their reads fail then. The last one
 * rings done_fd.
 */
#include "mount.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "fusedev/broker.h"
#include "fusedev/dev.h"
#include "wire/fuse.h"

#define IN_SIZE (FUSE_WIRE_MAX_WRITE + FUSE_DEV_HEAD)
#define OUT_SIZE (FUSE_WIRE_MAX_WRITE + FUSE_DEV_HEAD)
/* For requests to end in after the mount went. */
#define END_TIMEOUT_S 10

struct worker {
	struct orield_mount *m;
	unsigned index;
};

/* An answer goes back by the descriptor from which the request came. */
struct kept {
	int fd;
};

static __thread int current_fd = -1;

static void *mount_keep(void *ctx, unsigned queue)
{
	struct kept *k = malloc(sizeof(*k));

	if (k)
		k->fd = current_fd;
	return k;
}

static void mount_answer(void *ctx, void *token, const void *data, size_t len)
{
	struct kept *k = token;
	int r = fuse_dev_write(k->fd, data, len);

	if (r)
		log_debug("mount: an answer was refused: %s", strerror(-r));
	free(k);
}

static const struct server_later_ops later_ops = {
	.keep = mount_keep,
	.answer = mount_answer,
};

/* 0, or the end. */
static int serve_one(struct worker *w, unsigned char *buf)
{
	const int fd = w->m->fds[w->index];
	struct iovec out = { buf, 0 };
	struct iovec in = { buf + IN_SIZE, OUT_SIZE };
	ssize_t n = fuse_dev_read(fd, buf, IN_SIZE);
	int r;

	if (n <= 0)
		return (int)n;
	out.iov_len = (size_t)n;
	current_fd = fd;
	n = server_session_handle(w->m->session, w->index, &out, 1, &in, 1);
	if (n == SERVER_LATER)
		return 0;
	if (n <= 0)
		return (int)n;
	r = fuse_dev_write(fd, in.iov_base, (size_t)n);
	if (ORIEL_UNLIKELY(r))
		log_debug("mount: an answer was refused: %s", strerror(-r));
	return 0;
}

static void ring_done(struct orield_mount *m)
{
	uint64_t one = 1;

	/* acq_rel: the last one is really the last */
	if (atomic_fetch_sub_explicit(&m->n_running, 1,
				      memory_order_acq_rel) == 1 &&
	    write(m->done_fd, &one, sizeof(one)) < 0)
		log_debug("eventfd: %s", strerror(errno));
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	void *buf = mmap(NULL, IN_SIZE + OUT_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r = buf == MAP_FAILED ? -ENOMEM : 0;

	while (!r)
		r = serve_one(w, buf);
	if (r != -ENODEV)
		log_warn("mount: thread %u ends: %s", w->index, strerror(-r));
	if (buf != MAP_FAILED)
		munmap(buf, IN_SIZE + OUT_SIZE);
	ring_done(w->m);
	free(w);
	return NULL;
}

static int start_one(struct orield_mount *m, unsigned index)
{
	struct worker *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->m = m;
	w->index = index;
	atomic_fetch_add_explicit(&m->n_running, 1, memory_order_relaxed);
	r = -pthread_create(&m->threads[index], NULL, worker_main, w);
	if (r) {
		atomic_fetch_sub_explicit(&m->n_running, 1,
					  memory_order_relaxed);
		free(w);
	}
	return r;
}

/* ---------------------------------------------------------- passthrough */

static int backing_open(void *ctx, int fd, uint32_t *ret_id)
{
	struct orield_mount *m = ctx;
	int r = fuse_broker_open(m->broker, fd);

	if (r > 0) {
		*ret_id = (uint32_t)r;
		return 0;
	}
	/* a share stacked on another file system, a kernel without, ... */
	if (!atomic_exchange_explicit(&m->complained, true,
				      memory_order_relaxed))
		log_info("mount: a file without passthrough: %s",
			 strerror(-r));
	return r ? r : -EIO;
}

static void backing_close(void *ctx, uint32_t id)
{
	struct orield_mount *m = ctx;

	fuse_broker_close(m->broker, id);
}

static const struct server_backing_ops backing_ops = {
	.open = backing_open,
	.close = backing_close,
};

/* ------------------------------------------------------ changes by others */

static int mount_notify(void *ctx, const void *msg, size_t len)
{
	struct orield_mount *m = ctx;

	return fuse_dev_write(m->fds[0], msg, len);
}

static const struct server_notify_ops notify_ops = {
	.send = mount_notify,
};

int orield_mount_start(struct orield_mount *m, struct server_share *share)
{
	const struct server_session_config cfg = {
		.backing_ops = m->broker ? &backing_ops : NULL,
		.backing_ctx = m,
		.later_ops = &later_ops,
		.notify_ops = m->notify ? &notify_ops : NULL,
		.notify_ctx = m,
	};
	int r;

	m->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->done_fd < 0)
		return -errno;
	r = server_session_new(share, &cfg, &m->session);
	while (!r && m->n_started < m->n_threads) {
		r = start_one(m, m->n_started);
		if (!r)
			m->n_started++;
	}
	if (r && m->n_started) {
		log_warn("mount: %u threads: %s", m->n_started, strerror(-r));
		r = 0;
	}
	if (!r)
		log_info("mounted at %s, %u threads%s", m->dir, m->n_started,
			 m->broker ? ", passthrough where the kernel has it" :
				     "");
	return r;
}

/* True: time to end. */
static bool take_signals(struct server_share *share, bool follow, pid_t parent,
			 int fd)
{
	struct signalfd_siginfo si;
	struct server_stats st;

	while (read(fd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGUSR1) {
			server_share_stats(share, &st);
			log_info("inodes %llu, handles %llu, requests %llu",
				 (unsigned long long)st.inodes,
				 (unsigned long long)st.handles,
				 (unsigned long long)st.requests);
		} else if (si.ssi_signo == SIGUSR2) {
			if (follow && getppid() != parent)
				return true;
		} else {
			log_info("ending on signal %u", si.ssi_signo);
			return true;
		}
	}
	return false;
}

void orield_mount_wait(struct orield_mount *m, const struct orield_options *opt,
		       struct server_share *share, int signal_fd)
{
	const pid_t parent = getppid();

	for (;;) {
		struct pollfd p[2] = {
			{ .fd = signal_fd, .events = POLLIN },
			{ .fd = m->done_fd, .events = POLLIN },
		};

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return;
		if (p[1].revents) {
			log_info("%s was unmounted", m->dir);
			return;
		}
		if (p[0].revents && take_signals(share, opt->exit_with_parent,
						 parent, signal_fd))
			return;
	}
}

void orield_mount_end(struct orield_mount *m)
{
	/* acquire: pairs with the last thread's end */
	bool was_alive = atomic_load_explicit(&m->n_running,
					      memory_order_acquire) != 0;
	struct timespec until;
	unsigned i;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += END_TIMEOUT_S;
	if (!orield_mount_remove(m) && was_alive)
		until.tv_sec = 0;
	for (i = 0; i < m->n_started; i++) {
		/* A lazy unmount by fusermount3 leaves users of open files. */
		if (pthread_timedjoin_np(m->threads[i], NULL, &until)) {
			log_warn("%s is still in use: ending without them",
				 m->dir);
			_exit(0);
		}
	}
	m->n_started = 0;
	server_session_free(m->session);
	m->session = NULL;
}
