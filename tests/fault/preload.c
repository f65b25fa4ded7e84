/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Preloaded into an orield: from its second connection on (the first is the
 * look whether it listens, and every one has a thread of its own), the Nth call
 * of those below fails, once. ORIEL_FAULT_STEP is N. What failed is written to
 * standard error as "FAULT name".
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static _Atomic int connected;
static _Atomic long count;
static long nth;

__attribute__((constructor)) static void start(void)
{
	const char *text = getenv("ORIEL_FAULT_STEP");

	nth = text ? atol(text) : 0;
}

static int fails(const char *name, int err)
{
	char line[80];
	int n;

	if (atomic_load(&connected) < 2 || atomic_fetch_add(&count, 1) + 1 != nth)
		return 0;
	n = snprintf(line, sizeof(line), "FAULT %s\n", name);
	if (write(STDERR_FILENO, line, (size_t)n) != n)
		return 0;
	errno = err;
	return 1;
}

#define CALL(type, name, params, args, bad, err)              \
	EXPORT type name params;                              \
	EXPORT type name params                               \
	{                                                     \
		static type(*_Atomic real) params;            \
		if (fails(#name, err))                        \
			return bad;                           \
		if (!real)                                    \
			real = (type(*) params)dlsym(         \
				RTLD_NEXT, #name);            \
		return real args;                             \
	}

CALL(int, __openat64_2, (int d, const char *p, int f), (d, p, f), -1, EMFILE)
CALL(int, statx,
     (int d, const char *restrict p, int f, unsigned m,
      struct statx *restrict st),
     (d, p, f, m, st), -1, EIO)
CALL(int, fstat64, (int fd, struct stat64 *st), (fd, st), -1, EIO)
CALL(int, fstatfs64, (int fd, struct statfs64 *st), (fd, st), -1, EIO)
CALL(ssize_t, preadv64, (int fd, const struct iovec *v, int n, off64_t o),
     (fd, v, n, o), -1, EIO)
CALL(ssize_t, pwritev64, (int fd, const struct iovec *v, int n, off64_t o),
     (fd, v, n, o), -1, ENOSPC)
CALL(ssize_t, pread64, (int fd, void *b, size_t n, off64_t o), (fd, b, n, o),
     -1, EIO)
CALL(ssize_t, pwrite64, (int fd, const void *b, size_t n, off64_t o),
     (fd, b, n, o), -1, ENOSPC)
CALL(ssize_t, getdents64, (int fd, void *b, size_t n), (fd, b, n), -1, EIO)
CALL(ssize_t, readlinkat,
     (int d, const char *restrict p, char *restrict b, size_t n), (d, p, b, n),
     -1, EIO)
CALL(void *, mmap64, (void *a, size_t n, int prot, int f, int fd, off64_t o),
     (a, n, prot, f, fd, o), MAP_FAILED, ENOMEM)
CALL(int, fallocate64, (int fd, int m, off64_t o, off64_t n), (fd, m, o, n), -1,
     ENOSPC)
CALL(int, ftruncate64, (int fd, off64_t n), (fd, n), -1, EIO)
CALL(int, fsync, (int fd), (fd), -1, EIO)
CALL(int, fdatasync, (int fd), (fd), -1, EIO)
CALL(int, syncfs, (int fd), (fd), -1, EIO)
CALL(int, eventfd, (unsigned c, int f), (c, f), -1, EMFILE)
CALL(ssize_t, sendmsg, (int s, const struct msghdr *m, int f), (s, m, f), -1,
     ENOBUFS)
CALL(ssize_t, recvmsg, (int s, struct msghdr *m, int f), (s, m, f), -1,
     ECONNRESET)
CALL(int, mkdirat, (int d, const char *p, mode_t m), (d, p, m), -1, ENOSPC)
CALL(int, symlinkat, (const char *t, int d, const char *p), (t, d, p), -1,
     ENOSPC)
CALL(int, unlinkat, (int d, const char *p, int f), (d, p, f), -1, EIO)
CALL(int, renameat2,
     (int d, const char *p, int e, const char *q, unsigned f), (d, p, e, q, f),
     -1, EIO)
CALL(off64_t, lseek64, (int fd, off64_t o, int w), (fd, o, w), -1, EIO)
CALL(int, utimensat,
     (int d, const char *p, const struct timespec t[2], int f), (d, p, t, f), -1,
     EIO)
CALL(int, fremovexattr, (int fd, const char *n), (fd, n), -1, EIO)
CALL(int, removexattr, (const char *p, const char *n), (p, n), -1, EIO)
CALL(int, pthread_create,
     (pthread_t *restrict t, const pthread_attr_t *restrict a,
      void *(*f)(void *), void *restrict x),
     (t, a, f, x), EAGAIN, EAGAIN)

EXPORT int openat64(int d, const char *p, int f, ...);
EXPORT int openat64(int d, const char *p, int f, ...)
{
	static int (*_Atomic real)(int, const char *, int, ...);
	va_list ap;
	mode_t mode;

	if (fails("openat64", EMFILE))
		return -1;
	if (!real)
		real = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT,
								   "openat64");
	va_start(ap, f);
	mode = va_arg(ap, mode_t);
	va_end(ap);
	return real(d, p, f, mode);
}

EXPORT int fcntl64(int fd, int cmd, ...);
EXPORT int fcntl64(int fd, int cmd, ...)
{
	static int (*_Atomic real)(int, int, ...);
	va_list ap;
	long arg;

	if (fails("fcntl64", EMFILE))
		return -1;
	if (!real)
		real = (int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl64");
	va_start(ap, cmd);
	arg = va_arg(ap, long);
	va_end(ap);
	return real(fd, cmd, arg);
}

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t m);

EXPORT void *malloc(size_t n)
{
	return fails("malloc", ENOMEM) ? NULL : __libc_malloc(n);
}

EXPORT void *calloc(size_t n, size_t m)
{
	return fails("calloc", ENOMEM) ? NULL : __libc_calloc(n, m);
}

EXPORT int accept4(int s, struct sockaddr *restrict a,
		   socklen_t *restrict n, int f)
{
	static int (*_Atomic real)(int, struct sockaddr *, socklen_t *, int);
	int r;

	if (!real)
		real = (int (*)(int, struct sockaddr *, socklen_t *,
				int))dlsym(RTLD_NEXT, "accept4");
	r = real(s, a, n, f);
	if (r >= 0 && nth)
		atomic_fetch_add(&connected, 1);
	return r;
}
