/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The session of a job. fio asks for sizes and for files to be made in its main
 * process, then forks (or starts a thread), then calls init(). So there are two
 * sessions one after the other: one for set-up, which is ended before fio goes
 * on, and the job's own. One that was inherited is neither used nor freed.
 */
#include "oriel.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

struct share *share_of(struct thread_data *td)
{
	struct share *sh = td->io_ops_data;

	return sh && sh->pid == getpid() ? sh : NULL;
}

int share_fail(struct thread_data *td, const char *what, const char *name,
	       int err)
{
	struct share *sh = share_of(td);
	const char *why = sh ? oriel_session_error(sh->s) : "";

	log_err("oriel: %s: cannot %s %s: %s\n", td->o.name, what, name,
		*why ? why : oriel_strerror(err));
	td_verror(td, -err, what);
	return -err;
}

/* All threads of the daemon onto one processor. */
static int pin_daemon(pid_t pid, int cpu)
{
	char path[64];
	struct dirent *e;
	cpu_set_t set;
	int err = 0;
	DIR *d;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	d = opendir(path);
	if (!d)
		return -errno;
	while (!err && (e = readdir(d)))
		if (e->d_name[0] != '.' &&
		    sched_setaffinity(atoi(e->d_name), sizeof(set), &set))
			err = -errno;
	closedir(d);
	return err;
}

static int place_daemon(struct thread_data *td, struct oriel_session *s)
{
	const struct share_opts *o = td->eo;
	struct oriel_info info = { .size = sizeof(info) };
	int err;

	if (o->daemon_cpu < 0)
		return 0;
	err = oriel_info(s, &info);
	if (!err && !info.daemon_pid)
		err = -ESRCH;
	if (!err)
		err = pin_daemon((pid_t)info.daemon_pid, o->daemon_cpu);
	if (err) {
		log_err("oriel: %s: daemon_cpu=%d: %s\n", td->o.name,
			o->daemon_cpu, oriel_strerror(err));
		td_verror(td, -err, "daemon_cpu");
	}
	return err;
}

/* Sentences about the share begin with its name; once is enough. */
static const char *after_name(const char *why, const char *name)
{
	size_t len = strlen(name);

	return strncmp(why, name, len) || strncmp(why + len, ": ", 2) ?
		       why : why + len + 2;
}

static int share_connect(struct thread_data *td, struct oriel_session **ret)
{
	const struct share_opts *o = td->eo;
	struct oriel_options opts = {
		.size = sizeof(opts),
		.dax = (enum oriel_dax_mode)o->dax,
		.sandbox = (enum oriel_sandbox)o->sandbox,
		.window_bytes = o->window,
		.range_bytes = o->range,
		.timeout_ms = o->timeout_ms,
		.poll_us = o->poll_us < 0 ? 0 :
			   o->poll_us ? (uint32_t)o->poll_us : ORIEL_NO_POLL,
		.daemon_path = o->daemon,
	};
	const char *why;
	int err;

	if (!o->share) {
		log_err("oriel: %s: share= is missing: a directory, or the "
			"socket of a virtio-fs daemon\n", td->o.name);
		td_verror(td, EINVAL, "share");
		return -EINVAL;
	}
	err = oriel_connect(o->share, &opts, ret);
	if (!err)
		return 0;
	why = oriel_connect_error();
	log_err("oriel: %s: share=%s: %s\n", td->o.name, o->share,
		*why ? after_name(why, o->share) : oriel_strerror(err));
	/* ENOENT would be a file that is not there, which is nothing to fio. */
	err = err == -ENOENT ? -ENOTCONN : err;
	td_verror(td, -err, "connect");
	return err;
}

int share_get(struct thread_data *td, bool for_setup, struct share **ret)
{
	struct share *sh = share_of(td);
	int err;

	if (sh) {
		*ret = sh;
		return 0;
	}
	sh = calloc(1, sizeof(*sh));
	if (!sh) {
		td_verror(td, ENOMEM, "share");
		return ENOMEM;
	}
	err = share_connect(td, &sh->s);
	if (!err)
		err = place_daemon(td, sh->s);
	if (err) {
		oriel_disconnect(sh->s);
		free(sh);
		return -err;
	}
	sh->pid = getpid();
	sh->for_setup = for_setup;
	td->io_ops_data = sh;
	*ret = sh;
	return 0;
}

void share_put(struct thread_data *td)
{
	struct share *sh = share_of(td);

	if (!sh)
		return;
	oriel_disconnect(sh->s);
	free(sh);
	td->io_ops_data = NULL;
}
