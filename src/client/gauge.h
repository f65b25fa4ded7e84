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

#define GAUGE_WATCHED 1u /* somebody has asked lately: take latencies */
#define GAUGE_POLLED 2u  /* no thread: messages look whether somebody asks */

struct client_gauge {
	struct gauge_page *page; /* NULL: nobody can look. Shared memory */
	_Atomic uint32_t hook;   /* what messages have to do */
	bool has_thread;
	pthread_t thread;
	_Atomic uint32_t stop;   /* futex: 1 it has to end, 2 it has */
	pthread_mutex_t lock;    /* who publishes, and the three below; above
				    all locks that counters need */
	uint32_t seen;           /* the question answered last */
	uint32_t seq;
	uint64_t seen_ns;        /* when */
	_Atomic uint32_t lat[GAUGE_LAT_CLASSES][GAUGE_LAT_BUCKETS];
};

#endif
