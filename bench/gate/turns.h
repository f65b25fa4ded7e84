/* SPDX-License-Identifier: BSD-2-Clause */
/* See turns.c. */
#ifndef ORIEL_BENCH_GATE_TURNS_H
#define ORIEL_BENCH_GATE_TURNS_H

enum turns_who {
	TURNS_CLIENT = 1,
	TURNS_DAEMON = 2,
};

int turns_init(void);
/* The calling thread is that one. */
void turns_join(enum turns_who who);
/* By the client, with nothing asked for: in turns from now on, or no more. */
void turns_begin(void);
void turns_end(void);
/*
 * By the client, when something was asked for in turns and has been answered:
 * the end of one stretch and the begin of the next, for both. gate.py counts on
 * these names.
 */
void turns_mark(void);
void turns_mark_client(void);
void turns_mark_daemon(void);

#endif
