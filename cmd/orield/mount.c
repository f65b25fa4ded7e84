/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The share mounted on this machine, --mount=DIR: what is done before the door
 * shuts. The directory is looked at, /dev/fuse opened and mounted, and each
 * thread's descriptor made, because inside the sandbox there is neither
 * /dev/fuse nor the right to mount.
 *
 * Nor to unmount: a child process stays outside, sleeps on a pipe whose other
 * end is ours, and unmounts when that closes, also by SIGKILL. It does so only
 * while what is mounted there is the mount we made.
 */
#include "orield.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "fusedev/broker.h"
#include "fusedev/dev.h"
#include "mount.h"

#define FUSE_MAGIC 0x65735546

/* Which mount is at @path; nothing is asked of a FUSE server for it. */
static int mount_id(const char *path, uint64_t *ret, bool *ret_is_mount)
{
	struct statx stx;

	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT,
		  STATX_MNT_ID, &stx))
		return -errno;
	*ret = stx.stx_mask & STATX_MNT_ID ? stx.stx_mnt_id : 0;
	*ret_is_mount = stx.stx_attributes & STATX_ATTR_MOUNT_ROOT;
	return 0;
}

/* ------------------------------------------------------------- refusals */

/* Is @path @dir, or below it? Both are resolved. */
static bool is_inside(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	if (!strcmp(dir, "/"))
		return true;
	return !strncmp(path, dir, n) && (!path[n] || path[n] == '/');
}

/* We would wait for ourselves as soon as the share is walked. */
static int check_apart(const struct orield_options *opt, const char *dir,
		       struct orield_error *err)
{
	char *share = realpath(opt->shared_dir, NULL);
	int r = 0;

	if (!share)
		return orield_fail(err, -errno, "%s: %s", opt->shared_dir,
				   strerror(errno));
	if (is_inside(dir, share))
		r = orield_fail(err, -EINVAL, "--mount: %s is inside the shared"
				" directory %s", dir, share);
	else if (is_inside(share, dir))
		r = orield_fail(err, -EINVAL, "--mount: the shared directory %s"
				" is inside %s", share, dir);
	free(share);
	return r;
}

static int check_free(const char *dir, struct orield_error *err)
{
	bool is_mount = false;
	struct statfs sf;
	uint64_t id;
	int r = mount_id(dir, &id, &is_mount);

	if (!r && is_mount && !statfs(dir, &sf) && sf.f_type == FUSE_MAGIC)
		r = -EBUSY;
	if (r)
		return orield_fail(err, r, "--mount: something is mounted at %s"
				   " already (%s)", dir, strerror(-r));
	return 0;
}

static int check_dir(const struct orield_options *opt, char **ret,
		     struct orield_error *err)
{
	char *dir = realpath(opt->mount_dir, NULL);
	struct stat st;
	int r;

	if (!dir)
		return orield_fail(err, -errno, errno == ENOTCONN ?
				   "--mount: a dead mount is in the way at %s"
				   " (%s): fusermount3 -u" :
				   "--mount: %s: %s", opt->mount_dir,
				   strerror(errno));
	r = check_apart(opt, dir, err);
	if (!r)
		r = check_free(dir, err);
	if (!r && stat(dir, &st))
		r = orield_fail(err, -errno, "--mount: %s: %s", dir,
				strerror(errno));
	if (!r && !S_ISDIR(st.st_mode))
		r = orield_fail(err, -ENOTDIR, "--mount: %s is not a directory",
				dir);
	if (r)
		free(dir);
	else
		*ret = dir;
	return r;
}

/* -------------------------------------------------------------- janitor */

static bool is_ours(const struct orield_mount *m)
{
	bool is_mount = false;
	uint64_t id;

	return !mount_id(m->dir, &id, &is_mount) && is_mount &&
	       id == m->mount_id;
}

/* Write back what programs have mapped, then cut off whoever is still there. */
static void unmount_busy(const struct orield_mount *m)
{
	int fd = open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0) {
		(void)syncfs(fd);
		close(fd);
	}
	if (umount2(m->dir, MNT_FORCE | MNT_DETACH))
		log_warn("cannot unmount %s: %s", m->dir, strerror(errno));
}

/* False: it is still there, or somebody else's business by now. */
static bool unmount(const struct orield_mount *m)
{
	if (!is_ours(m))
		return false;
	if (m->by_helper)
		return !fuse_dev_unmount_helper(m->dir, false) ||
		       !fuse_dev_unmount_helper(m->dir, true);
	if (umount2(m->dir, UMOUNT_NOFOLLOW))
		unmount_busy(m);
	return true;
}

