/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What others change in the share, noticed by fanotify(7); see watch.c.
 *
 * LOCKS, in the order in which they are taken:
 *   targets_lock  the sessions that are told; held while one is, which can wait
 *                 for the client's kernel and through it for any serving
 *                 thread: so no serving thread ever takes it
 *   listeners_lock  the sessions that have watches; below it a session's
 *                 subs_lock, and below that whatever answers a kept request
 *   mark_lock     that an inode is marked, and the kernel's mark; above
 *                 session->lock and share->lock, with neither held
 *   lock          the table of nodes and their subscriptions
 */
#ifndef ORIEL_SERVER_WATCH_H
#define ORIEL_SERVER_WATCH_H

#include "server/internal.h"

#define WATCH_SAME_MAX 4u /* inodes of one file: each by another mount */

/* An inode that can be told by what the kernel reports. */
struct watch_node {
	struct hash_node by_fid;  /* lock */
	struct server_inode *ino; /* not counted: it owns this */
	_Atomic bool marked;      /* changed under mark_lock */
	_Atomic bool covered;     /* a change of it is noticed */
	_Atomic bool failed;      /* do not try again */
};

struct server_watch {
	struct server_share *share; /* not counted: it owns this */
	int fan_fd;
	int proc_fd; /* the share's */
	int stop_fd;
	pthread_t thread;
	_Atomic uint64_t n_marks;
	pthread_mutex_t targets_lock;
	struct list targets; /* server_session.target */
	pthread_mutex_t listeners_lock;
	struct list listeners; /* server_session.listener */
	pthread_mutex_t mark_lock;
	pthread_mutex_t lock;
	struct hash_table by_fid;
};

/* One event, with what is known of its inodes, each counted. */
struct watch_event {
	uint64_t mask;    /* FAN_* */
	const char *name; /* in @dir; "." is @dir itself */
	bool own;         /* done by this process */
	uint64_t cookie;  /* the same for the same file; 0: unknown */
	unsigned n_dirs;
	struct server_inode *dirs[WATCH_SAME_MAX];
	unsigned n_files;
	struct server_inode *files[WATCH_SAME_MAX];
};

/* watch.c: have changes of @ino (pinned), a file or directory, noticed. */
bool watch_mark(struct server_watch *w, struct server_inode *ino);

/* op_watch.c: to the session's watches; @e NULL: events were lost.
 * listeners_lock is held. */
void watch_deliver(struct server_session *s, const struct watch_event *e);

/* watch_tell.c: messages of /dev/fuse to one session; targets_lock is held. */
void watch_tell(struct server_session *s, const struct watch_event *e);
void watch_tell_all(struct server_session *s); /* nothing is sure any more */

#endif
