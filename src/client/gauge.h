/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a session shows of itself to who watches it: docs/design/top.md.
 *
 * Threads: start and stop by who connects and disconnects; the rest any.
 */
#ifndef ORIEL_CLIENT_GAUGE_H
#define ORIEL_CLIENT_GAUGE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "wire/gauge.h"

struct client_gauge {
	uint32_t *ask;           /* the word that the daemon changes: shared
				    memory; or &none */
	_Atomic uint32_t quiet;  /* while it is this, nothing is to be done */
	uint32_t none;           /* always 0 */
	_Atomic bool watched;    /* latencies are taken */
	struct gauge_page *page; /* NULL: nobody can look. Shared memory */

	/* Who publishes; above all locks that counters need. Guards what
	 * follows; seen is its own thread's while there is one. */
	pthread_mutex_t lock;
	bool is_open;            /* between start and stop */
	bool has_thread;         /* one to be joined */
	bool is_running;         /* it has not ended by itself */
	_Atomic bool is_inline;  /* there is none to be had: messages publish */
	pthread_t thread;
	uint32_t seen;           /* the question answered last */
	uint32_t seq;
	uint64_t seen_ns;        /* when */
	_Atomic uint32_t stop;   /* futex: 1 it has to end, 2 it has */
	_Atomic uint32_t lat[GAUGE_LAT_CLASSES][GAUGE_LAT_BUCKETS];
};

#endif
