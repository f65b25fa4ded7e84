/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Applying rules to names. The host's names come from its kernel, so they end,
 * and are not longer than SERVER_XATTR_NAME; what a client sees is never longer
 * than the host's name, so lists are rewritten in place. No state, no locks.
 */
#include "server/xattrmap.h"

#include <errno.h>
#include <string.h>

static bool starts_with(const char *s, const char *head)
{
	return !strncmp(s, head, strlen(head));
}

int server_xattrmap_to_host(const struct server_xattrmap *map, const char *name,
			    char buf[SERVER_XATTR_NAME], const char **ret)
{
	unsigned i;

	for (i = 0; i < map->n; i++) {
		const struct server_xattr_rule *r = &map->rule[i];
		size_t more = strlen(r->prepend);
		size_t len = strlen(name);

		if (!r->client || !starts_with(name, r->key))
			continue;
		if (r->kind == SERVER_XATTR_BAD)
			return -EPERM;
		if (r->kind == SERVER_XATTR_UNSUPPORTED)
			return -EOPNOTSUPP;
		if (r->kind == SERVER_XATTR_OK) {
			*ret = name;
			return 0;
		}
		if (!range_fits(more, len, SERVER_XATTR_NAME - 1))
			return -ERANGE;
		memcpy(buf, r->prepend, more);
		memcpy(buf + more, name, len + 1);
		*ret = buf;
		return 0;
	}
	return -EPERM;
}

const char *server_xattrmap_to_client(const struct server_xattrmap *map,
				      const char *name)
{
	unsigned i;

	for (i = 0; i < map->n; i++) {
		const struct server_xattr_rule *r = &map->rule[i];
		const char *rest = name + strlen(r->prepend);

		if (!r->server || !starts_with(name, r->prepend))
			continue;
		if (r->kind == SERVER_XATTR_OK)
			return name;
		if (r->kind != SERVER_XATTR_PREFIX)
			return NULL;
		/* what the client could not ask for is not its */
		if (*rest && starts_with(rest, r->key))
			return rest;
	}
	return NULL;
}

size_t server_xattrmap_list(const struct server_xattrmap *map, char *list,
			    size_t len)
{
	size_t from = 0;
	size_t to = 0;

	while (from < len) {
		size_t n = strnlen(list + from, len - from);
		const char *seen;

		if (n == len - from)
			break; /* no NUL: not a list */
		seen = server_xattrmap_to_client(map, list + from);
		if (seen) {
			size_t keep = n - (size_t)(seen - (list + from)) + 1;

			memmove(list + to, seen, keep);
			to += keep;
		}
		from += n + 1;
	}
	return to;
}
