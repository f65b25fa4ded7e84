/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connections: each has a thread, inside vhost_backend_run(), and a session of
 * its own on one of the shares.
 *
 * The list of connections is the main thread's alone; a connection's thread
 * touches its own object, and says by "done" that it is to be joined.
 */
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "facade/facade.h"
#include "vhost/backend.h"

/* For connections to end in when the daemon is told to. */
#define END_TIMEOUT_S 10

struct client {
	struct list link;
	struct daemon *d;
	struct place *place;
	unsigned id;
	pthread_t thread;
	struct vhost_backend *be;
	struct server_session *session;
	int watch; /* the socket once more; -1: none; changed by main only */
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

static void client_restart(void *ctx)
{
	struct client *c = ctx;

	log_info("client %u: starts anew", c->id);
	server_session_restart(c->session);
}

static void client_thread_start(void *ctx, unsigned queue)
{
	struct client *c = ctx;

	orield_log_about(orield_share_name(c->place->share));
	orield_guard_thread(c->be);
}

static void client_after(void *ctx, unsigned queue, bool answered)
{
	server_after(answered);
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
	.after = client_after,
	.refuse = client_refuse,
	.window_piece = client_window_piece,
	.thread_start = client_thread_start,
	.cancel = client_cancel,
	.reset = client_reset,
	.restart = client_restart,
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

/* Another client's thread looks at this one's memory. */
static void *memory_hold(void *ctx, uint64_t gpa, uint64_t len, void **ret)
{
	struct client *c = ctx;

	return vhost_backend_hold(c->be, gpa, len, ret);
}

static void memory_drop(void *token)
{
	mem_map_unref(token);
}

static const struct server_memory_ops memory_ops = {
	.hold = memory_hold,
	.drop = memory_drop,
	.touch = orield_guard_others,
};

static struct server_cred cred_of(int sock)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return (struct server_cred){ 0 };
	return (struct server_cred){
		.known = true,
		.pid = (uint32_t)cred.pid,
		.uid = cred.uid,
		.gid = cred.gid,
	};
}

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
	/* it has closed its own: with ours open the peer would not notice */
	if (c->watch >= 0)
		(void)shutdown(c->watch, SHUT_RDWR);
	if (r && r != -ECANCELED)
		log_warn("client %u: ended with %s", c->id, strerror(-r));
	else
		log_info("client %u: left", c->id);
	server_session_free(c->session);
	c->session = NULL;
	/* pairs with the acquire in clients_reap() */
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
		.workers = opt->thread_pool_size,
		.window_bytes = opt->window_bytes,
		.guest_window_bytes = window ? opt->guest_window_bytes : 0,
		.guest_window_dev = guest->facade ?
				facade_dev(guest->facade) : 0,
		.poll_ns = opt->poll_us * NS_PER_US,
		.crowd = &c->d->crowd,
		/*
		 * With these, QEMU 11.1 drops its mappings when the device is
		 * reset, and at the next start dereferences what it has
		 * forgotten: a guest's reboot would end it. Liboriel does
		 * without; other monitors (GUEST_DAX_ALWAYS) need them.
		 */
		.mem_quota = c->d->n_places > 1 ? &c->place->mem : NULL,
		.mem_slots = !window ||
			     opt->guest_dax == ORIELD_GUEST_DAX_ALWAYS,
		.ops = &backend_ops,
		.ctx = c,
	};

	memcpy(cfg.tag, opt->tag, sizeof(cfg.tag));
	return vhost_backend_new(&cfg, &c->be);
}

int client_start(struct daemon *d, struct place *place, int sock)
{
	struct client *c = calloc(1, sizeof(*c));
	struct server_session_config cfg = {
		.window_bytes = place->opt->window_bytes,
		.window_ops = &window_ops,
		.window_ctx = c,
		.later_ops = &later_ops,
		.later_ctx = c,
		.memory_ops = &memory_ops,
		.memory_ctx = c,
		.cred = cred_of(sock),
		.calls_after = true,
	};
	int r;

	if (!c) {
		close(sock);
		return -ENOMEM;
	}
	c->d = d;
	c->place = place;
	c->id = ++d->next_id;
	c->watch = fcntl(sock, F_DUPFD_CLOEXEC, 3);
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
		fd_close(&c->watch);
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
	fd_close(&c->watch);
	free(c);
	return r;
}

static void client_gone(struct daemon *d, struct client *c)
{
	vhost_backend_free(c->be);
	list_del(&c->link);
	d->n_clients--;
	c->place->n_clients--;
	fd_close(&c->watch);
	free(c);
}

static bool hung_up(const struct client *c)
{
	struct pollfd p = { .fd = c->watch, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP));
}

bool clients_leaving(const struct daemon *d, const struct place *place)
{
	struct list *pos;

	list_for_each(pos, &d->clients) {
		const struct client *c = list_entry(pos, struct client, link);

		if (c->place == place && hung_up(c))
			return true;
	}
	return false;
}

void clients_reap(struct daemon *d)
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
void clients_end(struct daemon *d)
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
