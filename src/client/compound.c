/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Several requests in one message, where the daemon is an orield that knows how
 * (FUSE_WIRE_IOC_WALK; it says so in INIT): the look-ups of a path, the OPEN of
 * what it ends in, the READ of its beginning, and the RELEASE of handles that
 * were done with earlier. See docs/design/compound.md.
 *
 * HANDLES THAT WAIT. What was open for reading only is not released at
 * once: its handle waits until a compound request takes it along, a few of them
 * at most. Writers are released at once, and so is what loses a name by us.
 * Lock: close_lock over closing_fhs; nothing is sent with it.
 *
 * What the daemon answers is checked here: counts, kinds, lengths, and by
 * client_inode_get() each entry. A daemon that lies ends the session.
 */
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* The request after its header; the names follow the handles. */
struct walk_arg {
	struct fuse_ioctl_in ioctl;
	struct fuse_wire_walk_in in;
	unsigned char rest[CLIENT_CLOSING * sizeof(uint64_t) +
			   FUSE_WIRE_WALK_PATH];
};

/* Its answer, which has as many entries as there were names. */
struct walk_answer {
	struct fuse_ioctl_out ioctl;
	struct fuse_wire_walk_out out;
	struct fuse_entry_out entries[FUSE_WIRE_WALK_NAMES];
};

_Static_assert(sizeof(struct fuse_in_header) + sizeof(struct walk_arg) <=
		       CLIENT_SLOT_IN_BYTES, "fits a slot");
_Static_assert(sizeof(struct fuse_out_header) + sizeof(struct walk_answer) <=
		       CLIENT_SLOT_OUT_BYTES, "fits a slot");
_Static_assert(CLIENT_CLOSING <= FUSE_WIRE_WALK_CLOSES, "the daemon's limit");

bool client_can_compound(const struct oriel_session *s)
{
	/* relaxed: whoever misses that it was refused is refused too */
	return atomic_load_explicit(&s->compound, memory_order_relaxed);
}

bool client_names_add(struct client_names *names, const char *name, size_t len)
{
	size_t sep = names->n > 0;

	if (len > FUSE_WIRE_NAME_MAX || names->n == FUSE_WIRE_WALK_NAMES ||
	    len + sep > sizeof(names->path) - names->len)
		return false;
	if (sep)
		names->path[names->len++] = '/';
	memcpy(names->path + names->len, name, len);
	names->len += len;
	names->n++;
	return true;
}

/* --------------------------------------------------- handles that wait */

void client_release(struct oriel_session *s, uint32_t opcode, uint64_t nodeid,
		    uint64_t fh)
{
	struct fuse_release_in in = { .fh = fh };
	struct client_call c = {
		.opcode = opcode,
		.nodeid = nodeid,
		.arg = &in,
		.arg_len = sizeof(in),
	};
	int err = client_call(s, &c);

	/* nothing can be done about it, and nothing is lost */
	(void)err;
}

static unsigned closing_take(struct oriel_session *s, struct client_closing *v)
{
	unsigned n;

	/* relaxed: what is missed now goes with the next one */
	if (!atomic_load_explicit(&s->n_closing_fhs, memory_order_relaxed))
		return 0;
	pthread_mutex_lock(&s->close_lock);
	n = atomic_load_explicit(&s->n_closing_fhs, memory_order_relaxed);
	memcpy(v, s->closing_fhs, n * sizeof(*v));
	atomic_store_explicit(&s->n_closing_fhs, 0, memory_order_relaxed);
	pthread_mutex_unlock(&s->close_lock);
	return n;
}

static void release_all(struct oriel_session *s, const struct client_closing *v,
			unsigned n)
{
	for (unsigned i = 0; i < n && !client_is_dead(s); i++)
		client_release(s, v[i].opcode, v[i].nodeid, v[i].fh);
}

void client_release_later(struct oriel_session *s, uint32_t opcode,
			  uint64_t nodeid, uint64_t fh)
{
	bool full = true;
	unsigned n;

	if (client_can_compound(s)) {
		pthread_mutex_lock(&s->close_lock);
		n = atomic_load_explicit(&s->n_closing_fhs,
					 memory_order_relaxed);
		full = n == CLIENT_CLOSING;
		if (!full) {
			s->closing_fhs[n] = (struct client_closing){
				.nodeid = nodeid, .fh = fh, .opcode = opcode,
			};
			atomic_store_explicit(&s->n_closing_fhs, n + 1,
					      memory_order_relaxed);
		}
		pthread_mutex_unlock(&s->close_lock);
	}
	if (full)
		client_release(s, opcode, nodeid, fh);
}

