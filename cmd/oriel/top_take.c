/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Samples of all sessions of a daemon, and rates between two of them. What a
 * session says of itself may be wrong in any way: differences are taken as they
 * come, but those that would be negative count as nothing.
 */
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "top.h"

/* How long sessions are given to publish, and how often it is looked. */
#define ANSWER_MS 200
#define LOOK_MS 10

static void sleep_ms(unsigned ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

static bool fail(struct top *t, int err)
{
	if (t->on_fail)
		t->on_fail();
	if (err == -EOPNOTSUPP)
		cli_error(t->c, t->share, "this daemon does not tell of its "
			  "sessions: it is no orield, or an older one");
	else
		cli_fail(t->c, t->s, t->share, err);
	return false;
}

/* ------------------------------------------------------------------ names */

static void make_printable(char *s)
{
	for (; *s; s++)
		if (*s < ' ' || *s > '~')
			*s = '?';
}

/* What the system says; it need not be there, nor ours to see. */
static void name_of_process(struct top_row *r)
{
	char path[40];
	FILE *f;

	if (r->peer.pid <= 0)
		return;
	snprintf(path, sizeof(path), "/proc/%lld/comm", (long long)r->peer.pid);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fgets(r->name, sizeof(r->name), f))
		r->name[strcspn(r->name, "\n")] = 0;
	fclose(f);
	make_printable(r->name);
}

static void name_of_page(struct top_row *r)
{
	if (*r->name || !r->now || !r->now->valid)
		return;
	memcpy(r->name, r->now->name, sizeof(r->now->name));
	r->name[sizeof(r->now->name) - 1] = 0;
	make_printable(r->name);
}

/* ---------------------------------------------------------------- sampling */

static void row_done(struct top_row *r)
{
	free(r->now);
	free(r->last);
	free(r->files);
}

/* This question or, of another watcher, a later one: numbers wrap. */
static bool is_answered(const struct top_row *r)
{
	return !(r->peer.flags & ORIEL_PEER_GAUGE) || !r->asked || !r->now ||
	       (r->now->valid &&
		r->now->answers - r->asked <= (uint32_t)INT32_MAX);
}

/* What was known of session @p moves over from the old rows. */
static void row_begin(struct top *old, const struct oriel_peer *p,
		      struct top_row *ret)
{
	size_t i;

	*ret = (struct top_row){ .peer = *p, .taken_ns = cli_now_ns() };
	ret->active_ns = ret->taken_ns;
	for (i = 0; i < old->n; i++) {
		struct top_row *o = &old->rows[i];

		if (o->peer.id != p->id)
			continue;
		ret->last_peer = o->peer;
		ret->last_ns = o->taken_ns;
		ret->active_ns = o->active_ns;
		ret->is_silent = o->asked && !is_answered(o);
		free(o->last);
		ret->last = o->now;
		o->now = o->last = NULL;
		memcpy(ret->name, o->name, sizeof(ret->name));
		break;
	}
	if (!*ret->name)
		name_of_process(ret);
}

/* The list; rows of sessions that have gone are freed. */
static bool take_list(struct top *t)
{
	struct top old = *t;
	struct oriel_peer p = { .size = sizeof(p) };
	size_t room = 0, i;
	int r;

	t->rows = NULL;
	t->n = 0;
	while ((r = oriel_peer_next(t->s, p.id, &p)) > 0) {
		if (p.flags & ORIEL_PEER_SELF || (t->only && p.id != t->only))
			continue;
		if (t->n == room) {
			struct top_row *more;

			room = room ? 2 * room : 16;
			more = reallocarray(t->rows, room, sizeof(*more));
			if (!more) {
				r = -ENOMEM;
				break;
			}
			t->rows = more;
		}
		row_begin(&old, &p, &t->rows[t->n++]);
	}
	t->hidden = p.hidden;
	for (i = 0; i < old.n; i++)
		row_done(&old.rows[i]);
	free(old.rows);
	return r < 0 ? fail(t, r) : true;
}

/* 0, or that it has gone; false after a message. */
static bool take_stats(struct top *t, struct top_row *r, bool ask)
{
	int err;

	if (!r->now)
		r->now = calloc(1, sizeof(*r->now));
	if (!r->now)
		return fail(t, -ENOMEM);
	r->now->size = sizeof(*r->now);
	err = oriel_peer_stats(t->s, r->peer.id, ask, r->now);
	if (ask && !err)
		r->asked = r->now->asked;
	/* it has gone since the list was made: the next will tell */
	return err && err != -ENOENT ? fail(t, err) : true;
}

