/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A session from connect to disconnect: find out what the share is, shake hands
 * (vhost-user, then FUSE_INIT), set up the window, fetch the root; and back.
 */
#include "client/append.h"
#include "client/client.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/epoch.h"
#include "base/fd.h"
#include "base/log.h"
#include "client/options.h"
#include "dax/guard.h"

#define QUEUE_SIZE 128u
#define HANDSHAKE_MS 5000u
#define GOODBYE_MS 1000u

/* --------------------------------------------------------------- birth */

static int session_alloc(const struct oriel_options *opts, const char *share,
			 struct oriel_session **ret)
{
	struct oriel_session *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;

	if (!s)
		return -ENOMEM;
	s->share = strdup(share);
	if (!s->share) {
		free(s);
		return -ENOMEM;
	}
	s->opts = *opts;
	s->child.sock = -1;
	s->uid = opts->set_identity ? opts->uid : (uint32_t)geteuid();
	s->gid = opts->set_identity ? opts->gid : (uint32_t)getegid();
	s->pid = (uint32_t)getpid();
	pthread_mutex_init(&s->table_lock, NULL);
	pthread_mutex_init(&s->forget_lock, NULL);
	pthread_mutex_init(&s->submit_lock, NULL);
	pthread_mutex_init(&s->wait_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->slot_freed, &attr);
	pthread_condattr_destroy(&attr);
	list_init(&s->files);
	client_gauge_init(s);
	client_appends_init(s);
	client_watches_init(s);
	pthread_mutex_init(&s->close_lock, NULL);
	client_held_init(s);
	list_init(&s->pins);
	list_init(&s->queues);
	list_init(&s->lru);
	*ret = s;
	return 0;
}

/* Everything, also half-built; sends nothing. */
static void session_free(struct oriel_session *s)
{
	client_die(s, -ENOTCONN);
	client_gauge_stop(s);
	dax_window_stop(s->dax);
	if (s->root)
		client_inode_put(s->root);
	client_inodes_done(s);
	dax_window_free(s->dax);
	client_calls_done(s);
	vhost_frontend_free(s->fe);
	if (s->child.pid) {
		if (client_is_dead(s) == -ETIMEDOUT)
			kill(s->child.pid, SIGKILL); /* it hangs */
		embed_reap(&s->child);
	}
	pthread_cond_destroy(&s->slot_freed);
	pthread_mutex_destroy(&s->gauge.lock);
	client_held_done(s);
	client_paths_done(s);
	pthread_mutex_destroy(&s->close_lock);
	pthread_mutex_destroy(&s->watch_lock);
	pthread_mutex_destroy(&s->wait_lock);
	pthread_mutex_destroy(&s->submit_lock);
	pthread_mutex_destroy(&s->forget_lock);
	pthread_mutex_destroy(&s->table_lock);
	free(s->share);
	free(s);
}

/* -------------------------------------------------------------- connect */

static int connect_socket(const char *path, int *ret_sock)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock, err;

	if (strlen(path) >= sizeof(addr.sun_path))
		return client_connect_fail(-ENAMETOOLONG,
					   "%s: a socket's path is at most %zu "
					   "bytes",
					   path, sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path));
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return client_connect_fail(-errno, "%s: socket: %s", path,
					   oriel_strerror(errno));
	if (connect(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		err = -errno;
		fd_close(&sock);
		if (err == -ECONNREFUSED)
			return client_connect_fail(
				err, "%s: nobody listens on this socket; is "
				     "the daemon running?",
				path);
		return client_connect_fail(err, "%s: %s", path,
					   oriel_strerror(err));
	}
	*ret_sock = sock;
	return 0;
}

static int start_embedded(struct oriel_session *s, int *ret_sock)
{
	struct embed_config cfg = {
		.dir = s->share,
		.readonly = s->opts.readonly,
		.sandbox = client_sandbox_name(s->opts.sandbox),
		.daemon_path = s->opts.daemon_path,
		.window_bytes = s->opts.dax == ORIEL_DAX_NEVER ?
					0 :
					s->opts.window_bytes,
		.timeout_ms = HANDSHAKE_MS,
	};
	char why[400];
	int err = embed_start(&cfg, &s->child, why, sizeof(why));

	if (err)
		return client_connect_fail(err, "%s", why);
	*ret_sock = s->child.sock;
	s->child.sock = -1;
	s->peer_pid = s->child.pid;
	return 0;
}

