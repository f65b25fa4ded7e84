/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The files that oriel bench measures on. In a directory that can be written to
 * it makes one of its own, and removes it whatever happens: after a signal,
 * after an error, and, where this machine has the share, after the daemon died.
 * In one that cannot be written to it looks for a long file to read.
 */
#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "addr.h"
#include "fmt.h"

#define OTHER_FILES_BYTES (2 * (uint64_t)BENCH_APPEND_BYTES + (2u << 20))
#define FILL_NATIVE_BYTES ((size_t)2 << 20)
#define NAMES_TRIED 16u
#define LOOK_MAX 2000u /* entries looked at for a file to read */
#define LOOK_DEPTH 3u

static int join(const char *dir, const char *name, char **ret)
{
	*ret = path_join(dir, name);
	return *ret ? 0 : -ENOMEM;
}

static int spot_set(struct bench *b, struct spot *ret, const char *path)
{
	ret->share = strdup(path);
	if (!ret->share)
		return -ENOMEM;
	return b->native_root ? join(b->native_root, path + strspn(path, "/"),
				     &ret->native) : 0;
}

static int spot_in(struct bench *b, struct spot *ret, const char *name)
{
	char *path = path_join(b->scratch.share, name);
	int err = path ? spot_set(b, ret, path) : -ENOMEM;

	free(path);
	return err;
}

static void spot_free(struct spot *sp)
{
	free(sp->share);
	free(sp->native);
	*sp = (struct spot){ 0 };
}

/* ------------------------------------------------------------- our own */

static void make_bytes(struct bench *b)
{
	uint64_t *words = (uint64_t *)(void *)b->buf;

	for (size_t i = 0; i < BENCH_BUF_BYTES / 8; i++)
		words[i] = i * 0x9e3779b97f4a7c15u;
}

static int fill(struct bench *b, uint64_t size)
{
	ssize_t n = 1;

	while (n > 0 && b->size < size && !cli_signal()) {
		n = oriel_pwrite(b->file, b->buf, BENCH_BUF_BYTES,
				 (off_t)b->size);
		if (n > 0)
			b->size += (uint64_t)n;
	}
	if (n < 0)
		return (int)n;
	return cli_signal() ? -EINTR : 0;
}

/* In pieces of 2 MiB, which no message can be: file systems with large folios
 * then use them, and so can the window. */
static int fill_native(struct bench *b, uint64_t size)
{
	char *piece = malloc(FILL_NATIVE_BYTES);
	ssize_t n = piece ? 1 : -ENOMEM;

	for (size_t i = 0; piece && i < FILL_NATIVE_BYTES; i += BENCH_BUF_BYTES)
		memcpy(piece + i, b->buf, BENCH_BUF_BYTES);
	while (n > 0 && b->size < size && !cli_signal()) {
		n = pwrite(b->fd, piece, size - b->size < FILL_NATIVE_BYTES ?
			   (size_t)(size - b->size) : FILL_NATIVE_BYTES,
			   (off_t)b->size);
		if (n < 0)
			n = -errno;
		if (n > 0)
			b->size += (uint64_t)n;
	}
	free(piece);
	if (n < 0)
		return (int)n;
	return cli_signal() ? -EINTR : 0;
}

/* What is there must be what the share has. A local view that we were told of
 * and is none is an error; one that we guessed is just not used. */
static int open_native(struct bench *b, bool writes)
{
	int err;

	if (!b->data.native)
		return 0;
	b->fd = bench_native_open(b, &b->data, writes ? O_RDWR : O_RDONLY);
	err = b->fd < 0 ? -EXDEV : bench_native_same(b, b->fd);
	if (!err)
		return 0;
	if (b->fd >= 0)
		close(b->fd);
	b->fd = -1;
	return b->native_given ? err : 0;
}

static int make_data(struct bench *b, uint64_t size)
{
	int err = spot_in(b, &b->data, "data");

	if (!err)
		err = oriel_open(b->s, b->data.share,
				 O_RDWR | O_CREAT | O_EXCL, 0600, &b->file);
	if (!err)
		err = open_native(b, true);
	if (!err)
		err = b->fd >= 0 ? fill_native(b, size) : fill(b, size);
	return err;
}

static int make_append(struct bench *b)
{
	int err = spot_in(b, &b->append, "append");

	if (!err)
		err = oriel_open(b->s, b->append.share,
				 O_RDWR | O_CREAT | O_EXCL, 0600, &b->grow);
	if (err || b->fd < 0)
		return err;
	err = spot_in(b, &b->append_native, "append.native");
	if (err)
		return err;
	b->grow_fd = bench_native_open(b, &b->append_native,
				       O_RDWR | O_CREAT | O_EXCL);
	return b->grow_fd < 0 ? b->grow_fd : 0;
}

