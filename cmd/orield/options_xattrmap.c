/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --xattrmap: rules ":TYPE:SCOPE:KEY:PREPEND:", one after another, with any
 * delimiter that each rule begins with, and blanks between them. As in
 * virtiofsd, ":map:KEY:PREPEND:" as the last stands for a usual set of them.
 */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The field at *@pos up to @end, which is passed over. */
static int take_field(const char **pos, char end, char *ret)
{
	const char *stop = strchr(*pos, end);
	size_t len;

	if (!stop)
		return -EINVAL;
	len = (size_t)(stop - *pos);
	if (len >= SERVER_XATTR_NAME)
		return -EINVAL;
	memcpy(ret, *pos, len);
	ret[len] = '\0';
	*pos = stop + 1;
	return 0;
}

static int add(struct server_xattrmap *map, enum server_xattr_kind kind,
	       const char *scope, const char *const words[2])
{
	struct server_xattr_rule *r = &map->rule[map->n];

	if (map->n == SERVER_XATTR_RULES)
		return -ENOSPC;
	r->kind = kind;
	r->client = strcmp(scope, "server") != 0;
	r->server = strcmp(scope, "client") != 0;
	strcpy(r->key, words[0]);
	strcpy(r->prepend, words[1]);
	map->n++;
	return 0;
}

/* What "map" stands for. */
static int add_map(struct server_xattrmap *map, const char *key,
		   const char *prepend)
{
	const char *const both[2] = { key, prepend };
	const char *const none[2] = { "", "" };
	const char *const host[2] = { "", key };
	const char *const direct[2] = { prepend, "" };
	int r = add(map, SERVER_XATTR_PREFIX, "all", both);

	if (!*key)
		return r ? r : add(map, SERVER_XATTR_BAD, "all", none);
	/* the host's own of that name */
	if (!r)
		r = add(map, SERVER_XATTR_BAD, "server", host);
	/* what is stored for others, by its stored name */
	if (!r)
		r = add(map, SERVER_XATTR_BAD, "client", direct);
	if (!r)
		r = add(map, SERVER_XATTR_OK, "all", none);
	return r;
}

static int parse_rule(struct server_xattrmap *map, const char **pos,
		      bool *ret_last)
{
	char type[SERVER_XATTR_NAME];
	char scope[SERVER_XATTR_NAME];
	char key[SERVER_XATTR_NAME];
	char prepend[SERVER_XATTR_NAME];
	const char *const words[2] = { key, prepend };
	char end = *(*pos)++;
	int kind;

	if (isalnum((unsigned char)end) || take_field(pos, end, type))
		return -EINVAL;
	*ret_last = !strcmp(type, "map");
	if (*ret_last)
		strcpy(scope, "all");
	else if (take_field(pos, end, scope))
		return -EINVAL;
	if (take_field(pos, end, key) || take_field(pos, end, prepend))
		return -EINVAL;
	if (*ret_last)
		return add_map(map, key, prepend);
	/* in the order of enum server_xattr_kind */
	kind = option_word_index("prefix|ok|bad|unsupported", type,
				 strlen(type));
	if (kind < 0 ||
	    option_word_index("client|server|all", scope, strlen(scope)) < 0)
		return -EINVAL;
	return add(map, (enum server_xattr_kind)kind, scope, words);
}

static int parse(struct server_xattrmap *map, const char *text,
		 const char **ret_at)
{
	const char *pos = text;
	bool last = false;

	for (;;) {
		int r;

		while (isspace((unsigned char)*pos))
			pos++;
		*ret_at = pos;
		if (!*pos)
			return map->n ? 0 : -EINVAL;
		if (last)
			return -EINVAL;
		r = parse_rule(map, &pos, &last);
		if (r)
			return r;
	}
}

int option_set_xattrmap(struct orield_options *opt, const char *arg,
			struct orield_error *err)
{
	struct server_xattrmap *map = calloc(1, sizeof(*map));
	const char *at = arg;
	int r = map ? parse(map, arg, &at) : -ENOMEM;

	if (r == -EINVAL)
		orield_fail(err, r, "--xattrmap: no rule of the form"
			    " :TYPE:SCOPE:KEY:PREPEND: (or :map:KEY:PREPEND:,"
			    " last) at '%s'", at);
	else if (r)
		orield_fail(err, r, "--xattrmap: more than %u rules",
			    SERVER_XATTR_RULES);
	if (r) {
		free(map);
		return r;
	}
	free(opt->xattrmap);
	opt->xattrmap = map;
	opt->xattr = true;
	return 0;
}

int option_hide_acls(struct orield_options *opt)
{
	static const char acl[] = "system.posix_acl_";
	struct server_xattrmap *map = opt->xattrmap;

	if (!map) {
		map = calloc(1, sizeof(*map));
		if (!map)
			return -ENOMEM;
		map->n = 1;
		map->rule[0].kind = SERVER_XATTR_OK;
		map->rule[0].client = map->rule[0].server = true;
		opt->xattrmap = map;
	}
	if (map->n == SERVER_XATTR_RULES)
		return -ENOSPC;
	memmove(&map->rule[1], &map->rule[0], map->n * sizeof(map->rule[0]));
	map->n++;
	map->rule[0] = (struct server_xattr_rule){
		.kind = SERVER_XATTR_UNSUPPORTED,
		.client = true,
		.server = true,
	};
	strcpy(map->rule[0].key, acl);
	strcpy(map->rule[0].prepend, acl);
	return 0;
}
