/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Addresses and path text. Looks at the file system only to learn whether a
 * part of the text names a directory or a socket.
 */
#include "addr.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* True when the first @len bytes of @text name a directory or a socket. */
static bool names_share(const char *text, size_t len)
{
	char *name = strndup(text, len);
	struct stat st;
	bool yes;

	yes = name && stat(name, &st) == 0 &&
	      (S_ISDIR(st.st_mode) || S_ISSOCK(st.st_mode));
	free(name);
	return yes;
}

/* The ':' that ends a share which exists, or NULL. */
static const char *existing_split(const char *text)
{
	for (const char *p = strchr(text, ':'); p; p = strchr(p + 1, ':'))
		if (p > text && names_share(text, (size_t)(p - text)))
			return p;
	return NULL;
}

static bool is_dotted(const char *text)
{
	return strncmp(text, "./", 2) == 0 || strncmp(text, "../", 3) == 0;
}

/* The text of a local path, or NULL when @text is an address. */
static const char *local_part(const char *text, const char *split)
{
	if (strncmp(text, "local:", 6) == 0)
		return text + 6;
	if (!strchr(text, ':') || (!split && is_dotted(text)))
		return text;
	return NULL;
}

static int addr_fill(struct addr *ret, const char *text, char *share,
		     const char *path)
{
	bool bare = share && !*path;
	char *p = strdup(bare ? "/" : path);

	if (!p) {
		free(share);
		return -ENOMEM;
	}
	*ret = (struct addr){
		.share = share, .path = p, .text = text, .bare = bare,
	};
	return 0;
}

int addr_parse(const char *text, const char *prev, bool local,
	       struct addr *ret)
{
	const char *split = existing_split(text);
	const char *path;
	char *share;

	path = local ? local_part(text, split) : NULL;
	if (path)
		return addr_fill(ret, text, NULL, path);
	if (!split && !names_share(text, strlen(text)))
		split = strchr(text, ':');
	if (split == text && !prev)
		return -EINVAL;
	path = split ? split + 1 : "";
	if (split == text)
		share = strdup(prev);
	else
		share = split ? strndup(text, (size_t)(split - text)) :
				strdup(text);
	return share ? addr_fill(ret, text, share, path) : -ENOMEM;
}

void addr_done(struct addr *a)
{
	free(a->share);
	free(a->path);
	*a = (struct addr){ 0 };
}

char *addr_text(const char *share, const char *path)
{
	char *text;

	if (!share)
		return strdup(path);
	return asprintf(&text, "%s:%s", share, path) < 0 ? NULL : text;
}

char *path_join(const char *dir, const char *name)
{
	size_t len = strlen(dir), name_len = strlen(name);
	char *buf = malloc(len + name_len + 2);
	char *p = buf;

	if (!buf)
		return NULL;
	memcpy(p, dir, len);
	p += len;
	if (len && p[-1] != '/')
		*p++ = '/';
	memcpy(p, name, name_len + 1);
	return buf;
}

/* The end of @path without trailing slashes. */
static size_t trimmed_len(const char *path)
{
	size_t len = strlen(path);

	while (len && path[len - 1] == '/')
		len--;
	return len;
}

static size_t base_start(const char *path, size_t len)
{
	while (len && path[len - 1] != '/')
		len--;
	return len;
}

char *path_base(const char *path)
{
	size_t len = trimmed_len(path);
	size_t at = base_start(path, len);

	return strndup(path + at, len - at);
}

char *path_dir(const char *path)
{
	size_t at = base_start(path, trimmed_len(path));

	while (at > 1 && path[at - 1] == '/')
		at--;
	return strndup(path, at);
}

bool path_is_root(const char *path)
{
	while (*path) {
		size_t n = strcspn(path, "/");

		if (n > 1 || (n == 1 && path[0] != '.'))
			return false;
		path += n;
		path += *path == '/';
	}
	return true;
}
