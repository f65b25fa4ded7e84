/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Locking the daemon in. The server itself never resolves more than one path
 * component at a time; the sandbox is for the day it has a bug.
 *
 *   namespace  own mount, network and IPC name spaces (and, without
 *              privileges, a user name space); the share becomes the root and
 *              everything else is unmounted: there is nothing to reach. The
 *              share is mounted nosuid and nodev, and read-only if it is meant
 *              to be: clients that map a file are passed a descriptor of it,
 *              which they could execute, or open again for writing through
 *              /proc, as far as their own user may. The mount travels with
 *              the descriptor and forbids both; nothing else can.
 *              Of several shares none can be the root: each becomes a mount
 *              that is attached nowhere, so that ".." at its top leads to
 *              itself, and the root is an empty folder. What is mounted below
 *              such a share after the daemon started is not seen.
 *   chroot     the share becomes the root; needs CAP_SYS_CHROOT, which is
 *              dropped right after, so there is no way back. It holds one
 *              share only.
 *   none       the process's own rights are all that holds it.
 *
 * Then, in every case: file limit, capabilities down to those that acting for
 * the clients' users takes, no_new_privs, seccomp. All this runs while the
 * process has one thread; threads inherit it.
 *
 * Descriptors opened before (share, listening socket, /proc/self/fd) are what
 * the daemon works with inside. The last one points outside; with name spaces
 * it becomes a mount of that one folder, which has no parent.
 */
#include "orield.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Only our own user exists in the new user name space, under its own number. */
static int map_own_user(uid_t uid, gid_t gid)
{
	char line[64];
	int r = orield_write_file("/proc/self/setgroups", "deny");

	if (r && r != -ENOENT)
		return r;
	snprintf(line, sizeof(line), "%u %u 1", uid, uid);
	r = orield_write_file("/proc/self/uid_map", line);
	if (r)
		return r;
	snprintf(line, sizeof(line), "%u %u 1", gid, gid);
	return orield_write_file("/proc/self/gid_map", line);
}

/* mount_attr of mount_setattr(2); libc may be older than it. */
struct attr_change {
	uint64_t set;
	uint64_t clear;
	uint64_t propagation;
	uint64_t userns_fd;
};

#define ATTR_RDONLY 1u
#define ATTR_NOSUID 2u
#define ATTR_NODEV 4u
#define AT_RECURSIVE_TREE 0x8000
#define TREE_CLONE 1u

/* What is mounted at @path of @fd, with all that is mounted below. */
static int restrict_mounts(int fd, const char *path, bool readonly)
{
	struct attr_change change = {
		.set = ATTR_NOSUID | ATTR_NODEV |
		       (readonly ? ATTR_RDONLY : 0),
	};

	if (syscall(SYS_mount_setattr, fd, path,
		    AT_RECURSIVE_TREE | (*path ? 0 : AT_EMPTY_PATH), &change,
		    sizeof(change)))
		return -errno;
	return 0;
}

static void restrict_share(int fd, const char *path, bool readonly)
{
	int r = restrict_mounts(fd, path, readonly);

	if (r)
		log_warn("the share is not mounted nosuid%s: %s",
			 readonly ? " and read-only" : "", strerror(-r));
}

/* A mount of /proc/self/fd alone: ".." leads nowhere. */
static void confine_proc(int *proc_fd)
{
	int fd = (int)syscall(SYS_open_tree, AT_FDCWD, "/proc/self/fd",
			      TREE_CLONE | O_CLOEXEC);

	if (fd < 0) {
		log_info("/proc keeps its parent: %s", strerror(errno));
		return;
	}
	close(*proc_fd);
	*proc_fd = fd;
}

/* The mount at @path becomes the root; the old root goes. */
static int pivot(const char *path)
{
	if (chdir(path))
		return -errno;
	if (syscall(SYS_pivot_root, ".", "."))
		return -errno;
	if (umount2(".", MNT_DETACH) || chdir("/"))
		return -errno;
	return 0;
}

/* The share, mounted on itself, becomes the root. */
static int pivot_into(const char *share_path, bool readonly)
{
	if (mount(share_path, share_path, NULL, MS_BIND | MS_REC, NULL))
		return -errno;
	restrict_share(AT_FDCWD, share_path, readonly);
	/* by path once more: the descriptor is below the new mount */
	return pivot(share_path);
}

/* @fd, or -errno, takes the place of *@root_fd, if it is the same directory. */
static int replace_root(int *root_fd, int fd)
{
	struct stat before;
	struct stat now;

	if (fd < 0)
		return fd;
	if (fstat(*root_fd, &before) || fstat(fd, &now) ||
	    before.st_dev != now.st_dev || before.st_ino != now.st_ino) {
		close(fd);
		return -EXDEV;
	}
	close(*root_fd);
	*root_fd = fd;
	return 0;
}

/* After the root has changed: the same directory, opened inside. */
static int reopen_root(int *root_fd)
{
	int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return replace_root(root_fd, fd < 0 ? -errno : fd);
}

static int fd_path(int fd, char *buf, size_t size)
{
	char link[32];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, buf, size - 1);
	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

