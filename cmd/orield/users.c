/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --uid-map and --gid-map: who is who in the user name space of the sandbox.
 *
 * A process that has just made a user name space cannot say who is in it:
 * somebody outside must. That is a child forked before, which waits until the
 * space is there and then writes the maps itself, if we were privileged, or has
 * newuidmap(1) and newgidmap(1) write what /etc/subuid allows. One's own user
 * and group alone need nobody's help.
 */
#include "orield.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

#define RANGES ARRAY_LEN(((struct orield_id_ranges *)NULL)->range)
/* three numbers and separators */
#define LINE_MAX_LEN 36u

int orield_write_file(const char *path, const char *text)
{
	ssize_t len = (ssize_t)strlen(text);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int r = 0;

	if (fd < 0)
		return -errno;
	errno = 0;
	if (write(fd, text, (size_t)len) != len)
		r = errno ? -errno : -EIO;
	close(fd);
	return r;
}

static bool is_own(const struct orield_id_ranges *ids, uint32_t own)
{
	return ids->n == 1 && ids->range[0].count == 1 &&
	       ids->range[0].outside == own;
}

static int write_ranges(pid_t pid, const char *name,
			const struct orield_id_ranges *ids)
{
	char text[RANGES * LINE_MAX_LEN];
	char path[64];
	size_t len = 0;
	unsigned i;

	for (i = 0; i < ids->n; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"%u %u %u\n", ids->range[i].inside,
					ids->range[i].outside,
					ids->range[i].count);
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return orield_write_file(path, text);
}

/* Only in a process of its own: becomes @tool PID INSIDE OUTSIDE COUNT... */
static void exec_tool(const char *tool, pid_t pid,
		      const struct orield_id_ranges *ids)
{
	char words[3 * RANGES + 1][12];
	char *argv[3 * RANGES + 3];
	size_t n = 0;
	unsigned i;

	argv[0] = (char *)(uintptr_t)tool;
	snprintf(words[n++], sizeof(words[0]), "%d", (int)pid);
	for (i = 0; i < ids->n; i++) {
		snprintf(words[n++], sizeof(words[0]), "%u",
			 ids->range[i].inside);
		snprintf(words[n++], sizeof(words[0]), "%u",
			 ids->range[i].outside);
		snprintf(words[n++], sizeof(words[0]), "%u",
			 ids->range[i].count);
	}
	for (i = 0; i < n; i++)
		argv[i + 1] = words[i];
	argv[n + 1] = NULL;
	execvp(tool, argv);
	_exit(127);
}

/* 0, or the tool's exit status. */
static int run_tool(const char *tool, pid_t pid,
		    const struct orield_id_ranges *ids)
{
	pid_t child = fork();
	int status;

	if (child == 0)
		exec_tool(tool, pid, ids);
	while (child > 0 && waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return 126;
	}
	if (child < 0 || !WIFEXITED(status))
		return 126;
	return WEXITSTATUS(status);
}

/* In the helper; its exit status: an errno, or 200 for a tool that failed. */
static int help(const struct orield_users *users, pid_t pid, bool privileged)
{
	int r;

	if (privileged) {
		r = write_ranges(pid, "uid_map", users->uids);
		if (!r)
			r = write_ranges(pid, "gid_map", users->gids);
		return -r;
	}
	if (run_tool("newuidmap", pid, users->uids) ||
	    run_tool("newgidmap", pid, users->gids))
		return 200;
	return 0;
}

int orield_users_start(struct orield_users *users, struct orield_error *err)
{
	pid_t pid = getpid();
	bool privileged = orield_have_cap(CAP_SETUID) &&
			  orield_have_cap(CAP_SETGID);
	int p[2];
	char c;

	users->own = !privileged && is_own(users->uids, geteuid()) &&
		     is_own(users->gids, getegid());
	if (users->own)
		return 0;
	if (pipe2(p, O_CLOEXEC))
		return orield_fail(err, -errno, "cannot make a pipe: %s",
				   strerror(errno));
	users->helper = fork();
	if (users->helper == 0) {
		close(p[1]);
		if (read(p[0], &c, 1) != 1)
			_exit(0); /* there will be no name space */
		_exit(help(users, pid, privileged));
	}
	close(p[0]);
	if (users->helper < 0) {
		close(p[1]);
		return orield_fail(err, -EAGAIN, "cannot fork");
	}
	users->pipe = p[1];
	return 0;
}

/* Without help: our own user and group, who then may not change groups. */
static int map_self(const struct orield_users *users)
{
	int r = orield_write_file("/proc/self/setgroups", "deny");

	if (!r)
		r = write_ranges(getpid(), "uid_map", users->uids);
	if (!r)
		r = write_ranges(getpid(), "gid_map", users->gids);
	return r;
}

int orield_users_finish(struct orield_users *users, bool made,
			struct orield_error *err)
{
	int status = 0;
	int r;

	if (users->own) {
		r = made ? map_self(users) : 0;
		return r ? orield_fail(err, r, "cannot map the own user: %s",
				       strerror(-r)) : 0;
	}
	if (made && write(users->pipe, "", 1) != 1)
		status = EPIPE;
	fd_close(&users->pipe);
	while (waitpid(users->helper, &status, 0) < 0) {
		if (errno != EINTR)
			return orield_fail(err, -errno, "lost the helper");
	}
	if (!made || !status)
		return 0;
	if (!WIFEXITED(status) || WEXITSTATUS(status) == 200)
		return orield_fail(err, -EPERM, "newuidmap or newgidmap failed:"
				   " do /etc/subuid and /etc/subgid allow"
				   " --uid-map and --gid-map?");
	return orield_fail(err, -WEXITSTATUS(status), "cannot write the maps of"
			   " the user name space: %s",
			   strerror(WEXITSTATUS(status)));
}

int orield_users_become_root(struct orield_error *err)
{
	if (setresgid(0, 0, 0) || setresuid(0, 0, 0))
		return orield_fail(err, -errno, "cannot become user 0 of the"
				   " user name space: %s", strerror(errno));
	return 0;
}