static int make_file(struct bench *b, const char *path, size_t bytes)
{
	struct oriel_file *f;
	ssize_t n = 0;
	int err = oriel_open(b->s, path, O_WRONLY | O_CREAT | O_EXCL, 0600,
			     &f);

	if (err)
		return err;
	if (bytes)
		n = oriel_pwrite(f, b->buf, bytes, 0);
	err = oriel_close(f);
	return n < 0 ? (int)n : err;
}

static int make_small(struct bench *b)
{
	int err = spot_in(b, &b->small, "small");

	b->small_is_file = true;
	return err ? err : make_file(b, b->small.share, 4096);
}

static int make_names(struct bench *b)
{
	char *path, name[16];
	int err = spot_in(b, &b->names, "names");

	if (!err)
		err = oriel_mkdir(b->s, b->names.share, 0700);
	while (!err && b->n_names < BENCH_NAMES) {
		snprintf(name, sizeof(name), "%u", (unsigned)b->n_names);
		err = join(b->names.share, name, &path);
		if (!err) {
			b->n_names++;
			err = make_file(b, path, 0);
			free(path);
		}
		if (cli_signal())
			err = -EINTR;
	}
	return err;
}

/* Asked first: a full disk is no good to anybody else either. */
static int check_space(struct bench *b, uint64_t size)
{
	struct statvfs v;
	uint64_t need = size + OTHER_FILES_BYTES, have;
	char needs[FMT_LEN], has[FMT_LEN];
	int err = oriel_statfs(b->s, b->scratch.share, &v);

	if (err)
		return err;
	have = (uint64_t)v.f_bavail * v.f_frsize;
	if (have >= need || !v.f_blocks)
		return 0;
	snprintf(b->space_text, sizeof(b->space_text), "%s are needed, %s are "
		 "free: give a smaller --size, or measure a file that exists",
		 fmt_bytes((double)need, needs), fmt_bytes((double)have, has));
	return -ENOSPC;
}

static int make_all(struct bench *b, uint64_t size)
{
	int err = check_space(b, size);

	make_bytes(b);
	if (!err)
		err = make_data(b, size);
	if (!err)
		err = make_append(b);
	if (!err)
		err = make_small(b);
	if (!err)
		err = make_names(b);
	return err;
}

/* -EROFS and its like, with nothing made, where nothing can be. */
static int make_scratch(struct bench *b, const char *path)
{
	int err = oriel_mkdir(b->s, path, 0700);

	return err ? err : spot_set(b, &b->scratch, path);
}

/* --------------------------------------------------- what is there already */

/* A file that is there already is only read. */
static int use_file(struct bench *b, const char *path, uint64_t size,
		    const char *why)
{
	char *dir = path_dir(path);
	int err = dir ? spot_set(b, &b->data, path) : -ENOMEM;

	b->why_not_write = why;
	b->size = size;
	b->small_is_file = true;
	if (!err)
		err = oriel_open(b->s, path, O_RDONLY, 0, &b->file);
	if (!err)
		err = open_native(b, false);
	if (!err)
		err = spot_set(b, &b->small, path);
	if (!err && !b->names.share)
		err = spot_set(b, &b->names, *dir ? dir : "/");
	free(dir);
	return err;
}

/* The longest regular file found. */
struct look {
	struct bench *b;
	char *path;
	uint64_t size;
	unsigned left; /* entries to look at */
};

static void look_into(struct look *l, const char *dir, unsigned depth);

static void look_at(struct look *l, const char *dir,
		    const struct oriel_dirent *e, unsigned depth)
{
	char *path = path_join(dir, e->name);
	struct oriel_file *f;

	if (path && e->type == DT_DIR && depth)
		look_into(l, path, depth - 1);
	if (path && e->has_stat && S_ISREG(e->st.mode) &&
	    e->st.size > l->size &&
	    !oriel_open(l->b->s, path, O_RDONLY, 0, &f)) {
		oriel_close(f);
		free(l->path);
		l->path = path;
		l->size = e->st.size;
		return;
	}
	free(path);
}

static void look_into(struct look *l, const char *dir, unsigned depth)
{
	struct oriel_dirent e;
	struct oriel_dir *d;

	if (oriel_opendir(l->b->s, dir, ORIEL_DIR_STAT, &d))
		return;
	while (l->left && !cli_signal() && oriel_readdir(d, &e) > 0) {
		if (!strcmp(e.name, ".") || !strcmp(e.name, ".."))
			continue;
		l->left--;
		look_at(l, dir, &e, depth);
	}
	oriel_closedir(d);
}