/* A connected socket for the share, whatever it is. */
static int reach(struct oriel_session *s, int *ret_sock)
{
	struct stat st;

	if (stat(s->share, &st) < 0) {
		int err = -errno;

		return client_connect_fail(err, "%s: %s", s->share,
					   oriel_strerror(err));
	}
	if (S_ISDIR(st.st_mode))
		return start_embedded(s, ret_sock);
	if (S_ISSOCK(st.st_mode))
		return connect_socket(s->share, ret_sock);
	return client_connect_fail(-ENOTSOCK,
				   "%s: neither a directory nor a socket; a "
				   "share is one of these",
				   s->share);
}

static int shake_hands(struct oriel_session *s, int *sock)
{
	struct vhost_frontend_config cfg = {
		.sock = *sock,
		.request_queues = 1,
		.queue_size = QUEUE_SIZE,
		.arena_bytes = align_up(s->opts.arena_bytes, KIB(4)),
		/* who has a daemon of his own cannot be watched */
		.gauge_bytes = s->child.pid ? 0 : GAUGE_BYTES,
		.max_window_bytes = s->opts.dax == ORIEL_DAX_NEVER ?
					    0 :
					    s->opts.window_bytes,
		.window_align = s->opts.range_bytes,
		.timeout_ms = (int)min_u64(s->opts.timeout_ms, HANDSHAKE_MS),
	};
	struct ucred cred;
	socklen_t len = sizeof(cred);
	char why[300];
	int err;

	if (!s->peer_pid &&
	    getsockopt(*sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0)
		s->peer_pid = cred.pid;
	err = vhost_frontend_new(&cfg, &s->fe, why, sizeof(why));
	if (err)
		return client_connect_fail(err, "%s: %s", s->share, why);
	*sock = -1;
	s->fi = vhost_frontend_info(s->fe);
	return 0;
}

/* ----------------------------------------------------------------- INIT */

static uint64_t wanted_flags(const struct oriel_session *s)
{
	uint64_t flags = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC |
			 FUSE_BIG_WRITES | FUSE_DONT_MASK |
			 FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS |
			 FUSE_ASYNC_DIO | FUSE_NO_OPEN_SUPPORT |
			 FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES |
			 FUSE_NO_OPENDIR_SUPPORT | FUSE_SETXATTR_EXT |
			 FUSE_INIT_EXT;

	if (s->fi->window) {
		flags |= FUSE_MAP_ALIGNMENT;
		if (s->opts.dax == ORIEL_DAX_AUTO)
			flags |= FUSE_HAS_INODE_DAX;
	}
	return flags;
}

/* Take in what the daemon agreed to. */
static int init_take(struct oriel_session *s, const struct fuse_init_out *out)
{
	uint64_t flags = out->flags;
	uint64_t pages = 32;

	if (out->major != FUSE_KERNEL_VERSION)
		return client_connect_fail(
			-EPROTO,
			"%s: the daemon speaks FUSE %u.%u, this library %d.%u",
			s->share, out->major, out->minor, FUSE_KERNEL_VERSION,
			FUSE_WIRE_MINOR);
	if (flags & FUSE_INIT_EXT)
		flags |= (uint64_t)out->flags2 << 32;
	s->fuse_flags = flags & wanted_flags(s);
	s->minor = (uint32_t)min_u64(out->minor, FUSE_WIRE_MINOR);
	if (s->fuse_flags & FUSE_MAX_PAGES)
		pages = max_u64(out->max_pages, 1);
	s->max_write = (uint32_t)min_u64(max_u64(out->max_write, 4096),
					 min_u64(pages * 4096,
						 s->slot_data_bytes));
	s->max_read = (uint32_t)min_u64(pages * 4096, s->slot_data_bytes);
	if (out->unused[FUSE_WIRE_INIT_OUT_MAGIC] == FUSE_WIRE_INIT_MAGIC)
		atomic_store(&s->compound,
			     (out->unused[FUSE_WIRE_INIT_OUT_CAN] &
			      FUSE_WIRE_CAN_WALK) != 0);
	return 0;
}

static int init_fuse(struct oriel_session *s, uint32_t *ret_map_align)
{
	uint64_t flags = wanted_flags(s);
	struct fuse_init_in in = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_WIRE_MINOR,
		.max_readahead = FUSE_WIRE_MAX_WRITE,
		.flags = (uint32_t)flags,
		.flags2 = (uint32_t)(flags >> 32),
		.unused[0] = FUSE_WIRE_INIT_MAGIC,
	};
	struct fuse_init_out out;
	struct client_call c = {
		.opcode = FUSE_INIT,
		.arg = &in,
		.arg_len = sizeof(in),
		.out = &out,
		.out_len = sizeof(out),
		.out_min = FUSE_COMPAT_INIT_OUT_SIZE,
		.timeout_ms = HANDSHAKE_MS,
	};
	int err;

	client_gauge_place(s, &in);
	err = client_call(s, &c);
	if (err)
		return client_connect_fail(err, "%s: FUSE_INIT: %s", s->share,
					   oriel_strerror(err));
	err = init_take(s, &out);
	if (!err)
		*ret_map_align = out.map_alignment;
	return err;
}

