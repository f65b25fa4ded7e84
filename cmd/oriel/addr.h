/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Addresses: SHARE:PATH, SHARE, and local paths.
 *
 * The text is split at the first ':' behind a directory or a socket; when
 * there is none, the text as a whole is the share if it names one of the two,
 * and else it is split at its first ':'. An empty SHARE (":path") is the share
 * of the operand before. Where local paths are allowed (cp), these are local:
 * what has no ':', what follows "local:", and what begins with "./" or "../"
 * and has no directory or socket before any ':'.
 */
#ifndef ORIEL_CLI_ADDR_H
#define ORIEL_CLI_ADDR_H

#include <stdbool.h>
#include <stddef.h>

struct addr {
	char *share;      /* NULL: a local path */
	char *path;       /* "" only for a local operand that was empty */
	const char *text; /* as typed; not owned */
	bool bare;        /* no path was given: "/" was put there */
};

/*
 * @prev: the share of the operand before, or NULL. @local: local paths are
 * allowed. 0, -ENOMEM, or -EINVAL for ":path" with no share before. Freed by
 * addr_done().
 */
int addr_parse(const char *text, const char *prev, bool local,
	       struct addr *ret);
void addr_done(struct addr *a);

/* "SHARE:PATH", or @path when @share is NULL; to be freed. */
char *addr_text(const char *share, const char *path);

/* @dir and @name with one '/' between them; to be freed. */
char *path_join(const char *dir, const char *name);
/* The last component without trailing slashes; to be freed. "" for the root. */
char *path_base(const char *path);
/* What precedes the last component ("a/b" of "a/b/c", "/" of "/a", "" of "a");
 * to be freed. */
char *path_dir(const char *path);
/* True for "", "/", ".", "./." and the like: the root of a share. */
bool path_is_root(const char *path);

#endif
