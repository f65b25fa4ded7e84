/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The listening sockets, and who removes their files.
 *
 * Inside the sandbox the socket's file is out of reach, and a descriptor of its
 * directory would be a way out. So a child process that does nothing else
 * stays outside: it sleeps on a pipe whose other end is ours, and when that
 * closes, also by SIGKILL, it removes each file if it is still the one we made.
 */
#include "orield.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

#define BACKLOG 64

/* Sockets of ours, for the janitor. The main thread's. */
static struct made {
	char *path; /* resolved */
	struct stat st;
} made[ORIELD_SHARES_MAX];
static unsigned n_made;

static int janitor_pipe = -1;
static pid_t janitor_pid = -1;

static int fill_addr(const char *path, struct sockaddr_un *ret,
		     struct orield_error *err)
{
	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(ret->sun_path))
		return orield_fail(err, -ENAMETOOLONG,
				   "socket path %s is longer than %zu bytes",
				   path, sizeof(ret->sun_path) - 1);
	strcpy(ret->sun_path, path);
	return 0;
}

/* Is there a daemon behind the file at @addr? */
static bool is_alive(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (fd < 0)
		return true;
	r = connect(fd, (const struct sockaddr *)addr, sizeof(*addr));
	/* EAGAIN: its backlog is full; EACCES: not ours to judge */
	r = r ? errno : 0;
	close(fd);
	return r != ECONNREFUSED && r != ENOENT;
}

/* The name is taken: make way if what holds it is dead. */
static int remove_stale(const struct sockaddr_un *addr,
			struct orield_error *err)
{
	struct stat st;

	if (lstat(addr->sun_path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return orield_fail(err, -EEXIST,
				   "%s exists and is not a socket",
				   addr->sun_path);
	if (is_alive(addr))
		return orield_fail(err, -EADDRINUSE, "another process listens"
				   " on %s", addr->sun_path);
	if (unlink(addr->sun_path) && errno != ENOENT)
		return orield_fail(err, -errno, "cannot remove the stale socket"
				   " %s: %s", addr->sun_path, strerror(errno));
	log_info("replaced the stale socket %s", addr->sun_path);
	return 0;
}

static int bind_at(int fd, const struct sockaddr_un *addr,
		   struct orield_error *err)
{
	int r;

	if (!bind(fd, (const struct sockaddr *)addr, sizeof(*addr)))
		return 0;
	if (errno == EADDRINUSE) {
		r = remove_stale(addr, err);
		if (r)
			return r;
		if (!bind(fd, (const struct sockaddr *)addr, sizeof(*addr)))
			return 0;
	}
	return orield_fail(err, -errno, "cannot create the socket %s: %s",
			   addr->sun_path, strerror(errno));
}

static int give_to_group(const char *path, const char *group,
			 struct orield_error *err)
{
	struct group *gr = getgrnam(group);

	if (!gr)
		return orield_fail(err, -EINVAL, "there is no group '%s'",
				   group);
	if (chown(path, (uid_t)-1, gr->gr_gid) || chmod(path, 0660))
		return orield_fail(err, -errno, "cannot give %s to group %s:"
				   " %s", path, group, strerror(errno));
	return 0;
}

static int listen_at(const struct orield_options *opt, int *ret_fd,
		     struct orield_error *err)
{
	struct sockaddr_un addr;
	mode_t mask;
	int fd;
	int r = fill_addr(opt->socket_path, &addr, err);

	if (!r)
		r = orield_pidfile_make(opt->socket_path, err);
	if (r)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		r = orield_fail(err, -errno, "cannot make a socket: %s",
				strerror(errno));
		goto err_pidfile;
	}
	mask = umask(0177);
	r = bind_at(fd, &addr, err);
	umask(mask);
	if (r)
		goto err_close;
	/* at once: who waits for the name to appear connects now */
	if (listen(fd, BACKLOG))
		r = orield_fail(err, -errno, "cannot listen on %s: %s",
				opt->socket_path, strerror(errno));
	if (!r && opt->socket_group)
		r = give_to_group(opt->socket_path, opt->socket_group, err);
	if (r)
		goto err_unlink;
	*ret_fd = fd;
	return 0;

err_unlink:
	unlink(opt->socket_path);
err_close:
	close(fd);
err_pidfile:
	orield_pidfile_drop(opt->socket_path);
	return r;
}

/* A descriptor somebody else has bound and is listening on. */
static int check_listening(int fd, struct orield_error *err)
{
	int on = 0;
	socklen_t len = sizeof(on);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len))
		return orield_fail(err, -errno, "--fd=%d: %s", fd,
				   strerror(errno));
	if (!on)
		return orield_fail(err, -EINVAL, "--fd=%d is not listening;"
				   " for a connected socket use --connected-fd",
				   fd);
	/* who shares it may take the client that we were told of */
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) ||
	    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK))
		return orield_fail(err, -errno, "--fd=%d: %s", fd,
				   strerror(errno));
	return 0;
}

int orield_listen(const struct orield_options *opt, int *ret_fd,
		  struct orield_error *err)
{
	int r;

	if (opt->socket_path)
		return listen_at(opt, ret_fd, err);
	r = check_listening(opt->listen_fd, err);
	if (!r)
		*ret_fd = opt->listen_fd;
	return r;
}

/* ---------------------------------------------------------------- janitor */

int orield_janitor_add(const char *socket_path)
{
	struct made *m = &made[n_made];
	char *path;

	if (n_made == ARRAY_LEN(made))
		return -E2BIG;
	path = realpath(socket_path, NULL);
	if (!path)
		return -errno;
	if (lstat(path, &m->st)) {
		free(path);
		return -errno;
	}
	m->path = path;
	n_made++;
	return 0;
}

static void janitor_remove(const struct made *m)
{
	struct stat st;

	/* the socket last: who sees it gone sees all of it gone */
	orield_pidfile_remove(m->path);
	if (!lstat(m->path, &st) && st.st_dev == m->st.st_dev &&
	    st.st_ino == m->st.st_ino)
		unlink(m->path);
}

static void janitor_run(int pipe_fd)
{
	unsigned i;
	char c;

	/* ^C goes to the whole group; we end when the daemon has. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	prctl(PR_SET_NAME, "orield-janitor");
	while (read(pipe_fd, &c, 1) < 0 && errno == EINTR)
		;
	for (i = 0; i < n_made; i++)
		janitor_remove(&made[i]);
	_exit(0);
}

/* The names are the child's business from now on. */
static void forget_made(void)
{
	while (n_made)
		free(made[--n_made].path);
}

int orield_janitor_start(int *close_fds, unsigned n_close)
{
	int p[2];
	int r;

	if (pipe2(p, O_CLOEXEC)) {
		r = -errno;
		forget_made();
		return r;
	}
	janitor_pid = fork();
	if (janitor_pid == 0) {
		fd_close_all(close_fds, n_close);
		orield_outsider_start();
		close(p[1]);
		janitor_run(p[0]);
	}
	r = janitor_pid < 0 ? -errno : 0;
	close(p[0]);
	if (r)
		close(p[1]);
	else
		janitor_pipe = p[1];
	forget_made();
	return r;
}

void orield_janitor_finish(void)
{
	if (janitor_pipe < 0)
		return;
	orield_pidfile_release();
	fd_close(&janitor_pipe);
	while (waitpid(janitor_pid, NULL, 0) < 0 && errno == EINTR)
		;
}
