/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See rig.h. What cmd/orield/serve.c does for a connection, without the parts
 * that are about more than one.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/server.h"
#include "turns.h"
#include "vhost/backend.h"

#define WINDOW ((uint64_t)64 << 20)
#define RANGE (64u << 10)

static int handle(void *ctx, unsigned queue, struct ring_chain *chain,
		  uint32_t *ret_written)
{
	struct rig *r = ctx;
	ssize_t n = server_session_handle(r->server, queue, chain->iov,
					  chain->n_out,
					  chain->iov + chain->n_out,
					  chain->n_in);

	if (n < 0)
		return (int)n;
	*ret_written = (uint32_t)n;
	return 0;
}

static void after(void *ctx, unsigned queue, bool answered)
{
	server_after(answered);
}

static void reset(void *ctx)
{
	struct rig *r = ctx;

	server_session_reset(r->server);
}

static void thread_start(void *ctx, unsigned queue)
{
	if (queue == 1)
		turns_join(TURNS_DAEMON);
}

static const struct vhost_backend_ops backend_ops = {
	.handle = handle,
	.after = after,
	.reset = reset,
	.thread_start = thread_start,
};

static int map(void *ctx, int fd, uint64_t fd_off, uint64_t shm_off,
	       uint64_t len, bool writable)
{
	struct rig *r = ctx;

	return vhost_backend_map(r->be, fd, fd_off, shm_off, len, writable);
}

static int unmap(void *ctx, uint64_t shm_off, uint64_t len)
{
	struct rig *r = ctx;

	return vhost_backend_unmap(r->be, shm_off, len);
}

static bool usable(void *ctx)
{
	struct rig *r = ctx;

	return vhost_backend_has_shmem(r->be);
}

static bool is_guest(void *ctx)
{
	struct rig *r = ctx;

	return !vhost_backend_is_oriel(r->be);
}

static const struct server_window_ops window_ops = {
	.map = map, .unmap = unmap, .usable = usable, .is_guest = is_guest,
};

static void *serve(void *arg)
{
	struct rig *r = arg;
	int err = vhost_backend_run(r->be);

	(void)err; /* the client says what went wrong */
	return NULL;
}

/* Attributes are believed for ever: a run that takes long asks no more often
 * than one that does not. */
static int make_share(struct rig *r, const char *dir)
{
	struct server_share_config c = {
		.root_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC),
		.proc_fd = open("/proc/self/fd",
				O_PATH | O_DIRECTORY | O_CLOEXEC),
		.xattr = true,
		.cache = SERVER_CACHE_ALWAYS,
	};
	int err = c.root_fd < 0 || c.proc_fd < 0 ? -errno :
						   server_share_new(&c, &r->share);

	if (c.root_fd >= 0)
		close(c.root_fd);
	if (c.proc_fd >= 0)
		close(c.proc_fd);
	return err;
}

static int make_daemon(struct rig *r, int sock)
{
	struct vhost_backend_config b = {
		.sock = sock, .request_queues = 1, .window_bytes = WINDOW,
		.tag = "gate", .ops = &backend_ops, .ctx = r,
	};
	struct server_session_config c = {
		.window_bytes = WINDOW, .window_ops = &window_ops,
		.window_ctx = r, .calls_after = true,
	};
	int err = server_session_new(r->share, &c, &r->server);

	if (!err)
		err = vhost_backend_new(&b, &r->be);
	if (err) {
		close(sock);
		return err;
	}
	err = -pthread_create(&r->thread, NULL, serve, r);
	if (err) {
		vhost_backend_free(r->be);
		r->be = NULL;
	}
	return err;
}

int rig_start(struct rig *r, const char *dir, bool window)
{
	struct oriel_options o = {
		.size = sizeof(o),
		.dax = window ? ORIEL_DAX_ALWAYS : ORIEL_DAX_NEVER,
		.window_bytes = WINDOW, .range_bytes = RANGE,
		.attr_ttl_ms = 86400 * 1000, .poll_us = ORIEL_NO_POLL,
		.small_file_bytes = ORIEL_MAP_ALL, .no_background = 1,
		.timeout_ms = 600 * 1000,
	};
	int sv[2], err;

	memset(r, 0, sizeof(*r));
	err = make_share(r, dir);
	if (err)
		return err;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return -errno;
	err = make_daemon(r, sv[1]);
	if (err) {
		close(sv[0]);
		return err;
	}
	turns_join(TURNS_CLIENT);
	return oriel_connect_fd(sv[0], &o, &r->s);
}

int rig_init(void)
{
	return turns_init();
}

void rig_take_turns(void)
{
	turns_begin();
}

void rig_stop(struct rig *r)
{
	turns_end();
	oriel_disconnect(r->s);
	if (r->be) {
		vhost_backend_stop(r->be);
		pthread_join(r->thread, NULL);
	}
	vhost_backend_free(r->be);
	server_session_free(r->server);
	server_share_unref(r->share);
}
