/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * orield: shares directories with virtio-fs clients.
 *
 *   main.c      the order of things: options, descriptors, sandbox, serving
 *   options*.c  the options; see options.h
 *   shares.c    the shared directories: opened, listened for, served
 *   status.c    log lines, the one line on --ready-fd, systemd's READY=1
 *   daemonize.c the background
 *   listen.c    the listening socket and its file
 *   pidfile.c   SOCKET.pid
 *   sandbox.c   name spaces or chroot
 *   users.c     --uid-map: who is who in a user name space
 *   limits.c    open files, capabilities
 *   seccomp.c   the list of system calls
 *   guard.c     clients that take their memory away
 *   guest.c     the window of virtual machines: whether, how, why not
 *   serve.c     connections
 *   loop.c      the main loop: accepting clients, signals
 *   stats.c     what SIGUSR1 asks for
 *   mount.c, mount_serve.c   the same share behind /dev/fuse
 */
#ifndef ORIELD_H
#define ORIELD_H

#include <sys/types.h>

#include "base/log.h"
#include "base/util.h"
#include "server/server.h"

#define ORIELD_VERSION "0.1.0"

enum orield_sandbox {
	ORIELD_SANDBOX_AUTO,
	ORIELD_SANDBOX_NAMESPACE,
	ORIELD_SANDBOX_CHROOT,
	ORIELD_SANDBOX_NONE,
};

enum orield_seccomp {
	ORIELD_SECCOMP_KILL,
	ORIELD_SECCOMP_LOG,
	ORIELD_SECCOMP_TRAP, /* SIGSYS, which a debugger can look at */
	ORIELD_SECCOMP_NONE,
};

/* Of a user name space: numbers in it, and who they are outside. */
struct orield_id_range {
	uint32_t inside;
	uint32_t outside;
	uint32_t count;
};

struct orield_id_ranges {
	unsigned n;
	struct orield_id_range range[16];
};
/* Is there a window for guests? */
enum orield_guest_dax {
	ORIELD_GUEST_DAX_NEVER,
	ORIELD_GUEST_DAX_AUTO,   /* where files without an end can be made */
	ORIELD_GUEST_DAX_ALWAYS, /* otherwise of the files as they are */
};

/* QEMU ends when it has more than 512 regions, and one range is one; and its
 * PCI regions are powers of two. */
#define ORIELD_GUEST_WINDOW_MAX MIB(512)
/* Each is a fair part of the descriptors and threads of one process. */
#define ORIELD_SHARES_MAX 64u

struct orield_options {
	const char *socket_path;
	const char *socket_group;
	const char *shared_dir;
	const char *mount_dir;
	char tag[37];
	int listen_fd;    /* -1: none given */
	int connected_fd; /* -1: none given */
	int ready_fd;     /* -1: none given */
	bool readonly;
	bool xattr;
	bool posix_acl;
	bool security_label;
	bool no_submounts;
	bool passthrough;
	bool notify;
	bool print_qemu_args;
	enum orield_guest_dax guest_dax;
	bool exit_with_parent;
	bool systemd_socket; /* listen_fd is one that systemd passed */
	bool daemonize;
	bool syslog;
	bool allow_mmap;
	bool allow_direct_io;
	bool no_readdirplus;
	bool writeback;
	bool no_killpriv;
	bool no_posix_locks;
	bool no_flock;
	bool preserve_noatime;
	bool own_timeout;
	uint32_t timeout_s; /* own_timeout: instead of what cache says */
	uint64_t caps_added; /* bit n: capability n */
	uint64_t caps_dropped;
	unsigned thread_pool_size; /* 0: each queue has its own thread */
	struct orield_id_ranges uid_map; /* both or none */
	struct orield_id_ranges gid_map;
	struct server_ids uids;
	struct server_ids gids;
	struct server_xattrmap *xattrmap; /* NULL: none */
	enum server_cache cache;
	enum server_file_handles file_handles;
	enum orield_sandbox sandbox;
	enum orield_seccomp seccomp;
	enum log_level log_level;
	uint64_t rlimit_nofile; /* 0: as high as allowed, 1e6 at most */
	uint64_t window_bytes;
	uint64_t guest_window_bytes;
	uint64_t poll_us;
	unsigned request_queues;
	unsigned max_clients; /* of one share; 0: as many as there is room for */
	bool own_tag;         /* --tag was given */
	bool several;         /* made of a --share */
	/*
	 * --share: the words, and what became of them: each a copy of the
	 * whole with the words carried out. None: the whole is the one share.
	 */
	const char *share_words[ORIELD_SHARES_MAX];
	struct orield_options *shares;
	unsigned n_shares;
};

