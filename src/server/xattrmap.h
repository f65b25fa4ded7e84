/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names of extended attributes as the client knows them and as the share has
 * them: rules, of which the first that matches decides. A client's name that
 * none matches is refused, a host's is hidden. Built before the share is, then
 * only read: any thread.
 */
#ifndef ORIEL_SERVER_XATTRMAP_H
#define ORIEL_SERVER_XATTRMAP_H

#include "base/util.h"

#define SERVER_XATTR_RULES 32u
#define SERVER_XATTR_NAME 256u /* with NUL */

enum server_xattr_kind {
	SERVER_XATTR_PREFIX,      /* the host's name has more in front */
	SERVER_XATTR_OK,          /* as it is */
	SERVER_XATTR_BAD,         /* refused with -EPERM, hidden */
	SERVER_XATTR_UNSUPPORTED, /* refused with -EOPNOTSUPP, hidden */
};

struct server_xattr_rule {
	enum server_xattr_kind kind;
	bool client; /* looks at names that the client sends, by key */
	bool server; /* looks at names of the host, by prepend */
	char key[SERVER_XATTR_NAME];
	char prepend[SERVER_XATTR_NAME];
};

struct server_xattrmap {
	unsigned n;
	struct server_xattr_rule rule[SERVER_XATTR_RULES];
};

/* The host's name for @name; in @buf, or @name itself. -EPERM, -EOPNOTSUPP by
 * rule, -ERANGE: too long. */
ORIEL_MUST_CHECK int
server_xattrmap_to_host(const struct server_xattrmap *map, const char *name,
			char buf[SERVER_XATTR_NAME], const char **ret);
/* What the client sees of the host's @name: a part of it; NULL: nothing. */
const char *server_xattrmap_to_client(const struct server_xattrmap *map,
				      const char *name);
/* The same for a list of names, @len bytes with NULs, in place. */
size_t server_xattrmap_list(const struct server_xattrmap *map, char *list,
			    size_t len);

#endif