/* --------------------------------------------------------------- window */

static void no_dax(struct oriel_session *s, const char *why)
{
	snprintf(s->dax_why, sizeof(s->dax_why), "%s", why);
}

/* Row A28: the daemon's alignment must fit into a range. */
static int check_alignment(struct oriel_session *s, uint32_t map_align)
{
	if (map_align < 63 &&
	    (UINT64_C(1) << map_align) <= s->opts.range_bytes)
		return 0;
	return client_connect_fail(
		-EPROTO,
		"%s: the daemon maps in pieces of 2^%u bytes, more than a "
		"range of %llu bytes; set range_bytes to that or more",
		s->share, map_align, (unsigned long long)s->opts.range_bytes);
}

/*
 * Touches of a range that are read by system call before it is mapped: a set-up
 * costs 5 us, what a hit saves is a third of one.
 */
#define PATIENCE 8u

static int init_window(struct oriel_session *s, uint32_t map_align)
{
	struct dax_config cfg = {
		.base = s->fi->window,
		.bytes = s->fi->window_bytes,
		.range_bytes = s->opts.range_bytes,
		.small_file_bytes = s->opts.small_file_bytes,
		.admit_touches = s->opts.admit_touches,
		.patience = s->opts.admit_touches ? PATIENCE : 0,
		.background = !s->opts.no_background,
		.ops = &client_dax_ops,
		.owner = s,
	};
	int err;

	if (s->opts.dax == ORIEL_DAX_NEVER) {
		no_dax(s, "switched off by the caller (dax=never)");
		return 0;
	}
	if (!s->fi->window) {
		no_dax(s, s->fi->no_window_why);
	} else if (!(s->fuse_flags & FUSE_MAP_ALIGNMENT)) {
		no_dax(s, "the daemon has a window but did not agree to "
			  "FUSE_MAP_ALIGNMENT");
	} else if (s->fi->window_bytes < s->opts.range_bytes) {
		no_dax(s, "the daemon's window is smaller than one range");
	} else {
		err = check_alignment(s, map_align);
		if (!err) {
			err = guard_install();
			if (!err)
				err = dax_window_new(&cfg, &s->dax);
			if (err)
				client_connect_fail(err, "%s: window: %s",
						    s->share,
						    oriel_strerror(err));
		}
		s->dax_by_attr = s->fuse_flags & FUSE_HAS_INODE_DAX;
		return err;
	}
	if (s->opts.dax == ORIEL_DAX_ALWAYS)
		return client_connect_fail(-ENODEV, "%s: no DAX: %s", s->share,
					   s->dax_why);
	return 0;
}