/* A sentence for the user; filled where a function fails. */
struct orield_error {
	char text[512];
};

/* Fills @err and returns @code (negative), for "return fail(...)". */
int orield_fail(struct orield_error *err, int code, const char *fmt, ...)
	ORIEL_PRINTF(3, 4);

enum orield_parse {
	ORIELD_PARSE_RUN,  /* go on */
	ORIELD_PARSE_DONE, /* --help and the like were printed: exit 0 */
	ORIELD_PARSE_BAD,  /* @err says why: exit 2 */
};
enum orield_parse orield_options_parse(struct orield_options *opt, int argc,
				       char **argv, struct orield_error *err);
/* Also after a bad command line. Strings of argv are not its business. */
void orield_options_free(struct orield_options *opt);

/* To stderr, or /dev/log with --syslog. */
ORIEL_MUST_CHECK int orield_log_start(const struct orield_options *opt,
				      struct orield_error *err);
/* $NOTIFY_SOCKET is systemd's; without it nothing is said. */
void orield_notify_start(void);
void orield_notify(const char *state); /* "READY=1" */
/* Only the child returns; the process that was started waits for ready. */
ORIEL_MUST_CHECK int orield_daemonize_start(struct orield_error *err);
void orield_daemonize_ready(void);
/* In a child that stays outside: hold neither the lock nor the terminal. */
void orield_outsider_start(void);

/* Make and lock SOCKET.pid, one a socket. -EADDRINUSE: its daemon lives. */
ORIEL_MUST_CHECK int orield_pidfile_make(const char *socket_path,
					 struct orield_error *err);
void orield_pidfile_drop(const char *socket_path); /* undo the last one */
void orield_pidfile_release(void); /* close all, and leave the files */
/* In the janitor: remove it unless somebody has it locked. */
void orield_pidfile_remove(const char *socket_path);
/* One line for who started us; closes @fd. -1: nobody asked. */
void orield_report_ready(int fd, const char *sandbox);
void orield_report_error(int fd, int code, const char *text);

/*
 * Bind and listen at opt->socket_path, replacing the file of a dead daemon; or
 * check opt->listen_fd. *@ret_fd is the listening socket.
 */
ORIEL_MUST_CHECK int orield_listen(const struct orield_options *opt,
				   int *ret_fd, struct orield_error *err);
/* The socket we have just made is one that the janitor removes. */
int orield_janitor_add(const char *socket_path);
/*
 * From now on somebody removes the socket files when this process ends, however
 * that happens: a child that stays outside the sandbox and waits for our end.
 * Call before any thread is started. Failure is harmless: 0 or -errno.
 */
int orield_janitor_start(int *close_fds, unsigned n_close);
/* Let it do so now, and wait for it. */
void orield_janitor_finish(void);

/* One shared directory, its options, and what is open for it. */
struct orield_share {
	const struct orield_options *opt;
	int root_fd;
	int listen_fd; /* -1: none */
	struct server_share *server; /* NULL until the door is shut */
};

struct orield_shares {
	struct orield_share *v;
	unsigned n;
};
/* shares.c, in this order. Errors name the share, if there are several. */
ORIEL_MUST_CHECK int orield_shares_open(const struct orield_options *opt,
					struct orield_shares *s,
					struct orield_error *err);
/* @more_fds: what else must not stay open in who removes the sockets. */
ORIEL_MUST_CHECK int orield_shares_listen(struct orield_shares *s,
					  const int more_fds[2],
					  struct orield_error *err);
struct orield_guest;
ORIEL_MUST_CHECK int orield_shares_make(struct orield_shares *s, int proc_fd,
					const struct orield_guest *guest,
					struct orield_error *err);
void orield_shares_done(struct orield_shares *s);
/* What @opt, the whole, says of all its shares. */
bool orield_all_readonly(const struct orield_options *opt);
bool orield_listens(const struct orield_options *opt);
bool orield_file_handles(const struct orield_options *opt); /* of any */
/* Lines that this thread logs are about the share @tag (NULL: about none). */
void orield_log_about(const char *tag);
/* What orield_log_about() is to be told for @share: NULL if it is the only. */
const char *orield_share_name(const struct orield_share *share);

