/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sessions of one invocation: one a share, however many operands name it.
 * Also what most subcommands do with their operands.
 */
#ifndef ORIEL_CLI_CONN_H
#define ORIEL_CLI_CONN_H

#include "addr.h"
#include "cli.h"

/* The options a connecting subcommand has besides its own. */
extern const struct opt conn_opts[];

/* The session with @share; NULL after a message. */
struct oriel_session *conn_get(struct cli *c, const char *share);
/* One more session with @share, which the caller ends. Says nothing. */
int conn_again(struct cli *c, const char *share, struct oriel_session **ret);
/* End all sessions. */
void conn_close_all(struct cli *c);

/* Parse an operand; @prev may be NULL. False after a message. */
bool conn_addr(struct cli *c, const char *text, const char *prev, bool local,
	       struct addr *ret);

/* A subcommand's work for one operand; prints what went wrong itself. */
typedef void conn_each_fn(struct cli *c, struct oriel_session *s,
			  const struct addr *a, const void *opts);
/* Call @fn for each operand; what fails is reported, the rest is done. */
int conn_each(struct cli *c, conn_each_fn *fn, const void *opts);

#endif
