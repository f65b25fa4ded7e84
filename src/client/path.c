/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Paths: one LOOKUP a component, nothing cached, so that a name is always what
 * the daemon has now.
 *
 * The walk keeps the chain of directories from the root, so ".." is a step back
 * in it and can never leave the share; the text still to be walked is kept in one
 * buffer, into which the target of a symbolic link is put in front of the rest.
 */
#include "client/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_LINKS 40
#define MAX_PATH (64u << 10)

/* A walk under way. */
struct walker {
	struct oriel_session *s;
	struct client_inode **chain; /* chain[0] is the root */
	size_t depth;                /* entries in use */
	size_t cap;
	struct client_inode *few[16]; /* the chain of most walks */
	const char *text; /* what is left begins at pos */
	char *owned;      /* what text points to after a link; malloc'ed */
	size_t pos;
	unsigned links;
	unsigned flags;
};

int client_lookup(struct client_inode *dir, const char *name,
		  struct client_inode **ret)
{
	struct oriel_session *s = dir->s;
	struct fuse_entry_out out;
	uint64_t version = client_version(s);
	struct client_call c = {
		.opcode = FUSE_LOOKUP,
		.nodeid = dir->nodeid,
		.names = { name },
		.out = &out,
		.out_len = sizeof(out),
	};
	int err = client_call(s, &c);

	if (err)
		return err;
	if (out.nodeid == 0) /* a negative entry */
		return -ENOENT;
	return client_inode_get(s, &out, version, ret);
}

ssize_t client_readlink(struct client_inode *ino, char *buf, size_t len)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct client_call c = {
		.opcode = FUSE_READLINK,
		.nodeid = ino->nodeid,
		.bulk = &iov,
		.n_bulk = 1,
		.bulk_len = len,
	};
	int err;

	if (!S_ISLNK(ino->type))
		return -EINVAL;
	err = client_call(ino->s, &c);
	return err ? err : (ssize_t)c.ret_bulk;
}

static int chain_push(struct walker *w, struct client_inode *ino)
{
	if (w->depth == w->cap) {
		struct client_inode **p = w->chain == w->few ? NULL : w->chain;

		p = realloc(p, 2 * w->cap * sizeof(struct client_inode *));
		if (!p)
			return -ENOMEM;
		if (w->chain == w->few)
			memcpy(p, w->few, sizeof(w->few));
		w->chain = p;
		w->cap *= 2;
	}
	w->chain[w->depth++] = ino;
	return 0;
}

static void chain_cut(struct walker *w, size_t depth)
{
	while (w->depth > depth)
		client_inode_put(w->chain[--w->depth]);
}

static int walker_init(struct walker *w, struct oriel_session *s,
		       const char *path, unsigned flags)
{
	if (strlen(path) >= FUSE_WIRE_PATH_MAX)
		return -ENAMETOOLONG;
	w->s = s;
	w->chain = w->few;
	w->cap = ARRAY_LEN(w->few);
	w->few[0] = s->root;
	w->depth = 1;
	client_inode_ref(s->root);
	w->text = path;
	w->owned = NULL;
	w->pos = 0;
	w->links = 0;
	w->flags = flags;
	return 0;
}

static void walker_done(struct walker *w)
{
	chain_cut(w, 0);
	if (w->chain != w->few)
		free(w->chain);
	free(w->owned);
}

