/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Trees. The names come from a daemon that is not trusted: below an operand
 * nothing is written through a symbolic link, so that a listing cannot lead a
 * copy out of its destination.
 */
#include "copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "addr.h"

static void fail_at(struct copy_job *j, const struct copy_side *side,
		    const char *path, int err)
{
	char *text;

	if (err == -EINTR && cli_signal()) {
		j->c->status = CLI_FAILED;
		return;
	}
	text = addr_text(side->share, path);
	cli_fail(j->c, side->s, text ? text : path, err);
	free(text);
	progress_show(&j->progress);
}

static void refuse(struct copy_job *j, const struct copy_side *side,
		   const char *path, const char *why)
{
	char *text = addr_text(side->share, path);

	cli_error(j->c, text ? text : path, "%s", why);
	free(text);
}

static void show_copy(struct copy_job *j, const char *src, const char *dst)
{
	char *from, *to;

	if (!j->o->show)
		return;
	from = addr_text(j->src.share, src);
	to = addr_text(j->dst.share, dst);
	cli_print_name(from ? from : src);
	fputs(" -> ", stdout);
	cli_print_name(to ? to : dst);
	putchar('\n');
	free(from);
	free(to);
}

/* Below an operand a link at the destination is not followed. */
static bool follow_dst(const struct copy_job *j)
{
	return j->depth == 0;
}

/*
 * Open the destination for writing, empty. *@ret_made: it did not exist, and
 * is ours to remove when the copy fails. 1: leave it (-n).
 */
static int open_dst(struct copy_job *j, const char *dst, mode_t mode,
		    struct vfs_file *out, bool *ret_made)
{
	int flags = O_WRONLY | (follow_dst(j) ? 0 : O_NOFOLLOW);
	int r = vfs_open(j->dst.s, dst, O_WRONLY | O_CREAT | O_EXCL, mode,
			 out);

	*ret_made = r >= 0;
	if (r != -EEXIST)
		return r;
	if (j->o->no_clobber)
		return 1;
	r = vfs_open(j->dst.s, dst, flags | O_TRUNC, 0, out);
	/* -EISDIR and the like are not cured by removing. */
	if (j->o->force && (r == -EACCES || r == -ETXTBSY || r == -ELOOP ||
			    r == -ENXIO || r == -ENOENT)) {
		r = vfs_unlink(j->dst.s, dst);
		if (r >= 0)
			r = vfs_open(j->dst.s, dst,
				     O_WRONLY | O_CREAT | O_EXCL, mode, out);
		*ret_made = r >= 0;
	}
	return r;
}

static int fill_dst(struct copy_job *j, struct vfs_file *in,
		    const struct oriel_stat *st, const char *dst)
{
	mode_t mode = st->mode & 0777 & ~j->umask;
	struct vfs_file out;
	bool made;
	int r, closed;

	/* Not readable by others before the owner is right. */
	if (j->o->preserve)
		mode &= 0700;
	r = open_dst(j, dst, mode | 0200, &out, &made);
	if (r)
		return r;
	r = copy_data(j, in, &out);
	closed = vfs_close(&out);
	r = r < 0 ? r : closed;
	if (r < 0 && made)
		vfs_unlink(j->dst.s, dst);
	if (r >= 0 && j->o->preserve)
		r = copy_attr(j, dst, st, made);
	else if (r >= 0 && made && !(mode & 0200))
		r = vfs_setattr(j->dst.s, dst, &(struct oriel_setattr){
			.mask = ORIEL_SET_MODE, .mode = mode });
	return r;
}

static bool is_same(const struct copy_job *j, const struct oriel_stat *st,
		    const char *dst)
{
	struct oriel_stat other;

	return vfs_stat(j->dst.s, dst, true, &other) >= 0 &&
	       copy_same_file(st, &other);
}

static void copy_file(struct copy_job *j, const char *src, const char *dst)
{
	int flags = O_RDONLY | (j->depth ? O_NOFOLLOW : 0);
	struct oriel_stat st;
	struct vfs_file in;
	int r = vfs_open(j->src.s, src, flags, 0, &in);

	if (r < 0) {
		fail_at(j, &j->src, src, r);
		return;
	}
	r = vfs_fstat(&in, &st);
	if (r < 0) {
		fail_at(j, &j->src, src, r);
	} else if (is_same(j, &st, dst)) {
		refuse(j, &j->dst, dst, "is the same file as its source");
	} else {
		r = fill_dst(j, &in, &st, dst);
		if (r < 0)
			fail_at(j, &j->dst, dst, r);
		else if (r == 0)
			show_copy(j, src, dst);
	}
	vfs_close(&in);
	progress_file_done(&j->progress);
}

static int make_link(struct copy_job *j, const char *target, const char *dst)
{
	struct oriel_stat st;
	int r = vfs_symlink(j->dst.s, target, dst);

	if (r != -EEXIST)
		return r;
	if (j->o->no_clobber)
		return 1;
	r = vfs_stat(j->dst.s, dst, false, &st);
	if (r >= 0 && S_ISDIR(st.mode))
		return -EISDIR;
	if (r >= 0)
		r = vfs_unlink(j->dst.s, dst);
	return r < 0 ? r : vfs_symlink(j->dst.s, target, dst);
}