void client_release_now(struct oriel_session *s, uint64_t nodeid)
{
	struct client_closing v[CLIENT_CLOSING];
	unsigned n = 0, left = 0;

	if (!atomic_load_explicit(&s->n_closing_fhs, memory_order_relaxed))
		return;
	pthread_mutex_lock(&s->close_lock);
	for (unsigned i = 0; i < s->n_closing_fhs; i++) {
		if (s->closing_fhs[i].nodeid == nodeid)
			v[n++] = s->closing_fhs[i];
		else
			s->closing_fhs[left++] = s->closing_fhs[i];
	}
	atomic_store_explicit(&s->n_closing_fhs, left, memory_order_relaxed);
	pthread_mutex_unlock(&s->close_lock);
	release_all(s, v, n);
}

/* ------------------------------------------------------------- the request */

/* How it looks on the wire; its length. */
static size_t encode(const struct client_names *names,
		     const struct client_walk_open *open,
		     const struct client_closing *v, unsigned n,
		     struct walk_arg *arg)
{
	unsigned char *p = arg->rest;

	arg->ioctl = (struct fuse_ioctl_in){
		.fh = FUSE_WIRE_NO_FH,
		.cmd = FUSE_WIRE_IOC_WALK,
	};
	arg->in = (struct fuse_wire_walk_in){
		.n_names = names->n,
		.n_close = n,
		.path_len = (uint32_t)names->len,
	};
	if (open) {
		arg->in.flags = FUSE_WIRE_WALK_OPEN;
		arg->in.open_flags = (uint32_t)open->flags;
		if (open->data.iov_len) {
			arg->in.flags |= FUSE_WIRE_WALK_READ |
					 FUSE_WIRE_WALK_CLOSE;
			arg->in.size = (uint32_t)open->data.iov_len;
		}
	}
	for (unsigned i = 0; i < n; i++) {
		memcpy(p, &v[i].fh, sizeof(v[i].fh));
		p += sizeof(v[i].fh);
	}
	memcpy(p, names->path, names->len);
	p += names->len;
	arg->ioctl.in_size = (uint32_t)(p - (unsigned char *)&arg->in);
	return sizeof(arg->ioctl) + arg->ioctl.in_size;
}

/* Does the answer make sense, as far as it can be told without the entries? */
static bool is_sane(const struct client_names *names,
		    const struct client_walk_open *open,
		    const struct fuse_wire_walk_out *out, size_t data_len)
{
	uint32_t may = 0;

	if (open)
		may = FUSE_WIRE_WALK_OPEN;
	if (open && open->data.iov_len)
		may |= FUSE_WIRE_WALK_READ | FUSE_WIRE_WALK_CLOSE;
	if (out->n > names->n || out->error > 0 || out->error <= -4096 ||
	    (out->flags & ~may))
		return false;
	/* every way is open for what is done to the last, none for less */
	if (out->flags && (!(out->flags & FUSE_WIRE_WALK_OPEN) || out->error ||
			   out->n < names->n))
		return false;
	if (!(out->flags & FUSE_WIRE_WALK_READ))
		return !data_len && !(out->flags & FUSE_WIRE_WALK_CLOSE);
	return data_len <= open->data.iov_len;
}

/* Do the entries fit what the answer says of them? */
static bool are_sane(const struct client_names *names,
		     const struct client_walk_open *open,
		     const struct walk_answer *a)
{
	uint32_t n = a->out.n;
	bool is_dir = true; /* where it began */

	for (uint32_t i = 0; i < n; i++) {
		if (!is_dir || !a->entries[i].nodeid)
			return false;
		is_dir = S_ISDIR(a->entries[i].attr.mode);
	}
	/* it does not end in the middle without a reason */
	if (n < names->n && !a->out.error && (is_dir || !n))
		return false;
	if (!a->out.flags)
		return true;
	return open->flags & O_DIRECTORY ?
		       is_dir :
		       S_ISREG(a->entries[n - 1].attr.mode);
}

