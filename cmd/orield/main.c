/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The order of things. Everything that needs the outside world (the directory,
 * the socket, /proc) is opened first, then the door is shut, and only then the
 * first byte of a client is read and the first thread started.
 */
#include "orield.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

struct setup {
	int root_fd;
	int proc_fd;
	int listen_fd;
	int signal_fd;
	const char *sandbox;
	struct orield_mount *mount; /* NULL: none */
	struct orield_guest guest;
};

/*
 * Whatever else our parent left open would lead out of the sandbox. Where the
 * call is not known, it stays.
 */
static void close_others(const struct orield_options *opt)
{
	const int keep[] = { opt->listen_fd, opt->connected_fd, opt->ready_fd };
	unsigned from = STDERR_FILENO + 1;

	for (;;) {
		unsigned next = UINT_MAX;
		size_t i;

		for (i = 0; i < ARRAY_LEN(keep); i++) {
			if (keep[i] >= 0 && (unsigned)keep[i] >= from)
				next = (unsigned)min_u64((unsigned)keep[i],
							 next);
		}
		if (next > from)
			(void)syscall(SYS_close_range, from, next - 1, 0);
		if (next == UINT_MAX)
			return;
		from = next + 1;
	}
}

static int open_share(const struct orield_options *opt, struct setup *s,
		      struct orield_error *err)
{
	s->root_fd = open(opt->shared_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->root_fd < 0 && errno == ENOTDIR)
		return orield_fail(err, -ENOTDIR, "%s is not a directory; a"
				   " single file cannot be shared: share the"
				   " directory that holds it", opt->shared_dir);
	if (s->root_fd < 0)
		return orield_fail(err, -errno, "cannot open directory %s: %s",
				   opt->shared_dir, strerror(errno));
	s->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->proc_fd < 0)
		return orield_fail(err, -errno, "cannot open /proc/self/fd: %s",
				   strerror(errno));
	return 0;
}

/* A client's socket we were started with. */
static int check_connected(int fd, struct orield_error *err)
{
	if (fcntl(fd, F_SETFD, FD_CLOEXEC))
		return orield_fail(err, -errno, "--connected-fd=%d: %s", fd,
				   strerror(errno));
	return 0;
}

static int open_socket(const struct orield_options *opt, struct setup *s,
		       struct orield_error *err)
{
	int r;

	if (!opt->socket_path && opt->listen_fd < 0 && opt->connected_fd < 0)
		return 0;
	if (opt->connected_fd >= 0)
		return check_connected(opt->connected_fd, err);
	r = orield_listen(opt, &s->listen_fd, err);
	if (!r && opt->socket_path) {
		int fds[] = { s->listen_fd, s->root_fd, s->proc_fd,
			      opt->ready_fd };
		int r2 = orield_janitor_start(opt->socket_path, fds,
					      ARRAY_LEN(fds));

		if (r2)
			log_warn("%s will stay when this ends: %s",
				 opt->socket_path, strerror(-r2));
	}
	return r;
}

/*
 * End with the parent. The kernel sends the signal when the parent's *thread*
 * that started us ends, so the handler looks whether the process is gone. After
 * the sandbox, because a change of credentials cancels it; and a parent that
 * died before is noticed here.
 */
static int follow_parent(pid_t parent, struct orield_error *err)
{
	if (prctl(PR_SET_PDEATHSIG, SIGUSR2))
		return orield_fail(err, -errno, "cannot follow the parent");
	if (getppid() != parent || parent == 1)
		return orield_fail(err, -ESRCH, "the parent is gone");
	return 0;
}

static int shut_door(const struct orield_options *opt, struct setup *s,
		     pid_t parent, struct orield_error *err)
{
	const struct orield_doors doors = {
		.root_fd = &s->root_fd,
		.proc_fd = &s->proc_fd,
		.readonly = opt->readonly,
		.uid_map = &opt->uid_map,
		.gid_map = &opt->gid_map,
	};
	int r = orield_raise_nofile(opt->rlimit_nofile, err);

	if (!r)
		r = orield_sandbox_enter(opt->sandbox, &doors, &s->sandbox,
					 err);
	if (!r)
		r = orield_drop_capabilities(opt, err);
	if (!r && opt->exit_with_parent)
		r = follow_parent(parent, err);
	if (!r)
		r = orield_seccomp_start(opt->seccomp, opt->file_handles !=
					 SERVER_HANDLES_NEVER, err);
	return r;
}

static int make_share(const struct orield_options *opt, const struct setup *s,
		      struct server_share **ret, struct orield_error *err)
{
	struct server_share_config cfg = {
		.root_fd = s->root_fd,
		.proc_fd = s->proc_fd,
		.readonly = opt->readonly,
		.xattr = opt->xattr,
		.posix_acl = opt->posix_acl,
		.no_submounts = opt->no_submounts,
		.guest_files = s->guest.facade ? &orield_guest_files : NULL,
		.guest_files_ctx = s->guest.facade,
		.file_handles = opt->file_handles,
		.cache = opt->cache,
		.allow_mmap = opt->allow_mmap,
		.allow_direct_io = opt->allow_direct_io,
		.no_readdirplus = opt->no_readdirplus,
		.writeback = opt->writeback,
		.no_killpriv = opt->no_killpriv,
		.no_posix_locks = opt->no_posix_locks,
		.no_flock = opt->no_flock,
		.keep_noatime = opt->preserve_noatime,
		.own_timeout = opt->own_timeout,
		.timeout_s = opt->timeout_s,
		.uids = opt->uids,
		.gids = opt->gids,
		.xattrmap = opt->xattrmap,
	};
	int r = server_share_new(&cfg, ret);

