/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The files of oriel bench past the share: by the directory of this machine
 * that it is. Others may write there, a virtual machine for one: a path is
 * looked up as the daemon does it, so that no symbolic link leads us to a file
 * outside.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "addr.h"

#define COMPARED_BYTES 4096u

static int open_in_root(const struct bench *b, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC),
		.mode = flags & O_CREAT ? 0600 : 0,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	if (b->native_fd < 0)
		return -EBADF;
	if (!*path)
		path = ".";
	fd = syscall(SYS_openat2, b->native_fd, path, &how, sizeof(how));
	return fd < 0 ? -errno : (int)fd;
}

int bench_native_open(const struct bench *b, const struct spot *sp, int flags)
{
	return open_in_root(b, sp->share, flags | O_NOFOLLOW | O_NONBLOCK |
			    O_NOCTTY);
}

int bench_native_remove(const struct bench *b, const struct spot *sp,
			bool is_dir)
{
	char *dir = path_dir(sp->share), *name = path_base(sp->share);
	int err = dir && name ? 0 : -ENOMEM;
	int fd = err ? err : open_in_root(b, dir, O_PATH | O_DIRECTORY);

	if (fd < 0) {
		err = fd;
	} else {
		if (unlinkat(fd, name, is_dir ? AT_REMOVEDIR : 0))
			err = -errno;
		close(fd);
	}
	free(dir);
	free(name);
	return err;
}

static bool same_bytes(struct bench *b, int fd, uint64_t size)
{
	size_t n = size < COMPARED_BYTES ? (size_t)size : COMPARED_BYTES;
	char *here = b->buf + COMPARED_BYTES;

	return oriel_pread(b->file, b->buf, n, 0) == (ssize_t)n &&
	       pread(fd, here, n, 0) == (ssize_t)n &&
	       memcmp(b->buf, here, n) == 0;
}

int bench_native_same(struct bench *b, int fd)
{
	struct oriel_stat st;
	struct stat here;
	int err = oriel_fstat(b->file, ORIEL_FORCE_SYNC, &st);

	if (err)
		return err;
	if (fstat(fd, &here) || !S_ISREG(here.st_mode) ||
	    st.size != (uint64_t)here.st_size ||
	    !same_bytes(b, fd, st.size))
		return -EXDEV;
	return 0;
}
