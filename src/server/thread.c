/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What belongs to a serving thread: its buffers, and its credentials, which on
 * Linux are per thread.
 *
 * CAP_FSETID is dropped from a thread's effective set when it serves its first
 * request, so that the kernel itself clears set-uid and set-gid bits whenever
 * we write or truncate for a client; it is raised only around the calls where
 * the bits are meant to stay. Creation runs as the client's user: setfsuid(2)
 * away from 0 and back makes the kernel drop and raise the file capabilities,
 * so the way back ends by setting our own set again.
 *
 * Extended attributes of an O_PATH descriptor can only be reached by a path. We
 * use the relative path "N" with /proc/self/fd as working directory, which is
 * made the thread's own by unshare(CLONE_FS) the first time it is needed.
 */
#include "server/internal.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAP_BIT(c) (UINT64_C(1) << (c))

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_key;
static bool key_valid;
static __thread struct server_thread *self;

/* When the thread ends. */
static void free_thread(void *arg)
{
	struct server_thread *t = arg;

	free(t->bounce);
	free(t);
}

static void make_key(void)
{
	key_valid = pthread_key_create(&thread_key, free_thread) == 0;
}

static int caps_get(uint64_t *ret_effective, uint64_t *ret_permitted)
{
	struct __user_cap_header_struct h = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &h, d))
		return -errno;
	*ret_effective = d[0].effective | (uint64_t)d[1].effective << 32;
	*ret_permitted = d[0].permitted | (uint64_t)d[1].permitted << 32;
	return 0;
}

static int caps_set(const struct server_thread *t, uint64_t effective)
{
	struct __user_cap_header_struct h = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct d[2] = {
		{ .effective = (uint32_t)effective,
		  .permitted = (uint32_t)t->permitted },
		{ .effective = (uint32_t)(effective >> 32),
		  .permitted = (uint32_t)(t->permitted >> 32) },
	};

	return syscall(SYS_capset, &h, d) ? -errno : 0;
}

static void init_creds(struct server_thread *t)
{
	uint64_t effective = 0;

	t->uid = geteuid();
	t->gid = getegid();
	/* too many to put them back */
	t->n_groups = getgroups(SERVER_GROUPS_MAX, t->groups);
	if (caps_get(&effective, &t->permitted))
		return;
	t->caps = effective & ~CAP_BIT(CAP_FSETID);
	t->can_switch = (effective & CAP_BIT(CAP_SETUID)) &&
			(effective & CAP_BIT(CAP_SETGID));
	if (t->caps != effective && caps_set(t, t->caps))
		t->caps = effective;
}

struct server_thread *server_thread_get(void)
{
	struct server_thread *t = self;

	if (ORIEL_LIKELY(t))
		return t;
	pthread_once(&key_once, make_key);
	if (!key_valid)
		return NULL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	if (pthread_setspecific(thread_key, t)) {
		free(t);
		return NULL;
	}
	init_creds(t);
	self = t;
	return t;
}

struct server_thread *server_thread_peek(void)
{
	return self;
}

/* The system call, not setgroups(3): that is for all threads. */
static int set_groups(int n, const gid_t *groups)
{
#ifdef SYS_setgroups32
	return (int)syscall(SYS_setgroups32, n, groups);
#else
	return (int)syscall(SYS_setgroups, n, groups);
#endif
}

/*
 * Where it is not allowed (user name spaces of the unprivileged) the group does
 * not count, as if the client had not said it.
 */
static void enter_group(struct server_thread *t, gid_t group)
{
	if (t->n_groups < 0)
		return;
	if (set_groups(1, &group))
		t->n_groups = -1;
	else
		t->grouped = true;
}

void server_creds_leave(struct server_thread *t)
{
	if (!t->switched)
		return;
	if (t->grouped)
		(void)set_groups(t->n_groups, t->groups);
	t->grouped = false;
	syscall(SYS_setfsuid, t->uid);
	syscall(SYS_setfsgid, t->gid);
	(void)caps_set(t, t->caps);
	t->switched = false;
}

/* They report the old id, never an error: ask again what came of it. */
static bool set_fsids(uid_t uid, gid_t gid)
{
	syscall(SYS_setfsgid, gid);
	syscall(SYS_setfsuid, uid);
	return (gid_t)syscall(SYS_setfsgid, (gid_t)-1) == gid &&
	       (uid_t)syscall(SYS_setfsuid, (uid_t)-1) == uid;
}

int server_creds_enter(struct server_req *req, bool keep_dac)
{
	struct server_thread *t = req->t;
	uint64_t keep = t->caps & CAP_BIT(CAP_DAC_OVERRIDE);
	uid_t uid = req->hdr.uid;
	gid_t gid = req->hdr.gid;

	if (!t->can_switch ||
	    (uid == t->uid && gid == t->gid && !req->has_group))
		return 0;
	if (uid == (uid_t)-1 || gid == (gid_t)-1 ||
	    (req->has_group && req->group == (uint32_t)-1))
		return -EINVAL;
	t->switched = true;
	if (req->has_group)
		enter_group(t, req->group);
	if (!set_fsids(uid, gid)) {
		server_creds_leave(t);
		return -EPERM;
	}
	/* The kernel took the file capabilities with root's fsuid. */
	if (keep_dac && keep && t->uid == 0 && uid != 0) {
		(void)caps_set(t, keep | (t->caps & (CAP_BIT(CAP_SETUID) |
						     CAP_BIT(CAP_SETGID))));
	}
	return 0;
}

void server_fsetid_raise(struct server_thread *t)
{
	if (t->permitted & CAP_BIT(CAP_FSETID))
		(void)caps_set(t, t->caps | CAP_BIT(CAP_FSETID));
}

void server_fsetid_lower(struct server_thread *t)
{
	if (t->permitted & CAP_BIT(CAP_FSETID))
		(void)caps_set(t, t->caps);
}

mode_t server_mask_enter(struct server_req *req, mode_t mode, mode_t mask)
{
	struct server_thread *t = req->t;
	uint64_t agreed = atomic_load_explicit(&req->s->flags,
					       memory_order_relaxed);

	mask &= 07777;
	/* The umask is the thread's own when its directory is. */
	if (!(agreed & FUSE_DONT_MASK) ||
	    server_thread_enter_proc(t, req->share->cfg.proc_fd))
		return mode & ~mask;
	umask(mask);
	t->masked = true;
	return mode;
}

void server_mask_leave(struct server_thread *t)
{
	if (t->masked)
		umask(0);
	t->masked = false;
}

int server_thread_enter_proc(struct server_thread *t, int proc_fd)
{
	if (t->own_cwd)
		return 0;
	if (unshare(CLONE_FS) || fchdir(proc_fd))
		return -errno;
	t->own_cwd = true;
	return 0;
}
