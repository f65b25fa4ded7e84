/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The names in a directory, collected before anything is done with them: what
 * is done may change the directory. Names come from the daemon and are checked
 * here too, because they are joined to local paths.
 */
#include "vfs.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A daemon that lists without end must not take all the memory. */
#define NAMES_MAX_BYTES ((size_t)1 << 30)

void vfs_names_done(struct vfs_names *n)
{
	for (size_t i = 0; i < n->n; i++)
		free(n->names[i]);
	free(n->names);
	*n = (struct vfs_names){ 0 };
}

static int names_grow(struct vfs_names *n)
{
	size_t cap = n->cap ? n->cap * 2 : 64;
	char **names;

	names = reallocarray(n->names, cap, sizeof(*names));
	if (!names)
		return -ENOMEM;
	n->names = names;
	n->cap = cap;
	return 0;
}

static int names_add(struct vfs_names *n, const char *name)
{
	int r = 0;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return 0;
	if (!*name || strchr(name, '/'))
		return -EPROTO;
	n->bytes += strlen(name) + 1 + sizeof(char *);
	if (n->bytes > NAMES_MAX_BYTES)
		return -EOVERFLOW;
	if (n->n == n->cap)
		r = names_grow(n);
	if (r < 0)
		return r;
	n->names[n->n] = strdup(name);
	if (!n->names[n->n])
		return -ENOMEM;
	n->n++;
	return 0;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_share(struct oriel_session *w, const char *path,
		      struct vfs_names *n)
{
	struct oriel_dirent e;
	struct oriel_dir *d;
	int r = oriel_opendir(w, path, 0, &d);

	if (r < 0)
		return r;
	while ((r = oriel_readdir(d, &e)) > 0) {
		r = names_add(n, e.name);
		if (r < 0)
			break;
	}
	oriel_closedir(d);
	return r;
}

static int list_local(const char *path, struct vfs_names *n)
{
	DIR *d = opendir(path);
	struct dirent *e;
	int r = 0;

	if (!d)
		return -errno;
	while (r >= 0 && (errno = 0, e = readdir(d)))
		r = names_add(n, e->d_name);
	if (r >= 0 && errno)
		r = -errno;
	closedir(d);
	return r;
}

int vfs_list(struct oriel_session *w, const char *path, struct vfs_names *ret)
{
	struct vfs_names n = { 0 };
	int r = w ? list_share(w, path, &n) : list_local(path, &n);

	if (r < 0) {
		vfs_names_done(&n);
		return r;
	}
	if (n.n)
		qsort(n.names, n.n, sizeof(*n.names), by_bytes);
	*ret = n;
	return 0;
}
