/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A share, a daemon's back end and server, and a session of the library on
 * them, all in this process, taking turns: while the client runs nothing of the
 * daemon does, and the other way round. So the instructions of either depend on
 * what is asked for only, not on time, load or processors.
 */
#ifndef ORIEL_BENCH_GATE_RIG_H
#define ORIEL_BENCH_GATE_RIG_H

#include <oriel/oriel.h>

#include <pthread.h>
#include <stdbool.h>

struct rig {
	struct server_share *share;
	struct server_session *server;
	struct vhost_backend *be;
	pthread_t thread; /* inside vhost_backend_run() */
	struct oriel_session *s;
};

/* Serve @dir, with a window or without, and connect. 0 or -errno. */
int rig_start(struct rig *r, const char *dir, bool window);
/* Once, before all others. 0 or -errno. */
int rig_init(void);
/* In turns from the next request on, until rig_stop(). */
void rig_take_turns(void);
/* Everything goes; NULL members are fine. */
void rig_stop(struct rig *r);

#endif
