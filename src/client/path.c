/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Paths: nothing cached, so that a name is always what the daemon has now. One
 * LOOKUP a component; or, where the daemon can (compound.c), one message for all
 * names up to "..", the end, or the next symbolic link: what it found is kept
 * "ahead" of the walk, which then goes through it as through answers to LOOKUPs.
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
	bool whole; /* the last name too is looked up */
	/* what the names that follow were found to be, counted */
	struct client_inode *ahead[FUSE_WIRE_WALK_NAMES];
	unsigned n_ahead;
	unsigned at_ahead;
	int err_ahead; /* of the name after those; 0: not known */
	/* of the last look-up */
	struct fuse_attr attr;
	uint64_t version;
	struct client_walk_open *open; /* NULL: nothing is to be opened */
};

int client_lookup_attr(struct client_inode *dir, const char *name,
		       struct fuse_attr *attr, struct client_inode **ret)
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
	err = client_inode_get(s, &out, version, ret);
	if (!err)
		*attr = out.attr;
	return err;
}

int client_lookup(struct client_inode *dir, const char *name,
		  struct client_inode **ret)
{
	struct fuse_attr attr;

	return client_lookup_attr(dir, name, &attr, ret);
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
	w->whole = false;
	w->n_ahead = 0;
	w->at_ahead = 0;
	w->err_ahead = 0;
	w->version = CLIENT_VERSION_OLD;
	w->open = NULL;
	return 0;
}

static void walker_done(struct walker *w)
{
	while (w->at_ahead < w->n_ahead)
		client_inode_put(w->ahead[w->at_ahead++]);
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
 * @name and the names that follow it, as far as one message goes; true: they are
 * all there are, and the path ends with the last one.
 */
static bool names_from(const struct walker *w, const char *name,
		       struct client_names *ret)
{
	const char *p = w->text + w->pos;

	ret->len = 0;
	ret->n = 0;
	if (!client_names_add(ret, name, strlen(name)))
		return false;
	for (;;) {
		const char *next = p + strspn(p, "/");
		size_t len = strcspn(next, "/");
		const char *rest = next + len;

		if (!len) /* a slash at the end: it has to be a directory */
			return next == p;
		p = rest;
		if (len == 1 && next[0] == '.')
			continue;
		if (len == 2 && next[0] == '.' && next[1] == '.')
			return false;
		if (!w->whole && !rest[strspn(rest, "/")])
			return false;
		if (!client_names_add(ret, next, len))
			return false;
	}
}

/* Look up @name and what follows; as client_compound(). */
static int look_ahead(struct walker *w, const char *name)
{
	struct client_names names;
	bool all = names_from(w, name, &names);
	struct client_walk_open *open = all ? w->open : NULL;
	uint64_t version = client_version(w->s);
	int err;

	if (!names.n || (names.n == 1 && !open))
		return -EOPNOTSUPP;
	err = client_compound(top(w), &names, open);
	if (err)
		return err;
	memcpy(w->ahead, names.found, names.n_found * sizeof(w->ahead[0]));
	w->n_ahead = names.n_found;
	w->at_ahead = 0;
	w->err_ahead = names.err;
	w->attr = names.attr;
	w->version = version;
	return 0;
}

/* What @name, which was just taken from the text, is in the directory at the
 * top. */
static int look_up(struct walker *w, const char *name,
		   struct client_inode **ret)
{
	int err = -EOPNOTSUPP;

	/* one name is what LOOKUP is for */
	if ((w->open || w->text[w->pos]) && w->at_ahead == w->n_ahead &&
	    !w->err_ahead && client_can_compound(w->s)) {
		err = look_ahead(w, name);
		if (err && err != -EOPNOTSUPP)
			return err;
	}
	if (w->at_ahead < w->n_ahead) {
		*ret = w->ahead[w->at_ahead++];
		return 0;
	}
	if (w->err_ahead)
		return w->err_ahead;
	w->version = client_version(w->s);
	return client_lookup_attr(top(w), name, &w->attr, ret);
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
		r = look_up(w, name, &ino);
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
			ret->version = CLIENT_VERSION_OLD;
			client_inode_ref(ret->ino);
			return 0;
		}
		err = look_up(w, ret->name, &ino);
		if (err == -ENOENT) {
			ret->ino = NULL;
			return 0;
		}
		if (err)
			return err;
		if (!S_ISLNK(ino->type) ||
		    ((w->flags & CLIENT_WALK_NOFOLLOW) && !ret->must_be_dir)) {
			ret->ino = ino;
			ret->attr = w->attr;
			ret->version = w->version;
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
		       unsigned flags, struct client_walk_open *open,
		       struct client_walk *ret)
{
	struct walker w;
	int err;

	if (!path[0])
		return -ENOENT;
	err = walker_init(&w, s, path, flags);
	if (err)
		return err;
	w.whole = true;
	w.open = open;
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
	int err = client_walk_create(s, path, flags, NULL, &w);

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
