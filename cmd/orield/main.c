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
	struct orield_shares shares;
	int proc_fd;
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
	int keep[ORIELD_SHARES_MAX + 3] = { opt->listen_fd, opt->connected_fd,
					    opt->ready_fd };
	unsigned from = STDERR_FILENO + 1;
	unsigned n = 3;
	unsigned i;

	for (i = 0; i < opt->n_shares; i++)
		keep[n++] = opt->shares[i].listen_fd;
	for (;;) {
		unsigned next = UINT_MAX;

		for (i = 0; i < n; i++) {
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

static int open_all(const struct orield_options *opt, struct setup *s,
		    struct orield_error *err)
{
	int r = orield_shares_open(opt, &s->shares, err);

	if (r)
		return r;
	s->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->proc_fd < 0)
		return orield_fail(err, -errno, "cannot open /proc/self/fd: %s",
				   strerror(errno));
	return 0;
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
		.shares = &s->shares,
		.proc_fd = &s->proc_fd,
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
		r = orield_seccomp_start(opt->seccomp,
					 orield_file_handles(opt), err);
	return r;
}

/* What has to be done before the door is shut. */
static int prepare_outside(const struct orield_options *opt, struct setup *s,
			   struct orield_error *err)
{
	int more_fds[2];
	int r = open_all(opt, s, err);

	if (r)
		return r;
	s->signal_fd = orield_signals();
	if (s->signal_fd < 0)
		return orield_fail(err, s->signal_fd, "cannot take signals");
	if (orield_guard_start())
		return orield_fail(err, -errno, "cannot take SIGBUS");
	signal(SIGPIPE, SIG_IGN);
	umask(0);
	more_fds[0] = s->proc_fd;
	more_fds[1] = opt->ready_fd;
	r = orield_shares_listen(&s->shares, more_fds, err);
	if (!r && opt->mount_dir)
		r = orield_mount_new(opt, s->shares.v[0].listen_fd, &s->mount,
				     err);
	if (!r)
		orield_guest_prepare(opt, &s->guest);
	return r;
}

static int prepare(const struct orield_options *opt, struct setup *s,
		   struct orield_error *err)
{
	pid_t parent = getppid();
	int r = prepare_outside(opt, s, err);

	if (!r)
		r = shut_door(opt, s, parent, err);
	if (r)
		return r;
	orield_guest_start(opt, &s->guest);
	r = orield_shares_make(&s->shares, s->proc_fd, &s->guest, err);
	if (!r && s->mount) {
		r = orield_mount_start(s->mount, s->shares.v[0].server);
		if (r)
			orield_fail(err, r, "--mount: %s", strerror(-r));
	}
	return r;
}

/* Only a mount of our own is nosuid; see docs/design/threat-model.md. */
static void warn_of_root(const struct orield_options *opt, const char *sandbox)
{
	if (geteuid() == 0 && !orield_all_readonly(opt) &&
	    strcmp(sandbox, "namespace") != 0)
		log_warn("root with sandbox %s: a client on this machine can "
			 "make a set-uid file and run it through a descriptor; "
			 "use --sandbox=namespace, --readonly or another user",
			 sandbox);
}

static void say_ready(const struct orield_options *opt, const struct setup *s)
{
	unsigned i;

	warn_of_root(opt, s->sandbox);
	for (i = 0; i < s->shares.n; i++) {
		const struct orield_options *one = s->shares.v[i].opt;

		orield_log_about(orield_share_name(&s->shares.v[i]));
		log_info("sharing %s%s, sandbox %s, tag %s, window %llu MiB",
			 one->shared_dir, one->readonly ? " read-only" : "",
			 s->sandbox, one->tag,
			 (unsigned long long)(one->window_bytes >> 20));
	}
	orield_log_about(NULL);
	orield_report_ready(opt->ready_fd, s->sandbox);
	orield_notify("READY=1");
	orield_daemonize_ready();
}

static int serve(const struct orield_options *opt, struct setup *s,
		 struct orield_error *err)
{
	int r = 0;

	say_ready(opt, s);
	if (s->mount && s->shares.v[0].listen_fd < 0 && opt->connected_fd < 0)
		orield_mount_wait(s->mount, opt, s->shares.v[0].server,
				  s->signal_fd);
	else
		r = orield_serve(opt, &s->shares, s->signal_fd, &s->guest);
	if (r)
		orield_fail(err, r, "cannot serve: %s", strerror(-r));
	orield_notify("STOPPING=1");
	return r;
}

static int run(const struct orield_options *opt, struct orield_error *err)
{
	struct setup s = { { NULL, 0 }, -1, -1, "none", NULL,
			   { NULL, false, NULL } };
	int r = prepare(opt, &s, err);

	if (r)
		orield_report_error(opt->ready_fd, r, err->text);
	else
		r = serve(opt, &s, err);
	if (s.mount)
		orield_mount_end(s.mount);
	orield_mount_free(s.mount);
	orield_shares_done(&s.shares);
	orield_guest_done(&s.guest);
	fd_close(&s.signal_fd);
	fd_close(&s.proc_fd);
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
