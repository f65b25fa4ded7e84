/* SPDX-License-Identifier: BSD-2-Clause */
/* See wrap.h. The list of names is in meson.build, too. */
#include "wrap.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "client/client.h"

static _Atomic int armed_kind;
static _Atomic int armed_nth;
static _Atomic int armed_err;
static _Atomic bool armed_for_good;
static _Atomic(const char *) fired;
static _Atomic long outstanding;

void fault_arm(enum fault_kind kind, unsigned nth, int err, bool for_good)
{
	atomic_store(&fired, NULL);
	atomic_store(&armed_nth, (int)nth);
	atomic_store(&armed_err, err);
	atomic_store(&armed_for_good, for_good);
	atomic_store(&armed_kind, (int)kind);
}

const char *fault_disarm(void)
{
	atomic_store(&armed_kind, FAULT_NONE);
	return atomic_load(&fired);
}

long fault_outstanding(void)
{
	return atomic_load(&outstanding);
}

/* Is this the one? */
static bool fails(enum fault_kind kind, const char *name)
{
	const char *none = NULL;
	int left;

	if (atomic_load(&armed_kind) != (int)kind)
		return false;
	left = atomic_fetch_sub(&armed_nth, 1);
	if (left != 1 && !(left < 1 && atomic_load(&armed_for_good)))
		return false;
	atomic_compare_exchange_strong(&fired, &none, name);
	return true;
}

static bool no_memory(const char *name)
{
	if (!fails(FAULT_MEMORY, name))
		return false;
	errno = ENOMEM;
	return true;
}

/* @dflt: what the call says most plausibly. */
static bool no_call(const char *name, int dflt)
{
	int err = atomic_load(&armed_err);

	if (!fails(FAULT_SYSTEM, name))
		return false;
	errno = err ? err : dflt;
	return true;
}

/* ---------------------------------------------------------------- memory */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t m);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
void *__real_aligned_alloc(size_t a, size_t n);
int __real_posix_memalign(void **p, size_t a, size_t n);
void __real_free(void *p);

void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t m);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);
void *__wrap_aligned_alloc(size_t a, size_t n);
int __wrap_posix_memalign(void **p, size_t a, size_t n);
void __wrap_free(void *p);

static void *counted(void *p)
{
	if (p)
		atomic_fetch_add(&outstanding, 1);
	return p;
}

void *__wrap_malloc(size_t n)
{
	return no_memory("malloc") ? NULL : counted(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t m)
{
	return no_memory("calloc") ? NULL : counted(__real_calloc(n, m));
}

void *__wrap_realloc(void *p, size_t n)
{
	if (no_memory("realloc"))
		return NULL;
	return p ? __real_realloc(p, n) : counted(__real_realloc(p, n));
}

char *__wrap_strdup(const char *s)
{
	return no_memory("strdup") ? NULL : counted(__real_strdup(s));
}

void *__wrap_aligned_alloc(size_t a, size_t n)
{
	return no_memory("aligned_alloc") ? NULL :
					    counted(__real_aligned_alloc(a, n));
}

int __wrap_posix_memalign(void **p, size_t a, size_t n)
{
	int r = no_memory("posix_memalign") ? ENOMEM :
					      __real_posix_memalign(p, a, n);

	if (r == 0)
		counted(*p);
	return r;
}

void __wrap_free(void *p)
{
	if (p)
		atomic_fetch_sub(&outstanding, 1);
	__real_free(p);
}

/* ----------------------------------------------------------- system calls */

#define WRAP(type, name, params, args, bad, err)                   \
	type __real_##name params;                                  \
	type __wrap_##name params;                                  \
	type __wrap_##name params                                   \
	{                                                           \
		return no_call(#name, err) ? bad : __real_##name args; \
	}

WRAP(void *, mmap64,
     (void *a, size_t n, int prot, int flags, int fd, off_t off),
     (a, n, prot, flags, fd, off), MAP_FAILED, ENOMEM)
WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags), -1,
     EMFILE)
WRAP(int, eventfd, (unsigned init, int flags), (init, flags), -1, EMFILE)
WRAP(int, ftruncate64, (int fd, off_t size), (fd, size), -1, ENOSPC)
WRAP(int, socketpair, (int d, int t, int p, int *sv), (d, t, p, sv), -1, EMFILE)
WRAP(int, pipe2, (int *fds, int flags), (fds, flags), -1, EMFILE)
WRAP(int, socket, (int d, int t, int p), (d, t, p), -1, EMFILE)
WRAP(int, connect, (int s, const struct sockaddr *a, socklen_t n), (s, a, n),
     -1, EAGAIN)
WRAP(int, stat64, (const char *p, struct stat *st), (p, st), -1, EIO)
WRAP(int, fstat64, (int fd, struct stat *st), (fd, st), -1, EIO)
WRAP(int, fstatfs64, (int fd, struct statfs *st), (fd, st), -1, EIO)
WRAP(ssize_t, sendmsg, (int s, const struct msghdr *m, int f), (s, m, f), -1,
     EPIPE)
WRAP(ssize_t, recvmsg, (int s, struct msghdr *m, int f), (s, m, f), -1,
     ECONNRESET)
WRAP(ssize_t, recv, (int s, void *b, size_t n, int f), (s, b, n, f), -1,
     ECONNRESET)
WRAP(ssize_t, read, (int fd, void *b, size_t n), (fd, b, n), -1, EIO)
WRAP(int, poll, (struct pollfd *p, nfds_t n, int t), (p, n, t), -1, EINTR)
WRAP(int, madvise, (void *a, size_t n, int x), (a, n, x), -1, EINVAL)
WRAP(int, access, (const char *p, int m), (p, m), -1, EACCES)
WRAP(int, sigaction,
     (int sig, const struct sigaction *n, struct sigaction *o), (sig, n, o),
     -1, EINVAL)
WRAP(int, pthread_create,
     (pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *x),
     (t, a, f, x), EAGAIN, EAGAIN)
WRAP(int, posix_spawn,
     (pid_t * pid, const char *path, const posix_spawn_file_actions_t *fa,
      const posix_spawnattr_t *at, char *const *argv, char *const *envp),
     (pid, path, fa, at, argv, envp), EAGAIN, EAGAIN)
WRAP(int, posix_spawn_file_actions_init, (posix_spawn_file_actions_t * fa),
     (fa), ENOMEM, ENOMEM)
WRAP(int, posix_spawnattr_init, (posix_spawnattr_t * at), (at), ENOMEM, ENOMEM)

int __real_fcntl64(int fd, int cmd, ...);
int __wrap_fcntl64(int fd, int cmd, ...);
int __wrap_fcntl64(int fd, int cmd, ...)
{
	va_list ap;
	long arg;

	va_start(ap, cmd);
	arg = va_arg(ap, long);
	va_end(ap);
	return no_call("fcntl64", EMFILE) ? -1 : __real_fcntl64(fd, cmd, arg);
}

/* --------------------------------------------------------------- messages */

int __real_client_call(struct oriel_session *s, struct client_call *c);
int __wrap_client_call(struct oriel_session *s, struct client_call *c);

int __wrap_client_call(struct oriel_session *s, struct client_call *c)
{
	int err = atomic_load(&armed_err);
	int real;

	if (fails(FAULT_MESSAGE, fuse_opcode_name(c->opcode)))
		return -err;
	if (!fails(FAULT_LOST, fuse_opcode_name(c->opcode)))
		return __real_client_call(s, c);
	real = __real_client_call(s, c);
	return real ? real : -err;
}
