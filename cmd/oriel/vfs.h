/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One shape for files of a share and local files, so that cp is written once
 * for all directions. Everything returns -errno; no state of its own.
 */
#ifndef ORIEL_CLI_VFS_H
#define ORIEL_CLI_VFS_H

#include <oriel/oriel.h>

#include <stdbool.h>
#include <stddef.h>

struct vfs_file {
	struct oriel_session *where; /* NULL: local */
	struct oriel_file *file;
	int fd;
};

int vfs_open(struct oriel_session *w, const char *path, int flags, mode_t mode,
	     struct vfs_file *ret);
int vfs_close(struct vfs_file *f);
/* Full count, or short at the end of the file (reads) or on error after
 * something was written. */
ssize_t vfs_pread(struct vfs_file *f, void *buf, size_t len, off_t off);
ssize_t vfs_pwrite(struct vfs_file *f, const void *buf, size_t len, off_t off);
off_t vfs_seek(struct vfs_file *f, off_t off, int whence);
int vfs_ftruncate(struct vfs_file *f, off_t size);
int vfs_fstat(struct vfs_file *f, struct oriel_stat *ret);

/* @follow: a link's target. */
int vfs_stat(struct oriel_session *w, const char *path, bool follow,
	     struct oriel_stat *ret);
int vfs_mkdir(struct oriel_session *w, const char *path, mode_t mode);
int vfs_unlink(struct oriel_session *w, const char *path);
int vfs_rmdir(struct oriel_session *w, const char *path);
int vfs_symlink(struct oriel_session *w, const char *target, const char *path);
/* The target with a NUL; to be freed. */
int vfs_readlink(struct oriel_session *w, const char *path, char **ret);
/* Owner, permissions, access and modification time of @st as @set->mask of
 * oriel_setattr() names them, not following a last link. */
int vfs_setattr(struct oriel_session *w, const char *path,
		const struct oriel_setattr *set);

/* The names in a directory without "." and "..". */
struct vfs_names {
	char **names;
	size_t n;
	size_t cap;
	size_t bytes;
};

/* Sorted by bytes. -EPROTO for a name no file can have (a '/' inside, ".."):
 * it would lead out of the directory. Freed by vfs_names_done(). */
int vfs_list(struct oriel_session *w, const char *path, struct vfs_names *ret);
void vfs_names_done(struct vfs_names *n);

#endif