/* Take the entries; if that fails, all of them are given back. */
static int take_entries(struct oriel_session *s, const struct walk_answer *a,
			uint64_t version, struct client_names *names)
{
	int err = 0;
	uint32_t i;

	for (i = 0; i < a->out.n && !err; i++)
		err = client_inode_get(s, &a->entries[i], version,
				       &names->found[i]);
	if (!err) {
		names->n_found = i;
		return 0;
	}
	/* the one that failed has been given back */
	for (uint32_t k = 0; k + 1 < i; k++)
		client_inode_put(names->found[k]);
	for (; i < a->out.n; i++)
		client_forget(s, a->entries[i].nodeid, 1);
	return err;
}

static void take_open(const struct client_names *names,
		      const struct fuse_wire_walk_out *out, size_t data_len,
		      struct client_walk_open *open)
{
	open->tried = (out->flags & FUSE_WIRE_WALK_OPEN) ||
		      (out->error && out->n == names->n);
	open->err = open->tried ? out->error : 0;
	open->has_fh = (out->flags & FUSE_WIRE_WALK_OPEN) &&
		       !(out->flags & FUSE_WIRE_WALK_CLOSE);
	open->has_data = out->flags & FUSE_WIRE_WALK_READ;
	open->fh = out->fh;
	open->fopen_flags = out->open_flags;
	open->data_len = data_len;
}

static int take_answer(struct oriel_session *s, const struct walk_answer *a,
		       size_t data_len, struct client_names *names,
		       struct client_walk_open *open, uint64_t version)
{
	const struct fuse_wire_walk_out *out = &a->out;
	int err;

	if (!is_sane(names, open, out, data_len) || !are_sane(names, open, a)) {
		client_die(s, -EPROTO);
		return -EPROTO;
	}
	err = take_entries(s, a, version, names);
	if (err) {
		if (out->flags && !(out->flags & FUSE_WIRE_WALK_CLOSE) &&
		    !client_is_dead(s))
			client_release(s, open->flags & O_DIRECTORY ?
						  FUSE_RELEASEDIR :
						  FUSE_RELEASE,
				       a->entries[out->n - 1].nodeid, out->fh);
		return err;
	}
	names->err = out->n < names->n ? out->error : 0;
	if (out->n)
		names->attr = a->entries[out->n - 1].attr;
	if (open)
		take_open(names, out, data_len, open);
	return 0;
}

/* An error of the request itself: what it could be done without. */
static int refused(struct oriel_session *s, int err)
{
	switch (err) {
	case -ENOSYS:
	case -ENOTTY:
	case -EINVAL:
	case -EOPNOTSUPP:
		atomic_store_explicit(&s->compound, false,
				      memory_order_relaxed);
		return -EOPNOTSUPP;
	default:
		return err;
	}
}

int client_compound(struct client_inode *dir, struct client_names *names,
		    struct client_walk_open *open)
{
	struct oriel_session *s = dir->s;
	struct client_closing v[CLIENT_CLOSING];
	unsigned n_closing = closing_take(s, v);
	struct walk_arg arg;
	struct walk_answer answer;
	uint64_t version = client_version(s);
	struct client_call c = {
		.opcode = FUSE_IOCTL,
		.nodeid = dir->nodeid,
		.arg = &arg,
		.arg_len = encode(names, open, v, n_closing, &arg),
		.out = &answer,
		.out_len = offsetof(struct walk_answer, entries) +
			   names->n * sizeof(answer.entries[0]),
	};
	int err;

	if (open && open->data.iov_len) {
		c.bulk = &open->data;
		c.n_bulk = 1;
		c.bulk_len = (size_t)min_u64(open->data.iov_len, s->max_read);
	}
	arg.ioctl.out_size = (uint32_t)(c.out_len + c.bulk_len -
					sizeof(answer.ioctl));
	err = client_call(s, &c);
	if (err) {
		/* before it does anything, it refuses: they are still open */
		if (err != -ETIMEDOUT)
			release_all(s, v, n_closing);
		return refused(s, err);
	}
	return take_answer(s, &answer, c.ret_bulk, names, open, version);
}