static int make_spaces(const struct orield_doors *doors, int flags,
		       struct orield_error *err)
{
	struct orield_users users = {
		.uids = doors->uid_map,
		.gids = doors->gid_map,
		.pipe = -1,
	};
	bool maps = doors->uid_map && doors->uid_map->n;
	int r = maps ? orield_users_start(&users, err) : 0;
	int r2;

	if (r)
		return r;
	if (unshare(flags))
		r = orield_fail(err, -errno, "cannot make name spaces: %s",
				strerror(errno));
	if (!maps)
		return r;
	r2 = orield_users_finish(&users, !r, err);
	return r ? r : r2;
}

/* The only share becomes the root. */
static int enter_one(struct orield_share *share, struct orield_error *err)
{
	char path[4096];
	int r = fd_path(share->root_fd, path, sizeof(path));

	if (!r)
		r = pivot_into(path, share->opt->readonly);
	if (!r)
		r = reopen_root(&share->root_fd);
	if (r)
		return orield_fail(err, r, "cannot make %s the root: %s",
				   share->opt->shared_dir, strerror(-r));
	return 0;
}

/* @share becomes a mount that is attached nowhere. */
static int detach(struct orield_share *share, struct orield_error *err)
{
	char path[4096];
	int r = fd_path(share->root_fd, path, sizeof(path));
	int fd;

	if (!r) {
		/* by path: the descriptor's mount is another name space's */
		fd = (int)syscall(SYS_open_tree, AT_FDCWD, path, TREE_CLONE |
				  O_CLOEXEC | AT_RECURSIVE_TREE);
		r = replace_root(&share->root_fd, fd < 0 ? -errno : fd);
	}
	if (r)
		return orield_fail(err, r, "share %s: cannot detach %s: %s",
				   share->opt->tag, share->opt->shared_dir,
				   strerror(-r));
	orield_log_about(share->opt->tag);
	restrict_share(share->root_fd, "", share->opt->readonly);
	orield_log_about(NULL);
	return 0;
}

/* Several: each by itself, and a root in which there is nothing. */
static int enter_several(const struct orield_shares *shares,
			 struct orield_error *err)
{
	static const char top[] = "/proc"; /* any folder would do */
	unsigned i;
	int r = 0;

	for (i = 0; !r && i < shares->n; i++)
		r = detach(&shares->v[i], err);
	if (r)
		return r;
	if (mount("none", top, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV |
		  MS_NOEXEC, "nr_inodes=1,mode=0555"))
		r = -errno;
	if (!r)
		r = pivot(top);
	if (r)
		return orield_fail(err, r, "cannot make an empty root: %s",
				   strerror(-r));
	return 0;
}

static int enter_namespace(const struct orield_doors *doors,
			   struct orield_error *err)
{
	bool maps = doors->uid_map && doors->uid_map->n;
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC;
	int r;

	if (maps || !orield_have_cap(CAP_SYS_ADMIN))
		flags |= CLONE_NEWUSER;
	r = make_spaces(doors, flags, err);
	if (r)
		return r;
	if ((flags & CLONE_NEWUSER) && !maps) {
		r = map_own_user(uid, gid);
		if (r)
			return orield_fail(err, r, "cannot set up the user name"
					   " space: %s", strerror(-r));
	}
	confine_proc(doors->proc_fd);
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL))
		return orield_fail(err, -errno, "cannot have mounts of its own:"
				   " %s", strerror(errno));
	r = doors->shares->n == 1 ? enter_one(&doors->shares->v[0], err) :
				    enter_several(doors->shares, err);
	if (r)
		return r;
	/* last: the path to the share may be open to our old user only */
	return maps ? orield_users_become_root(err) : 0;
}

static int enter_chroot(const struct orield_doors *doors,
			struct orield_error *err)
{
	int *root_fd = &doors->shares->v[0].root_fd;
	int r = 0;

	if (doors->shares->n > 1)
		return orield_fail(err, -EINVAL, "a chroot holds one share, and"
				   " there are %u: --sandbox=namespace",
				   doors->shares->n);
	if (fchdir(*root_fd) || chroot("."))
		r = -errno;
	if (!r)
		r = reopen_root(root_fd);
	if (r)
		return orield_fail(err, r, "cannot chroot: %s", strerror(-r));
	return 0;
}

static int enter_none(const struct orield_doors *doors,
		      struct orield_error *err)
{
	return 0;
}

static const struct {
	enum orield_sandbox kind;
	const char *name;
	int (*enter)(const struct orield_doors *doors,
		     struct orield_error *err);
} kinds[] = {
	{ ORIELD_SANDBOX_NAMESPACE, "namespace", enter_namespace },
	{ ORIELD_SANDBOX_CHROOT, "chroot", enter_chroot },
	{ ORIELD_SANDBOX_NONE, "none", enter_none },
};

int orield_sandbox_enter(enum orield_sandbox want,
			 const struct orield_doors *doors,
			 const char **ret_name, struct orield_error *err)
{
	int r = -EINVAL;
	size_t i;

	for (i = 0; i < ARRAY_LEN(kinds); i++) {
		if (want != ORIELD_SANDBOX_AUTO && want != kinds[i].kind)
			continue;
		r = kinds[i].enter(doors, err);
		if (!r) {
			*ret_name = kinds[i].name;
			return 0;
		}
		if (want == ORIELD_SANDBOX_AUTO)
			log_info("no %s sandbox: %s", kinds[i].name, err->text);
	}
	return r;
}
