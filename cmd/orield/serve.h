/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by serve.c (connections) and loop.c (the main thread's loop). */
#ifndef ORIELD_SERVE_H
#define ORIELD_SERVE_H

#include "orield.h"

#include "base/list.h"
#include "ring/mem_map.h"
#include "vhost/backend.h"

/* One share and how many there are on it; the main thread's. */
struct place {
	const struct orield_share *share;
	const struct orield_options *opt; /* the share's */
	unsigned n_clients;
	unsigned max_clients;
	const char *max_why; /* constant text */
	struct mem_quota mem; /* any thread */
	uint64_t refuse_at; /* clock_now_ns(); while one is leaving: not before */
	bool paused; /* out of something: no accept for a while */
};

struct daemon {
	const struct orield_options *opt;
	const struct orield_shares *shares;
	struct place *places;
	unsigned n_places;
	struct list clients;
	unsigned n_clients;
	unsigned next_id;
	int done_fd; /* eventfd; rung by ending connections */
	int ppid;
	const struct orield_guest *guest;
	struct vhost_crowd crowd; /* any thread */
};

/* Serve @sock, which is used up in any case: 0 or -errno. */
ORIEL_MUST_CHECK int client_start(struct daemon *d, struct place *place,
				  int sock);
/* Has a client of @place hung up that is still counted? */
bool clients_leaving(const struct daemon *d, const struct place *place);
/* Join those that are done. */
void clients_reap(struct daemon *d);
/* Stop and join every one, or end the process without those that hang. */
void clients_end(struct daemon *d);

#endif