	if (r == -EPERM && opt->file_handles == SERVER_HANDLES_MANDATORY)
		return orield_fail(err, r, "--inode-file-handles=mandatory"
				   " takes CAP_DAC_READ_SEARCH, of root outside"
				   " of any user name space");
	if (r == -EOPNOTSUPP && opt->file_handles == SERVER_HANDLES_MANDATORY)
		return orield_fail(err, r, "--inode-file-handles=mandatory: the"
				   " file system of %s, or this kernel, has no"
				   " file handles", opt->shared_dir);
	if (r)
		return orield_fail(err, r, "cannot share %s: %s",
				   opt->shared_dir, strerror(-r));
	return 0;
}

static int prepare(const struct orield_options *opt, struct setup *s,
		   struct server_share **ret, struct orield_error *err)
{
	pid_t parent = getppid();
	int r;

	r = open_share(opt, s, err);
	if (r)
		return r;
	s->signal_fd = orield_signals();
	if (s->signal_fd < 0)
		return orield_fail(err, s->signal_fd, "cannot take signals");
	if (orield_guard_start())
		return orield_fail(err, -errno, "cannot take SIGBUS");
	signal(SIGPIPE, SIG_IGN);
	umask(0);
	r = open_socket(opt, s, err);
	if (!r && opt->mount_dir)
		r = orield_mount_new(opt, s->listen_fd, &s->mount, err);
	if (r)
		return r;
	orield_guest_prepare(opt, &s->guest);
	r = shut_door(opt, s, parent, err);
	if (r)
		return r;
	orield_guest_start(opt, &s->guest);
	r = make_share(opt, s, ret, err);
	if (!r && s->mount) {
		r = orield_mount_start(s->mount, *ret);
		if (r)
			orield_fail(err, r, "--mount: %s", strerror(-r));
	}
	return r;
}

/* Only a mount of our own is nosuid; see docs/design/threat-model.md. */
static void warn_of_root(const struct orield_options *opt, const char *sandbox)
{
	if (geteuid() == 0 && !opt->readonly &&
	    strcmp(sandbox, "namespace") != 0)
		log_warn("root with sandbox %s: a client on this machine can "
			 "make a set-uid file and run it through a descriptor; "
			 "use --sandbox=namespace, --readonly or another user",
			 sandbox);
}

static int run(const struct orield_options *opt, struct orield_error *err)
{
	struct setup s = { -1, -1, -1, -1, "none", NULL,
			   { NULL, false, NULL } };
	struct server_share *share = NULL;
	int r = prepare(opt, &s, &share, err);

	if (r) {
		orield_report_error(opt->ready_fd, r, err->text);
	} else {
		warn_of_root(opt, s.sandbox);
		log_info("sharing %s%s, sandbox %s, tag %s, window %llu MiB",
			 opt->shared_dir, opt->readonly ? " read-only" : "",
			 s.sandbox, opt->tag,
			 (unsigned long long)(opt->window_bytes >> 20));
		orield_report_ready(opt->ready_fd, s.sandbox);
		orield_notify("READY=1");
		orield_daemonize_ready();
		if (s.mount && s.listen_fd < 0 && opt->connected_fd < 0)
			orield_mount_wait(s.mount, opt, share, s.signal_fd);
		else
			r = orield_serve(opt, share, s.listen_fd, s.signal_fd,
					 &s.guest);
		if (r)
			orield_fail(err, r, "cannot serve: %s", strerror(-r));
		orield_notify("STOPPING=1");
	}
	if (s.mount)
		orield_mount_end(s.mount);
	orield_mount_free(s.mount);
	server_share_unref(share);
	orield_guest_done(&s.guest);
	fd_close(&s.listen_fd);
	fd_close(&s.signal_fd);
	fd_close(&s.proc_fd);
	fd_close(&s.root_fd);
	orield_janitor_finish();
	return r;
}

/* On stderr, unless whoever started us reads it from the ready descriptor. */
static void complain(const struct orield_options *opt,
		     const struct orield_error *err)
{
	if (opt->ready_fd < 0)
		fprintf(stderr, "orield: %s\n", err->text);
}

/* What is needed to say anything. */
static int start(const struct orield_options *opt, struct orield_error *err)
{
	int r;

	close_others(opt);
	r = orield_log_start(opt, err);
	if (r)
		return r;
	/* of one client only: what systemd started is not us but that client */
	if (opt->connected_fd < 0)
		orield_notify_start();
	return opt->daemonize ? orield_daemonize_start(err) : 0;
}

/* The exit status. */
static int start_and_run(const struct orield_options *opt,
			 struct orield_error *err)
{
	if (start(opt, err)) {
		complain(opt, err);
		orield_report_error(opt->ready_fd, -EINVAL, err->text);
		return 1;
	}
	if (run(opt, err)) {
		complain(opt, err);
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct orield_options opt;
	struct orield_error err = { "" };
	int status;

	switch (orield_options_parse(&opt, argc, argv, &err)) {
	case ORIELD_PARSE_DONE:
		status = fflush(stdout) ? 1 : 0;
		break;
	case ORIELD_PARSE_BAD:
		complain(&opt, &err);
		orield_report_error(opt.ready_fd, -EINVAL, err.text);
		status = 2;
		break;
	default:
		status = start_and_run(&opt, &err);
		break;
	}
	orield_options_free(&opt);
	return status;
}