/* Nothing can be made at @dir. */
static int use_what_is_there(struct bench *b, const char *dir,
			     const char *why, uint64_t size)
{
	struct look l = { .b = b, .left = LOOK_MAX };
	int err = spot_set(b, &b->names, dir);

	if (err)
		return err;
	look_into(&l, dir, LOOK_DEPTH);
	b->why_not_write = why;
	if (l.size >= BENCH_BUF_BYTES) {
		err = use_file(b, l.path, l.size < size ? l.size : size, why);
	} else {
		b->why_not_read = "no file of 1 MiB or more to read";
		b->small_is_file = l.size >= 4096;
		err = spot_set(b, &b->small, b->small_is_file ? l.path : dir);
	}
	free(l.path);
	return err;
}

static const char *why_not_made(int err)
{
	switch (err) {
	case -EROFS:
		return "the share is read-only";
	case -EACCES:
	case -EPERM:
		return "files may not be made here";
	default:
		return NULL;
	}
}

static uint64_t count_names(struct bench *b)
{
	struct oriel_dirent e;
	struct oriel_dir *d;
	uint64_t n = 0;

	if (oriel_opendir(b->s, b->names.share, 0, &d))
		return 0;
	while (oriel_readdir(d, &e) > 0)
		n += strcmp(e.name, ".") && strcmp(e.name, "..");
	oriel_closedir(d);
	return n;
}

static int use_given(struct bench *b, const char *path,
		     const struct oriel_stat *st, uint64_t size)
{
	int err;

	if (!S_ISREG(st->mode))
		return -EINVAL;
	if (st->size < BENCH_BUF_BYTES)
		return -ENODATA;
	err = use_file(b, path, st->size < size ? st->size : size,
		       "the file is not ours to write");
	b->n_names = err ? 0 : count_names(b);
	return err;
}

/* A directory of a name that nobody has. */
static int make_in(struct bench *b, const char *dir)
{
	char *base, name[64];
	int err = -EEXIST;

	for (unsigned i = 0; err == -EEXIST && i < NAMES_TRIED; i++) {
		snprintf(name, sizeof(name), ".oriel-bench-%ld-%u",
			 (long)getpid(), i);
		base = path_join(dir, name);
		err = base ? make_scratch(b, base) : -ENOMEM;
		free(base);
	}
	return err;
}

int bench_scene_open(struct bench *b, const char *path, uint64_t size)
{
	struct oriel_stat st;
	int err = oriel_stat(b->s, path, 0, &st);
	bool is_new = err == -ENOENT;

	if (err && !is_new)
		return err;
	if (!is_new && !S_ISDIR(st.mode))
		return use_given(b, path, &st, size);
	err = is_new ? make_scratch(b, path) : make_in(b, path);
	if (!err)
		return make_all(b, size);
	if (is_new || !why_not_made(err))
		return err;
	err = use_what_is_there(b, path, why_not_made(err), size);
	b->n_names = err ? 0 : count_names(b);
	return err;
}

/* ------------------------------------------------------------- removing */

/* Through the share, or past it when there is nobody any more. */
static int remove_one(struct bench *b, const struct spot *sp, bool is_dir)
{
	int err = b->dead;

	if (!sp->share)
		return 0;
	if (!err)
		err = is_dir ? oriel_rmdir(b->s, sp->share) :
			       oriel_unlink(b->s, sp->share);
	if (bench_is_dead(err))
		b->dead = err;
	if (b->dead) {
		int past = bench_native_remove(b, sp, is_dir);

		/* it may have gone before the answer was lost */
		err = !past || past == -ENOENT ? 0 : err;
	}
	return err == -ENOENT ? 0 : err;
}

static void remove_names(struct bench *b)
{
	for (uint64_t i = 0; i < b->n_names; i++) {
		struct spot one = { 0 };
		char name[32];

		snprintf(name, sizeof(name), "names/%u", (unsigned)i);
		if (!spot_in(b, &one, name))
			remove_one(b, &one, false);
		spot_free(&one);
	}
	remove_one(b, &b->names, true);
}

static void remove_all(struct bench *b)
{
	int err;

	remove_one(b, &b->data, false);
	remove_one(b, &b->append, false);
	remove_one(b, &b->append_native, false);
	remove_one(b, &b->small, false);
	err = remove_one(b, &b->scratch, true);
	if (err)
		cli_error(b->c, b->share, "%s is left behind: %s",
			  b->scratch.share, oriel_strerror(err));
}

void bench_scene_close(struct bench *b)
{
	if (b->fd >= 0)
		close(b->fd);
	if (b->grow_fd >= 0)
		close(b->grow_fd);
	/* First of all: tells whether there is anybody left to close for. */
	if (b->scratch.share && b->names.share)
		remove_names(b);
	if (b->dead != -ETIMEDOUT) {
		oriel_close(b->grow);
		oriel_close(b->file);
	}
	if (b->scratch.share)
		remove_all(b);
	spot_free(&b->scratch);
	spot_free(&b->data);
	spot_free(&b->small);
	spot_free(&b->append);
	spot_free(&b->append_native);
	spot_free(&b->names);
}
