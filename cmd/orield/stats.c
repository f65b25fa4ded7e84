/* SPDX-License-Identifier: BSD-2-Clause */
/* What SIGUSR1 asks for: what is open now, and what there was since start. */
#include "orield.h"

#include <stdio.h>

#include "wire/fuse.h"

/* "LOOKUP=3 READ=1 ": those that ever came. */
static void log_ops(const struct server_stats *st)
{
	char line[1000];
	size_t len = 0;
	unsigned i;

	for (i = 0; i < ARRAY_LEN(st->ops) && len < sizeof(line); i++)
		if (st->ops[i])
			len += (size_t)snprintf(line + len, sizeof(line) - len,
						" %s=%llu", fuse_opcode_name(i),
						(unsigned long long)st->ops[i]);
	log_write(LOG_LEVEL_INFO, "operations:%s", len ? line : " none");
}

/* "0=2 1=130 ": requests by queue, those that had any. */
static void log_queues(const struct server_stats *st)
{
	char line[400];
	size_t len = 0;
	unsigned i;

	for (i = 0; i < ARRAY_LEN(st->queues) && len < sizeof(line); i++)
		if (st->queues[i])
			len += (size_t)snprintf(line + len, sizeof(line) - len,
						" %u=%llu", i,
						(unsigned long long)
						st->queues[i]);
	log_write(LOG_LEVEL_INFO, "queues:%s", len ? line : " none");
}

static void log_share(const struct orield_share *share)
{
	struct server_stats st;

	server_share_stats(share->server, &st);
	log_write(LOG_LEVEL_INFO, "clients %llu, inodes %llu, descriptors "
		  "%llu, handles %llu, mappings %llu, requests %llu",
		  (unsigned long long)st.sessions,
		  (unsigned long long)st.inodes, (unsigned long long)st.fds,
		  (unsigned long long)st.handles,
		  (unsigned long long)st.mappings,
		  (unsigned long long)st.requests);
	log_queues(&st);
	log_ops(&st);
}

void orield_log_stats(const struct orield_shares *shares)
{
	unsigned i;

	for (i = 0; i < shares->n; i++) {
		orield_log_about(orield_share_name(&shares->v[i]));
		log_share(&shares->v[i]);
	}
	orield_log_about(NULL);
}