/* The next component into @name: 1, 0 at the end, or -ENAMETOOLONG. */
static int next_name(struct walker *w, char *name)
{
	const char *p = w->text + w->pos;
	size_t len;

	p += strspn(p, "/");
	len = strcspn(p, "/");
	if (len > FUSE_WIRE_NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(name, p, len);
	name[len] = '\0';
	w->pos = (size_t)(p - w->text) + len;
	return len > 0;
}

/* Is there no further component? */
static bool at_end(const struct walker *w)
{
	const char *p = w->text + w->pos;

	return p[strspn(p, "/")] == '\0';
}

/* Put the target of @link in front of what is left. */
static int expand_link(struct walker *w, struct client_inode *link)
{
	char target[FUSE_WIRE_PATH_MAX];
	size_t rest = strlen(w->text + w->pos);
	ssize_t n;
	char *text;

	if (++w->links > MAX_LINKS)
		return -ELOOP;
	n = client_readlink(link, target, sizeof(target) - 1);
	if (n < 0)
		return (int)n;
	if (n == 0 || memchr(target, '\0', (size_t)n))
		return -ENOENT;
	if ((size_t)n + rest >= MAX_PATH)
		return -ENAMETOOLONG;
	text = malloc((size_t)n + rest + 1);
	if (!text)
		return -ENOMEM;
	memcpy(text, target, (size_t)n);
	memcpy(text + n, w->text + w->pos, rest + 1);
	free(w->owned);
	w->owned = text;
	w->text = text;
	w->pos = 0;
	if (text[0] == '/')
		chain_cut(w, 1); /* absolute: from the share's root */
	return 0;
}

static struct client_inode *top(const struct walker *w)
{
	return w->chain[w->depth - 1];
}

/* The last of the chain, with the chain's reference. */
static struct client_inode *take_top(struct walker *w)
{
	return w->chain[--w->depth];
}

/*
 * Walk to the directory of the last real name, which is left in @name ("" if the
 * path ends in the root, "." or ".."; the directory is then what it names).
 */
static int walk_dirs(struct walker *w, char *name)
{
	struct client_inode *ino;
	int r;

	while ((r = next_name(w, name)) > 0) {
		if (!S_ISDIR(top(w)->type))
			return -ENOTDIR;
		if (strcmp(name, ".") == 0)
			continue;
		if (strcmp(name, "..") == 0) {
			if (w->depth > 1)
				chain_cut(w, w->depth - 1);
			continue;
		}
		if (at_end(w))
			return 0;
		r = client_lookup(top(w), name, &ino);
		if (r)
			return r;
		if (S_ISLNK(ino->type)) {
			r = expand_link(w, ino);
			client_inode_put(ino);
		} else {
			r = chain_push(w, ino);
			if (r)
				client_inode_put(ino);
		}
		if (r)
			return r;
	}
	name[0] = '\0';
	return r;
}

static bool trailing_slash(const struct walker *w)
{
	return w->text[w->pos] == '/';
}

/* The last component too; a missing one leaves ret->ino NULL. */
static int walk_last(struct walker *w, struct client_walk *ret)
{
	struct client_inode *ino;
	int err;

	for (;;) {
		err = walk_dirs(w, ret->name);
		if (err)
			return err;
		ret->must_be_dir = trailing_slash(w);
		if (!ret->name[0]) {
			ret->ino = top(w);
			client_inode_ref(ret->ino);
			return 0;
		}
		err = client_lookup(top(w), ret->name, &ino);
		if (err == -ENOENT) {
			ret->ino = NULL;
			return 0;
		}
		if (err)
			return err;
		if (!S_ISLNK(ino->type) ||
		    ((w->flags & CLIENT_WALK_NOFOLLOW) && !ret->must_be_dir)) {
			ret->ino = ino;
			break;
		}
		err = expand_link(w, ino);
		client_inode_put(ino);
		if (err)
			return err;
	}
	if (ret->must_be_dir && !S_ISDIR(ret->ino->type)) {
		client_inode_put(ret->ino);
		ret->ino = NULL;
		return -ENOTDIR;
	}
	return 0;
}

int client_walk_create(struct oriel_session *s, const char *path,
		       unsigned flags, struct client_walk *ret)
{
	struct walker w;
	int err;

	if (!path[0])
		return -ENOENT;
	err = walker_init(&w, s, path, flags);
	if (err)
		return err;
	memset(ret, 0, sizeof(*ret));
	err = walk_last(&w, ret);
	if (!err)
		ret->dir = take_top(&w);
	walker_done(&w);
	return err;
}

int client_walk(struct oriel_session *s, const char *path, unsigned flags,
		struct client_walk *ret)
{
	struct client_walk w;
	int err = client_walk_create(s, path, flags, &w);

	if (err)
		return err;
	if (!w.ino) {
		client_walk_done(&w);
		return -ENOENT;
	}
	*ret = w;
	return 0;
}

int client_walk_parent(struct oriel_session *s, const char *path,
		       struct client_walk *ret)
{
	struct walker w;
	int err;

	if (!path[0])
		return -ENOENT;
	err = walker_init(&w, s, path, 0);
	if (err)
		return err;
	memset(ret, 0, sizeof(*ret));
	err = walk_dirs(&w, ret->name);
	if (!err && !ret->name[0])
		err = -EBUSY;
	if (!err && !S_ISDIR(top(&w)->type))
		err = -ENOTDIR;
	if (!err) {
		ret->must_be_dir = trailing_slash(&w);
		ret->dir = take_top(&w);
	}
	walker_done(&w);
	return err;
}

void client_walk_done(struct client_walk *w)
{
	client_inode_put(w->ino);
	client_inode_put(w->dir);
	w->ino = NULL;
	w->dir = NULL;
}