static int fetch_root(struct oriel_session *s)
{
	struct fuse_getattr_in in = { 0 };
	struct fuse_attr_out out;
	struct fuse_entry_out entry = { .nodeid = FUSE_ROOT_ID };
	uint64_t version = client_version(s);
	struct client_call c = {
		.opcode = FUSE_GETATTR,
		.nodeid = FUSE_ROOT_ID,
		.arg = &in,
		.arg_len = sizeof(in),
		.out = &out,
		.out_len = sizeof(out),
	};
	int err = client_call(s, &c);

	if (!err && !S_ISDIR(out.attr.mode))
		err = -ENOTDIR;
	if (!err) {
		entry.attr = out.attr;
		entry.attr_valid = out.attr_valid;
		entry.attr_valid_nsec = out.attr_valid_nsec;
		err = client_inode_get(s, &entry, version, &s->root);
	}
	if (err)
		return client_connect_fail(err, "%s: the share's root: %s",
					   s->share, oriel_strerror(err));
	return 0;
}

/* ------------------------------------------------------------ the calls */

/* @sock (>= 0: connected already) is consumed. */
static int session_start(struct oriel_session *s, int sock)
{
	uint32_t map_align = 0;
	int err = sock >= 0 ? 0 : reach(s, &sock);

	if (!err)
		err = shake_hands(s, &sock);
	if (!err) {
		err = client_calls_init(s);
		if (err)
			client_connect_fail(err,
					    "%s: %u bytes of request memory "
					    "are too few or cannot be had",
					    s->share, s->opts.arena_bytes);
	}
	if (!err) {
		err = client_inodes_init(s);
		if (!err)
			err = client_paths_init(s);
		if (err)
			client_connect_fail(err, "%s: %s", s->share,
					    oriel_strerror(err));
	}
	if (!err)
		err = init_fuse(s, &map_align);
	if (!err)
		err = init_window(s, map_align);
	if (!err)
		err = fetch_root(s);
	fd_close(&sock);
	return err;
}

static int connect_common(const char *share, int sock,
			  const struct oriel_options *opts,
			  struct oriel_session **ret)
{
	struct oriel_options filled;
	struct oriel_session *s;
	int err;

	client_connect_ok();
	err = client_options_fill(opts, &filled);
	if (!err) {
		err = session_alloc(&filled, share, &s);
		if (err)
			client_connect_fail(err, "%s: %s", share,
					    oriel_strerror(err));
	}
	if (err) {
		fd_close(&sock);
		return err;
	}
	err = session_start(s, sock);
	if (err) {
		session_free(s);
		return err;
	}
	client_gauge_start(s);
	log_info("session %s: FUSE 7.%u, DAX %s%s", s->share, s->minor,
		 s->dax ? "on" : "off: ", s->dax ? "" : s->dax_why);
	*ret = s;
	return 0;
}

int oriel_connect(const char *share, const struct oriel_options *opts,
		  struct oriel_session **ret)
{
	return connect_common(share, -1, opts, ret);
}

int oriel_connect_fd(int sock, const struct oriel_options *opts,
		     struct oriel_session **ret)
{
	char name[32];

	snprintf(name, sizeof(name), "socket %d", sock);
	if (sock < 0)
		return client_connect_fail(-EBADF, "%s: not a descriptor",
					   name);
	return connect_common(name, sock, opts, ret);
}

static void say_goodbye(struct oriel_session *s)
{
	struct client_call c = { .opcode = FUSE_DESTROY,
				 .timeout_ms = GOODBYE_MS };
	int err;

	client_forget_flush(s, GOODBYE_MS);
	err = client_call(s, &c);
	if (err == -ETIMEDOUT)
		client_die(s, err);
	if (err && err != -ENOSYS)
		log_debug("session %s: DESTROY: %s", s->share,
			  oriel_strerror(err));
}

void oriel_disconnect(struct oriel_session *s)
{
	struct list *node;

	if (!s)
		return;
	epoch_leave_all(); /* what was borrowed ends with the window */
	/* bounds all that follows: a daemon that hangs does not hold us */
	atomic_store(&s->goodbye_ns, clock_now_ns() + GOODBYE_MS * NS_PER_MS);
	client_queues_done(s);
	client_unmap_all(s);
	client_watches_done(s);
	while (!list_is_empty(&s->files)) {
		node = s->files.next;
		oriel_close(list_entry(node, struct oriel_file, node));
	}
	client_appends_done(s);
	/* from here the daemon cleans up by itself (row A26) */
	atomic_store(&s->closing, true);
	if (!client_is_dead(s))
		say_goodbye(s);
	session_free(s);
}

const char *oriel_version(void)
{
	return ORIEL_VERSION_STRING;
}