static bool is_to_be_asked(const struct top *t, size_t i, size_t max,
			   uint64_t selected)
{
	return i < max || t->rows[i].peer.id == selected;
}

static void note_activity(struct top_row *r)
{
	name_of_page(r);
	if (!r->last_peer.id || top_request_rate(r) > 0 ||
	    top_rate(r, ORIEL_PEER_HITS) > 0)
		r->active_ns = r->taken_ns;
}

bool top_take(struct top *t, size_t max_asked, uint64_t selected)
{
	unsigned waited = 0;
	bool again;
	size_t i;

	if (!take_list(t))
		return false;
	for (i = 0; i < t->n; i++)
		if (is_to_be_asked(t, i, max_asked, selected) &&
		    !take_stats(t, &t->rows[i], true))
			return false;
	do {
		again = false;
		sleep_ms(LOOK_MS);
		waited += LOOK_MS;
		for (i = 0; i < t->n; i++) {
			struct top_row *r = &t->rows[i];

			if (is_answered(r))
				continue;
			if (!take_stats(t, r, false))
				return false;
			/* those that do nothing are not waited for */
			again |= !is_answered(r) && !r->is_silent;
		}
	} while (again && waited < ANSWER_MS && !cli_signal());
	for (i = 0; i < t->n; i++)
		note_activity(&t->rows[i]);
	return true;
}

void top_keep(struct top *t, size_t max_asked, uint64_t selected)
{
	struct oriel_peer_stats *st = calloc(1, sizeof(*st));
	size_t i;

	for (i = 0; st && i < t->n; i++) {
		st->size = sizeof(*st);
		/* the next sample will say what is wrong */
		if (is_to_be_asked(t, i, max_asked, selected))
			(void)oriel_peer_stats(t->s, t->rows[i].peer.id, 1, st);
	}
	free(st);
}

/* Of a path that is too long, its end. */
static void take_name(struct top *t, uint64_t id, struct top_file *f)
{
	char path[4096];
	int err = oriel_peer_name(t->s, id, f->node, path, sizeof(path));
	size_t len = err ? 0 : strlen(path);
	size_t skip = len < sizeof(f->name) ? 0 : len - sizeof(f->name) + 1;

	if (err)
		snprintf(f->name, sizeof(f->name), "(%s)", oriel_strerror(err));
	else
		memcpy(f->name, path + skip, len - skip + 1);
	make_printable(f->name);
}

void top_take_names(struct top *t, struct top_row *r)
{
	uint32_t i;

	if (!r->now || !r->now->n_files)
		return;
	if (!r->files)
		r->files = calloc(ORIEL_PEER_FILES, sizeof(*r->files));
	for (i = 0; r->files && i < r->now->n_files; i++) {
		/* Again each time: files are renamed. */
		r->files[i].node = r->now->files[i].node;
		take_name(t, r->peer.id, &r->files[i]);
	}
}

void top_done(struct top *t)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		row_done(&t->rows[i]);
	free(t->rows);
	t->rows = NULL;
	t->n = 0;
}

struct top_row *top_find(const struct top *t, uint64_t id)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		if (t->rows[i].peer.id == id)
			return &t->rows[i];
	return NULL;
}

/* ------------------------------------------------------------------- words */

const char *top_kind(const struct oriel_peer *p)
{
	if (!(p->flags & ORIEL_PEER_READY))
		return "handshake";
	if (p->flags & ORIEL_PEER_ORIEL)
		return "liboriel";
	return p->flags & ORIEL_PEER_GUEST ? "guest" : "foreign";
}

const char *top_user(const struct oriel_peer *p, char *buf, size_t len)
{
	const struct passwd *pw;

	if (p->uid == UINT32_MAX)
		return "?";
	pw = getpwuid(p->uid);
	if (pw)
		snprintf(buf, len, "%s", pw->pw_name);
	else
		snprintf(buf, len, "%u", p->uid);
	make_printable(buf);
	return buf;
}

uint64_t top_idle_s(const struct top_row *r)
{
	uint64_t idle = (r->taken_ns - r->active_ns) / 1000000000u;
	uint64_t old = r->now && r->now->valid && !is_answered(r) ?
			       r->now->age_ns / 1000000000u : 0;

	return idle > old ? idle : old;
}