/* What leads outside, to be replaced by what does not. */
struct orield_doors {
	struct orield_shares *shares; /* their root_fd */
	int *proc_fd; /* /proc/self/fd */
	const struct orield_id_ranges *uid_map; /* NULL or empty: none asked */
	const struct orield_id_ranges *gid_map;
};

/*
 * Shut the door: afterwards the descriptors of @doors are the same directories
 * as seen from inside. *@ret_name is which sandbox it became. Call before
 * threads exist.
 */
ORIEL_MUST_CHECK int orield_sandbox_enter(enum orield_sandbox want,
					  const struct orield_doors *doors,
					  const char **ret_name,
					  struct orield_error *err);
ORIEL_MUST_CHECK int orield_raise_nofile(uint64_t want,
					 struct orield_error *err);
ORIEL_MUST_CHECK int orield_drop_capabilities(const struct orield_options *opt,
					      struct orield_error *err);
bool orield_have_cap(unsigned cap);
/* -errno, also for a short write. */
ORIEL_MUST_CHECK int orield_write_file(const char *path, const char *text);

/* Maps of a user name space: start, unshare(2), finish (@made: it was). */
struct orield_users {
	const struct orield_id_ranges *uids;
	const struct orield_id_ranges *gids;
	bool own;     /* set by start: nobody's help is needed */
	pid_t helper;
	int pipe;
};
ORIEL_MUST_CHECK int orield_users_start(struct orield_users *users,
					struct orield_error *err);
ORIEL_MUST_CHECK int orield_users_finish(struct orield_users *users, bool made,
					 struct orield_error *err);
ORIEL_MUST_CHECK int orield_users_become_root(struct orield_error *err);

ORIEL_MUST_CHECK int orield_seccomp_start(enum orield_seccomp mode,
					  bool file_handles,
					  struct orield_error *err);

/* The window of virtual machines. */
struct orield_guest {
	struct facade *facade; /* NULL: none */
	bool offered;
	const char *why_not;   /* a sentence; NULL: offered */
};
/* What needs privileges; before the sandbox, with one thread. Never fails:
 * @g says what became of it. */
void orield_guest_prepare(const struct orield_options *opt,
			  struct orield_guest *g);
/* The rest, inside; then @g is final, and the log says so. */
void orield_guest_start(const struct orield_options *opt,
			struct orield_guest *g);
void orield_guest_done(struct orield_guest *g);
extern const struct server_guest_files orield_guest_files; /* ctx: a facade */
/* The arguments with which QEMU uses this daemon. */
void orield_print_qemu_args(const struct orield_options *opt);
/* In the process of a broker (fusedev/broker.h), which has closed what it
 * inherited: the few calls it needs. @ctx: the options. */
ORIEL_MUST_CHECK int orield_confine_broker(void *ctx, int sock, int dev);

/* Into the log, for each share. */
void orield_log_stats(const struct orield_shares *shares);

struct vhost_backend;
/* Survive SIGBUS in threads that named the connection they work for. */
ORIEL_MUST_CHECK int orield_guard_start(void);
void orield_guard_thread(struct vhost_backend *be);
/* It is going to touch other clients' memory, or is through with it. */
void orield_guard_others(bool begin);

/*
 * Serve until a signal, or, with opt->connected_fd, until that client leaves.
 * 0, or -errno.
 */
ORIEL_MUST_CHECK int orield_serve(const struct orield_options *opt,
				  struct orield_shares *shares, int signal_fd,
				  const struct orield_guest *guest);
/*
 * Mount the share at opt->mount_dir; before the sandbox and before threads.
 * @listen_fd is closed in the process that stays outside to unmount.
 */
struct orield_mount;
ORIEL_MUST_CHECK int orield_mount_new(const struct orield_options *opt,
				      int listen_fd, struct orield_mount **ret,
				      struct orield_error *err);
/* Serve it by threads; then wait for a signal or for its end; unmount and end
 * the threads; free (NULL is fine; unmounts too). */
ORIEL_MUST_CHECK int orield_mount_start(struct orield_mount *m,
					struct server_share *share);
void orield_mount_wait(struct orield_mount *m, const struct orield_options *opt,
		       struct server_share *share, int signal_fd);
void orield_mount_end(struct orield_mount *m);
void orield_mount_free(struct orield_mount *m);

/* Block what orield_serve() handles and return a signalfd, or -errno. */
ORIEL_MUST_CHECK int orield_signals(void);

#endif