static void janitor_run(const struct orield_mount *m, int pipe_fd)
{
	char c;

	/* ^C goes to the whole group; we end when the daemon has. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	prctl(PR_SET_NAME, "orield-umount");
	while (read(pipe_fd, &c, 1) < 0 && errno == EINTR)
		;
	_exit(unmount(m) ? 0 : 1);
}

static int janitor_start(struct orield_mount *m, int listen_fd)
{
	int p[2];
	int r;

	if (pipe2(p, O_CLOEXEC))
		return -errno;
	m->janitor = fork();
	if (m->janitor == 0) {
		/* a descriptor of ours would keep the mount alive */
		fd_close_all(m->fds, m->n_threads);
		fd_close(&listen_fd);
		orield_outsider_start();
		close(p[1]);
		janitor_run(m, p[0]);
	}
	r = m->janitor < 0 ? -errno : 0;
	close(p[0]);
	if (r)
		close(p[1]);
	else
		m->janitor_pipe = p[1];
	return r;
}

bool orield_mount_remove(struct orield_mount *m)
{
	int status = 0;

	if (m->janitor_pipe < 0)
		return true;
	fd_close(&m->janitor_pipe);
	while (waitpid(m->janitor, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

/* ---------------------------------------------------------------- mount */

static int mount_by_helper(struct orield_mount *m,
			   const struct fuse_dev_mount *how)
{
	int r = fuse_dev_mount_helper(how, &m->fds[0]);

	m->by_helper = !r;
	return r;
}

/* As ourselves. */
static int mount_by_call(struct orield_mount *m,
			 const struct fuse_dev_mount *how)
{
	int r = fuse_dev_open(&m->fds[0]);

	if (r)
		return r;
	r = fuse_dev_mount(m->fds[0], how);
	if (r)
		fd_close(&m->fds[0]);
	return r;
}

static int mount_here(struct orield_mount *m, const struct orield_options *opt,
		      struct orield_error *err)
{
	const struct fuse_dev_mount how = {
		.dir = m->dir,
		.readonly = opt->readonly,
		.allow_other = geteuid() == 0,
	};
	int r = mount_by_call(m, &how);

	if (r == -ENOENT || r == -ENODEV || r == -ENXIO)
		return orield_fail(err, r, "--mount: no /dev/fuse: %s",
				   strerror(-r));
	if (r == -EPERM || r == -EACCES) {
		r = mount_by_helper(m, &how);
		if (r == -ENOENT)
			return orield_fail(err, -EPERM, "--mount: not allowed"
					   " to mount, and there is no"
					   " fusermount3 (package fuse3)");
	}
	if (r)
		return orield_fail(err, r, "--mount: cannot mount at %s: %s",
				   m->dir, strerror(-r));
	m->n_threads = 1;
	return 0;
}

/*
 * One descriptor a thread: with one for all they wait for one another, which
 * is what users get who may not open /dev/fuse.
 */
static void clone_all(struct orield_mount *m)
{
	while (m->n_threads < ORIELD_MOUNT_THREADS) {
		int *fd = &m->fds[m->n_threads];

		if (fuse_dev_clone(m->fds[0], fd)) {
			*fd = fcntl(m->fds[0], F_DUPFD_CLOEXEC, 3);
			if (*fd < 0)
				return;
		}
		m->n_threads++;
	}
}

static int mount_all(struct orield_mount *m, const struct orield_options *opt,
		     int listen_fd, struct orield_error *err)
{
	bool is_mount = false;
	int r = check_dir(opt, &m->dir, err);

	if (!r)
		r = mount_here(m, opt, err);
	if (r)
		return r;
	if (mount_id(m->dir, &m->mount_id, &is_mount))
		log_warn("%s may stay mounted when this ends", m->dir);
	clone_all(m);
	r = janitor_start(m, listen_fd);
	if (r) {
		(void)unmount(m);
		return orield_fail(err, r, "--mount: cannot start a process:"
				   " %s", strerror(-r));
	}
	return 0;
}

/* Without it all works, slower. */
static void start_broker(struct orield_mount *m,
			 const struct orield_options *opt)
{
	const struct fuse_broker_config cfg = {
		.dev = m->fds[0],
		.confine = orield_confine_broker,
		.ctx = (void *)(uintptr_t)opt,
	};
	int r = fuse_broker_start(&cfg, &m->broker);

	if (r)
		log_info("mount: no passthrough: %s", strerror(-r));
}

int orield_mount_new(const struct orield_options *opt, int listen_fd,
		     struct orield_mount **ret, struct orield_error *err)
{
	struct orield_mount *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return orield_fail(err, -ENOMEM, "--mount: no memory");
	m->janitor_pipe = -1;
	m->done_fd = -1;
	m->notify = opt->notify;
	r = mount_all(m, opt, listen_fd, err);
	/* after the fork above, which must not have a descriptor of ours */
	if (!r && opt->passthrough && !m->by_helper)
		start_broker(m, opt);
	if (r)
		orield_mount_free(m);
	else
		*ret = m;
	return r;
}

void orield_mount_free(struct orield_mount *m)
{
	if (!m)
		return;
	(void)orield_mount_remove(m);
	fuse_broker_stop(m->broker);
	fd_close_all(m->fds, m->n_threads);
	fd_close(&m->done_fd);
	free(m->dir);
	free(m);
}
