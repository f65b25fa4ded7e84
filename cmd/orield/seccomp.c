/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The system calls of a serving daemon, and no others. Named as strings, so
 * that names this libseccomp or this machine does not have are passed over.
 * A new call in src/server, src/vhost or libc belongs into one of the groups.
 */
#include "orield.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *const allowed[] = {
	/* src/server: operations */
	"openat", "close", "statx", "fstat", "newfstatat", "fstatfs",
	"fstatfs64", "fstat64", "fstatat64",
	"pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2",
	"lseek", "_llseek", "ftruncate", "ftruncate64", "fallocate", "fsync",
	"fdatasync", "syncfs", "copy_file_range", "getdents64", "fchmod",
	"fchmodat", "fchmodat2", "fchownat", "linkat", "unlinkat", "symlinkat",
	"mknodat", "mkdirat", "renameat2", "renameat", "readlinkat",
	"utimensat", "utimensat_time64", "faccessat", "faccessat2",
	"getxattr", "setxattr", "listxattr", "removexattr", "fgetxattr",
	"fremovexattr", "umask", "fcntl", "fcntl64", "dup", "dup3", "fchdir",
	"flock",
	/* src/server: changes by others */
	"fanotify_init", "fanotify_mark", "name_to_handle_at",
	/* src/server: credentials of a thread */
	"capget", "capset", "setfsuid", "setfsgid", "setfsuid32",
	"setfsgid32", "getgroups", "getgroups32", "setgroups", "setgroups32",
	"getuid", "geteuid", "getgid", "getegid", "getppid",
	/* src/vhost and this program */
	"read", "write", "readv", "writev", "poll", "ppoll", "ppoll_time64",
	"eventfd2", "recvmsg", "sendmsg", "recvfrom", "sendto", "accept4",
	"accept", "shutdown", "memfd_create", "getsockopt", "setsockopt",
	"getsockname",
	"getpeername", "wait4", "waitid",
	/* memory and threads */
	"munmap", "mremap", "madvise", "brk",
	"futex", "futex_time64", "exit", "exit_group", "set_robust_list",
	"rseq", "sched_yield", "sched_getaffinity", "gettid", "getpid",
	"membarrier", "getrlimit", "ugetrlimit", "restart_syscall",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigreturn",
	"rt_sigtimedwait", "sigaltstack",
	/* time and chance */
	"clock_gettime", "clock_gettime64", "clock_getres", "gettimeofday",
	"nanosleep", "clock_nanosleep", "clock_nanosleep_time64", "getrandom",
};

static int allow_all(scmp_filter_ctx ctx)
{
	size_t i;
	int r;

	for (i = 0; i < ARRAY_LEN(allowed); i++) {
		int nr = seccomp_syscall_resolve_name(allowed[i]);

		if (nr == __NR_SCMP_ERROR)
			continue;
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0);
		/* a call of another architecture has no number here */
		if (r && r != -EDOM && r != -EINVAL)
			return r;
	}
	return 0;
}

/* Memory that is never code; resource limits and signals of our own only. */
static int allow_to_self(scmp_filter_ctx ctx)
{
	static const char *const mappers[] = { "mmap", "mmap2", "mprotect" };
	size_t i;
	int r = 0;

	for (i = 0; !r && i < ARRAY_LEN(mappers); i++) {
		int nr = seccomp_syscall_resolve_name(mappers[i]);

		if (nr >= 0)
			r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1,
					     SCMP_A2(SCMP_CMP_MASKED_EQ,
						     PROT_EXEC, 0));
	}
	if (!r)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64),
				     1, SCMP_A0(SCMP_CMP_EQ, 0));
	if (!r)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				     SCMP_A0(SCMP_CMP_EQ,
					     (scmp_datum_t)getpid()));
	/* stdio asks whether it writes to a terminal */
	if (!r)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOTTY),
				     SCMP_SYS(ioctl), 0);
	return r;
}

/* Those whose arguments matter. */
static int allow_some(scmp_filter_ctx ctx)
{
	int r;

	/* threads, not processes */
	r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
			     SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD,
				     CLONE_THREAD));
	/* its flags are in memory: libc falls back to clone */
	if (!r)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS),
				     SCMP_SYS(clone3), 0);
	/* a working directory of the thread's own (src/server/thread.c) */
	if (!r)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(unshare), 1,
				     SCMP_A0(SCMP_CMP_EQ, CLONE_FS));
	/* libc asks; it can do without */
	if (!r)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL),
				     SCMP_SYS(prctl), 0);
	return r;
}

static uint32_t action_of(enum orield_seccomp mode)
{
	switch (mode) {
	case ORIELD_SECCOMP_LOG:
		return SCMP_ACT_LOG;
	case ORIELD_SECCOMP_TRAP:
		return SCMP_ACT_TRAP;
	default:
		return SCMP_ACT_KILL_PROCESS;
	}
}

/* A call with a first argument that is @fd. */
static int allow_on(scmp_filter_ctx ctx, int nr, int fd)
{
	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1,
				SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX,
					(scmp_datum_t)fd));
}

static int allow_brokering(scmp_filter_ctx ctx, int sock, int dev)
{
	static const char *const calls[] = {
		"close", "exit_group", "restart_syscall",
	};
	size_t i;
	int r = allow_on(ctx, SCMP_SYS(recvmsg), sock);

	if (!r)
		r = allow_on(ctx, SCMP_SYS(sendto), sock);
	if (!r)
		r = allow_on(ctx, SCMP_SYS(ioctl), dev);
	/* of descriptors, not of names */
	if (!r)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(statx), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH,
					     AT_EMPTY_PATH));
	for (i = 0; !r && i < ARRAY_LEN(calls); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW,
				     seccomp_syscall_resolve_name(calls[i]),
				     0);
	return r;
}

int orield_confine_broker(void *ctx, int sock, int dev)
{
	const struct orield_options *opt = ctx;
	scmp_filter_ctx filter;
	int r;

	if (opt->seccomp == ORIELD_SECCOMP_NONE)
		return 0;
	filter = seccomp_init(action_of(opt->seccomp));
	if (!filter)
		return -ENOMEM;
	r = allow_brokering(filter, sock, dev);
	if (!r)
		r = seccomp_load(filter);
	/* not given back: free(3) may make calls that are not allowed now */
	return r;
}

/* For inodes without a descriptor of their own (src/server/file_handle.c). */
static int allow_file_handles(scmp_filter_ctx ctx)
{
	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW,
				SCMP_SYS(open_by_handle_at), 0);
}

int orield_seccomp_start(enum orield_seccomp mode, bool file_handles,
			 struct orield_error *err)
{
	scmp_filter_ctx ctx;
	int r;

	if (mode == ORIELD_SECCOMP_NONE)
		return 0;
	ctx = seccomp_init(action_of(mode));
	if (!ctx)
		return orield_fail(err, -ENOMEM, "seccomp: no memory");
	r = allow_all(ctx);
	if (!r)
		r = allow_some(ctx);
	if (!r)
		r = allow_to_self(ctx);
	if (!r && file_handles)
		r = allow_file_handles(ctx);
	if (!r)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	if (r)
		return orield_fail(err, r, "seccomp: %s", strerror(-r));
	return 0;
}