static void copy_link(struct copy_job *j, const struct oriel_stat *st,
		      const char *src, const char *dst)
{
	char *target;
	int r = vfs_readlink(j->src.s, src, &target);

	if (r < 0) {
		fail_at(j, &j->src, src, r);
		return;
	}
	r = make_link(j, target, dst);
	if (r == 0) {
		show_copy(j, src, dst);
		r = copy_attr(j, dst, st, true);
	}
	if (r < 0)
		fail_at(j, &j->dst, dst, r);
	free(target);
	progress_file_done(&j->progress);
}

/* Make the directory, or take one that is there. */
static int enter_dst(struct copy_job *j, const struct oriel_stat *st,
		     const char *dst, bool *ret_made)
{
	struct oriel_stat old;
	int r = vfs_mkdir(j->dst.s, dst,
			  (st->mode & 0777 & ~j->umask) | 0700);

	*ret_made = r >= 0;
	/* On a read-only share it may exist too, but nothing else will work:
	 * one message is enough. */
	if (r != -EEXIST)
		return r;
	r = vfs_stat(j->dst.s, dst, follow_dst(j), &old);
	if (r < 0)
		return r;
	return S_ISDIR(old.mode) ? 0 : -ENOTDIR;
}

/* Is the source directory @st the one this copy began by making? */
static bool is_top(const struct copy_job *j, const struct oriel_stat *st)
{
	struct oriel_stat now;

	return j->top_path && st->ino == j->top_ino &&
	       vfs_stat(j->dst.s, j->top_path, true, &now) >= 0 &&
	       now.ino == st->ino &&
	       (j->src.s == j->dst.s || copy_same_file(&now, st));
}

static void remember_top(struct copy_job *j, const char *dst)
{
	struct oriel_stat st;

	if (j->depth || vfs_stat(j->dst.s, dst, true, &st) < 0)
		return;
	j->top_path = dst;
	j->top_ino = st.ino;
}

static void copy_entries(struct copy_job *j, const char *src, const char *dst,
			 const struct vfs_names *names)
{
	j->depth++;
	for (size_t i = 0; i < names->n && !cli_signal(); i++) {
		char *from = path_join(src, names->names[i]);
		char *to = path_join(dst, names->names[i]);

		if (from && to)
			copy_path(j, from, to);
		else
			fail_at(j, &j->src, src, -ENOMEM);
		free(from);
		free(to);
	}
	j->depth--;
}

static void copy_dir(struct copy_job *j, const struct oriel_stat *st,
		     const char *src, const char *dst)
{
	struct vfs_names names = { 0 };
	bool made;
	int r = vfs_list(j->src.s, src, &names);

	if (r < 0) {
		fail_at(j, &j->src, src, r);
		return;
	}
	r = enter_dst(j, st, dst, &made);
	if (r >= 0) {
		show_copy(j, src, dst);
		remember_top(j, dst);
		copy_entries(j, src, dst, &names);
		r = made || j->o->preserve ? copy_attr(j, dst, st, made) : 0;
	}
	if (r < 0)
		fail_at(j, &j->dst, dst, r);
	if (!j->depth)
		j->top_path = NULL;
	vfs_names_done(&names);
}

void copy_path(struct copy_job *j, const char *src, const char *dst)
{
	struct oriel_stat st;
	int r = vfs_stat(j->src.s, src, !j->o->recursive, &st);

	if (r < 0)
		fail_at(j, &j->src, src, r);
	else if (S_ISREG(st.mode))
		copy_file(j, src, dst);
	else if (S_ISLNK(st.mode))
		copy_link(j, &st, src, dst);
	else if (!S_ISDIR(st.mode))
		refuse(j, &j->src, src, "not a file, directory or link: not "
		       "copied");
	else if (!j->o->recursive)
		refuse(j, &j->src, src, "is a directory (-r copies those)");
	else if (is_top(j, &st))
		refuse(j, &j->src, src, "not copied into itself");
	else if (j->depth >= COPY_MAX_DEPTH)
		fail_at(j, &j->src, src, -ELOOP);
	else
		copy_dir(j, &st, src, dst);
}

/* Errors are left to the copy, which reports them. */
void copy_measure(struct copy_job *j, const char *path)
{
	struct vfs_names names;
	struct oriel_stat st;

	if (vfs_stat(j->src.s, path, !j->o->recursive, &st) < 0)
		return;
	if (!S_ISDIR(st.mode)) {
		j->progress.total_files++;
		j->progress.total_bytes += S_ISREG(st.mode) ? st.size : 0;
		return;
	}
	if (!j->o->recursive || j->depth >= COPY_MAX_DEPTH ||
	    vfs_list(j->src.s, path, &names) < 0)
		return;
	j->depth++;
	for (size_t i = 0; i < names.n && !cli_signal(); i++) {
		char *sub = path_join(path, names.names[i]);

		if (sub)
			copy_measure(j, sub);
		free(sub);
	}
	j->depth--;
	vfs_names_done(&names);
}
