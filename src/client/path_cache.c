/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Paths that are believed for a while (oriel_options.path_ttl_ms, off unless
 * asked for): what oriel_stat() found under a path, so that the next one need not
 * ask as long as that and the attributes are valid.
 *
 * A table of PATHS sets of WAYS places. A place holds no reference: it names a
 * node, which is looked for among the inodes known now, so it keeps nothing alive
 * at the daemon and needs no cleaning up. It is valid until its time is over, and
 * as long as nothing was sent that changes names: every such request of this
 * session, whatever came of it, makes all places void (session->names_changed).
 * Who learns a path remembers the count from before it was looked up.
 *
 * What others change shows when the time is over; it is the least of the option
 * and of every lifetime that this session's daemon ever gave with an entry.
 *
 * Lock: session->table_lock, then inode->attr_lock. Nothing is sent, nobody waits.
 */
#include "client/append.h"
#include "client/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

#define PATHS 1024u /* sets, a power of two */
#define WAYS 2u
#define LONGEST 1024u

struct place {
	uint64_t hash;
	uint64_t nodeid;
	uint64_t generation;
	uint64_t until_ns;
	uint64_t names_changed; /* when it was learned */
	char *path;             /* malloc'ed */
	uint32_t len;
	bool nofollow;
};

struct client_paths {
	struct place at[PATHS][WAYS];
};

int client_paths_init(struct oriel_session *s)
{
	atomic_init(&s->entry_valid_ns, UINT64_MAX);
	if (!s->opts.path_ttl_ms)
		return 0;
	s->paths = calloc(1, sizeof(*s->paths));
	return s->paths ? 0 : -ENOMEM;
}

void client_paths_done(struct oriel_session *s)
{
	if (!s->paths)
		return;
	for (unsigned i = 0; i < PATHS; i++)
		for (unsigned way = 0; way < WAYS; way++)
			free(s->paths->at[i][way].path);
	free(s->paths);
}

/* Times are off by a tick, which is less than anybody promises. */
static uint64_t now_about_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Eight bytes a step, each mixed in by a multiplication. */
static uint64_t hash_of(const char *path, size_t len, bool nofollow)
{
	const uint64_t mul = UINT64_C(0x9e3779b97f4a7c15);
	uint64_t h = len * 2 + nofollow, word;

	for (; len >= sizeof(word); len -= sizeof(word), path += sizeof(word)) {
		memcpy(&word, path, sizeof(word));
		h = (h ^ word) * mul;
		h ^= h >> 29;
	}
	word = 0;
	memcpy(&word, path, len);
	h = (h ^ word) * mul;
	return h ^ (h >> 32);
}

static struct place *find_locked(struct client_paths *p, uint64_t hash,
				 const char *path, size_t len)
{
	struct place *set = p->at[hash & (PATHS - 1)];

	for (unsigned way = 0; way < WAYS; way++)
		if (set[way].hash == hash && set[way].len == len &&
		    set[way].path && !memcmp(set[way].path, path, len))
			return &set[way];
	return NULL;
}

/* The attributes of @ino, if they are as good as asking. */
static bool attr_locked(struct client_inode *ino, uint64_t now_ns,
			struct fuse_attr *ret)
{
	bool valid;

	if (atomic_load_explicit(&ino->mtime_owed, memory_order_relaxed) ||
	    atomic_load_explicit(&ino->bad, memory_order_relaxed) ||
	    client_append_pending(ino))
		return false;
	pthread_mutex_lock(&ino->attr_lock);
	valid = now_ns < ino->attr_until_ns;
	if (valid)
		*ret = ino->attr;
	pthread_mutex_unlock(&ino->attr_lock);
	return valid;
}

bool client_paths_stat(struct oriel_session *s, const char *path,
		       bool nofollow, struct oriel_stat *ret)
{
	size_t len = strlen(path);
	uint64_t hash, now_ns;
	struct client_inode *ino = NULL;
	struct fuse_attr attr;
	struct place *at;
	bool found = false;

	if (!s->paths || len > LONGEST || client_is_dead(s))
		return false;
	hash = hash_of(path, len, nofollow);
	now_ns = now_about_ns();
	pthread_mutex_lock(&s->table_lock);
	at = find_locked(s->paths, hash, path, len);
	if (at && at->nofollow == nofollow && now_ns < at->until_ns &&
	    at->names_changed == client_names_changed(s))
		ino = client_inode_find_locked(s, at->nodeid);
	if (ino && ino->generation == at->generation)
		found = attr_locked(ino, now_ns, &attr);
	if (found)
		client_attr_to_stat(ino, &attr, ret);
	pthread_mutex_unlock(&s->table_lock);
	return found;
}

void client_paths_learn(struct client_inode *ino, const char *path,
			bool nofollow, uint64_t names_changed)
{
	struct oriel_session *s = ino->s;
	uint64_t valid_ns = atomic_load_explicit(&s->entry_valid_ns,
						 memory_order_relaxed);
	size_t len = strlen(path);
	uint64_t hash;
	struct place *at;
	char *copy, *old;

	valid_ns = min_u64(valid_ns, s->opts.path_ttl_ms * NS_PER_MS);
	if (!s->paths || len > LONGEST || !valid_ns)
		return;
	copy = malloc(len + 1);
	if (!copy)
		return; /* then it is not remembered */
	memcpy(copy, path, len + 1);
	hash = hash_of(path, len, nofollow);
	pthread_mutex_lock(&s->table_lock);
	at = find_locked(s->paths, hash, path, len);
	if (!at) {
		at = s->paths->at[hash & (PATHS - 1)];
		if (at[1].until_ns < at[0].until_ns)
			at++;
	}
	old = at->path;
	*at = (struct place){
		.hash = hash,
		.nodeid = ino->nodeid,
		.generation = ino->generation,
		.until_ns = now_about_ns() + valid_ns,
		.names_changed = names_changed,
		.path = copy,
		.len = (uint32_t)len,
		.nofollow = nofollow,
	};
	pthread_mutex_unlock(&s->table_lock);
	free(old);
}

void client_paths_entry(struct oriel_session *s,
			const struct fuse_entry_out *entry)
{
	uint64_t ns = min_u64(entry->entry_valid, 1u << 20) * NS_PER_S +
		      min_u64(entry->entry_valid_nsec, NS_PER_S - 1);
	/* relaxed: another thread's larger value is set right by its next */
	if (ns < atomic_load_explicit(&s->entry_valid_ns,
				      memory_order_relaxed))
		atomic_store_explicit(&s->entry_valid_ns, ns,
				      memory_order_relaxed);
}
