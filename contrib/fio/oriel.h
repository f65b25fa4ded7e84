/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An engine of fio(1) that reads and writes through liboriel.
 *
 *   oriel.c   what fio calls: options, files, sizes, jobs
 *   io.c      one transfer
 *   share.c   connecting, also before fio forks
 *
 * Thread rule: a job is one thread, and everything here belongs to one job.
 */
#ifndef ORIEL_FIO_ORIEL_H
#define ORIEL_FIO_ORIEL_H

#include "fio.h"

#include <oriel/oriel.h>

/* What a job says about the engine. fio fills it and wants the first member
 * for itself. */
struct share_opts {
	struct thread_data *td;
	char *share;
	char *daemon;
	unsigned int dax;     /* enum oriel_dax_mode */
	unsigned int sandbox; /* enum oriel_sandbox */
	unsigned long long window;
	unsigned long long range;
	int poll_us;          /* -1: the library's default */
	unsigned int timeout_ms;
	int daemon_cpu;       /* -1: anywhere */
};

/* Of a job. fio forks between set-up and work; a session does not survive
 * that, so the process it belongs to stands beside it. */
struct share {
	pid_t pid;
	bool for_setup; /* no job yet: of processes, ends with the last file's
			   set-up */
	struct oriel_session *s;
};

/* The job's session, connected if it is not. 0, or a positive errno after a
 * sentence on stderr and in @td. */
int share_get(struct thread_data *td, bool for_setup, struct share **ret);
/* The session of the job, if it has one in this process. */
struct share *share_of(struct thread_data *td);
/* End it. */
void share_put(struct thread_data *td);
/* What went wrong with @what, for the user and for fio; returns the positive
 * errno. @err is negative. */
int share_fail(struct thread_data *td, const char *what, const char *name,
	       int err);

enum fio_q_status io_queue(struct thread_data *td, struct io_u *io_u);
char *io_errdetails(struct io_u *io_u);

#endif
