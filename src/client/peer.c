/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Looking at the sessions of the daemon, this one's and others'.
 *
 * What a session says of itself came through memory that it can write as it
 * likes. The daemon has copied it and looked at nothing; here is where it is
 * looked at: magic, version, whole or not, every number that is used as an index
 * or a length. What is left are numbers that may be lies.
 *
 * Thread rule: any thread.
 */
#include "client/client.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "wire/gauge.h"

_Static_assert((int)ORIEL_PEER_COUNTERS == (int)GAUGE_COUNTERS &&
	       (int)ORIEL_PEER_DAX == (int)GAUGE_DAX &&
	       (int)ORIEL_PEER_REQUESTS == (int)GAUGE_REQUESTS,
	       "the same numbers");
_Static_assert(ORIEL_MISSES <= GAUGE_MISSES &&
	       (int)ORIEL_MISSES == (int)DAX_MISSES &&
	       (int)ORIEL_MISS_NOWAIT == (int)DAX_MISS_NOWAIT, "room");
_Static_assert(ORIEL_LATENCIES <= GAUGE_LAT_CLASSES, "room");
_Static_assert(ORIEL_LATENCY_BUCKETS == GAUGE_LAT_BUCKETS, "the same");
_Static_assert(ORIEL_CELLS_MAX == GAUGE_CELLS &&
	       ORIEL_CELL_HEAT == GAUGE_HEAT_MASK &&
	       ORIEL_CELL_WRITABLE == GAUGE_WRITABLE &&
	       ORIEL_CELL_PINNED == GAUGE_PINNED, "the same");
_Static_assert(ORIEL_PEER_FILES == GAUGE_FILES, "the same");
_Static_assert(ORIEL_PEER_GAUGE == FUSE_WIRE_PEER_GAUGE &&
	       ORIEL_PEER_SELF == FUSE_WIRE_PEER_SELF &&
	       ORIEL_PEER_READY == FUSE_WIRE_PEER_READY &&
	       ORIEL_PEER_ORIEL == FUSE_WIRE_PEER_ORIEL &&
	       ORIEL_PEER_GUEST == FUSE_WIRE_PEER_GUEST, "the same bits");

/* ------------------------------------------------------------------ names */

const char *oriel_peer_counter_name(unsigned counter)
{
	static const char *const names[] = {
		"hits", "misses", "setups", "setup_errors", "upgrades",
		"reclaimed", "prefetched", "bypassed", "faults",
		"window_read_bytes", "window_write_bytes",
		"message_read_bytes", "message_write_bytes", "requests",
		"forgets", "sleeps", "inodes", "open_files", "range_bytes",
		"ranges", "free_ranges", "mappings", "pinned_ranges", "dax",
	};

	_Static_assert(ARRAY_LEN(names) == ORIEL_PEER_COUNTERS, "all");
	return counter < ARRAY_LEN(names) ? names[counter] : NULL;
}

const char *oriel_miss_name(unsigned miss)
{
	static const char *const names[] = {
		"new", "small", "full", "backoff", "failed",
		"nowait",
	};

	_Static_assert(ARRAY_LEN(names) == ORIEL_MISSES, "all");
	return miss < ARRAY_LEN(names) ? names[miss] : NULL;
}

const char *oriel_latency_name(unsigned latency)
{
	static const char *const names[] = {
		"name", "attr", "open", "read", "write", "dir", "map", "other",
	};

	_Static_assert(ARRAY_LEN(names) == ORIEL_LATENCIES, "all");
	return latency < ARRAY_LEN(names) ? names[latency] : NULL;
}

const char *oriel_opcode_name(unsigned opcode)
{
	return fuse_opcode_name(opcode);
}

uint64_t oriel_latency_ns(unsigned bucket)
{
	return bucket ? gauge_bucket_ns(bucket < GAUGE_LAT_BUCKETS ?
						bucket : GAUGE_LAT_BUCKETS) : 0;
}

/* --------------------------------------------------------------- requests */

struct answer {
	struct fuse_ioctl_out out;
	struct fuse_wire_peer peer;
	uint64_t ops[FUSE_WIRE_PEER_OPS]; /* STATS only */
};

/* @page (GAUGE_BYTES) NULL: NEXT. Bytes of the page that came, or -errno. */
static ssize_t peer_ioctl(struct oriel_session *s,
			  const struct fuse_wire_peer_in *arg,
			  struct answer *ret, void *page)
{
	struct {
		struct fuse_ioctl_in in;
		struct fuse_wire_peer_in arg;
	} in = {
		.in = {
			.fh = FUSE_WIRE_NO_FH,
			.cmd = page ? FUSE_WIRE_IOC_PEER_STATS :
				      FUSE_WIRE_IOC_PEER_NEXT,
			.in_size = sizeof(*arg),
		},
		.arg = *arg,
	};
	struct iovec iov = { page, GAUGE_BYTES };
	struct client_call c = {
		.opcode = FUSE_IOCTL,
		.nodeid = FUSE_ROOT_ID,
		.arg = &in,
		.arg_len = sizeof(in),
		.out = ret,
		.out_len = page ? sizeof(*ret) : offsetof(struct answer, ops),
		.bulk = &iov,
		.n_bulk = page ? 1 : 0,
		.bulk_len = page ? GAUGE_BYTES : 0,
	};
	int err;

	in.in.out_size = (uint32_t)(c.out_len - sizeof(ret->out) + c.bulk_len);
	err = client_call(s, &c);
	if (err == -ENOSYS || err == -ENOTTY)
		return client_fail(-EOPNOTSUPP, "the daemon does not tell of "
				   "its sessions: it is no orield, or an "
				   "older one");
	return err ? client_fail(err, "sessions of the daemon: %s",
				 oriel_strerror(err)) : (ssize_t)c.ret_bulk;
}

/* What fits of @what into a struct of the caller's size. */
static void give(void *ret, const void *what, size_t known)
{
	size_t size;

	memcpy(&size, ret, sizeof(size));
	memcpy((char *)ret + sizeof(size), (const char *)what + sizeof(size),
	       min_u64(size, known) - sizeof(size));
	if (size > known)
		memset((char *)ret + known, 0, size - known);
}

int oriel_peer_next(struct oriel_session *s, uint64_t after,
		    struct oriel_peer *ret)
{
	const struct fuse_wire_peer_in arg = { .id = after };
	struct oriel_peer p = { 0 };
	struct answer a;
	ssize_t r;

	if (ret->size < sizeof(ret->size))
		return client_fail(-EINVAL, "peer: size is %zu", ret->size);
	r = peer_ioctl(s, &arg, &a, NULL);
	if (r < 0)
		return (int)r;
	/* a list that does not end would be one without end */
	if (a.peer.id && a.peer.id <= after)
		return client_fail(-EPROTO, "the daemon's list of sessions "
				   "goes in circles");
	p = (struct oriel_peer){
		.id = a.peer.id,
		.age_ns = a.peer.age_ns,
		.requests = a.peer.requests,
		.mappings = a.peer.mappings,
		.handles = a.peer.handles,
		.nodes = a.peer.nodes,
		.fds = a.peer.fds,
		.pid = a.peer.pid,
		.uid = a.peer.uid,
		.gid = a.peer.gid,
		.flags = a.peer.flags,
		.hidden = a.peer.hidden,
	};
	give(ret, &p, sizeof(p));
	return a.peer.id != 0;
}

/* -------------------------------------------------------------- statistics */

static bool is_whole(const struct gauge_page *g)
{
	return g->magic == GAUGE_MAGIC && g->version == GAUGE_VERSION &&
	       g->bytes == GAUGE_BYTES && g->head && g->head == g->tail;
}

static void take_cells(struct oriel_peer_stats *st, const struct gauge_body *b)
{
	st->n_cells = (uint32_t)min_u64(b->n_cells, GAUGE_CELLS);
	st->ranges_per_cell = b->ranges_per_cell ? b->ranges_per_cell : 1;
	for (uint32_t i = 0; i < st->n_cells; i++) {
		uint8_t heat = b->cells[i] & GAUGE_HEAT_MASK;

		st->cells[i] = b->cells[i] & (GAUGE_WRITABLE | GAUGE_PINNED);
		st->cells[i] |= heat < GAUGE_HEAT_MAX ? heat : GAUGE_HEAT_MAX;
	}
}

static void take_files(struct oriel_peer_stats *st, const struct gauge_body *b)
{
	for (unsigned i = 0; i < GAUGE_FILES && b->files[i].ranges; i++) {
		const struct gauge_file *f = &b->files[i];

		st->files[st->n_files++] = (struct oriel_peer_file){
			.node = f->node,
			.ranges = f->ranges,
			.heat = (uint32_t)min_u64(f->heat, GAUGE_HEAT_MAX),
		};
	}
}

static void take_page(struct oriel_peer_stats *st, const struct gauge_page *g)
{
	const struct gauge_body *b = &g->body;
	uint64_t now = clock_now_ns();

	if (!is_whole(g))
		return;
	st->valid = 1;
	st->answers = b->answers;
	st->when_ns = min_u64(b->when_ns, now);
	st->age_ns = now - st->when_ns;
	st->timed = b->watched != 0;
	memcpy(st->name, b->name, sizeof(st->name) - 1);
	memcpy(st->counters, b->n, sizeof(b->n));
	memcpy(st->misses, b->misses, sizeof(b->misses));
	memcpy(st->latencies, b->lat, sizeof(b->lat));
	take_cells(st, b);
	take_files(st, b);
}

int oriel_peer_stats(struct oriel_session *s, uint64_t id, int ask,
		     struct oriel_peer_stats *ret)
{
	const struct fuse_wire_peer_in arg = { .id = id, .ask = ask != 0 };
	struct oriel_peer_stats *st;
	struct gauge_page *g;
	struct answer a;
	ssize_t r;

	if (ret->size < sizeof(ret->size))
		return client_fail(-EINVAL, "peer: size is %zu", ret->size);
	st = calloc(1, sizeof(*st));
	g = aligned_alloc(_Alignof(struct gauge_page), GAUGE_BYTES);
	r = st && g ? peer_ioctl(s, &arg, &a, g) : -ENOMEM;
	if (r >= 0) {
		memcpy(st->ops, a.ops, sizeof(a.ops));
		st->asked = a.peer.asked;
		if (r == GAUGE_BYTES)
			take_page(st, g);
		give(ret, st, sizeof(*st));
		r = 0;
	}
	free(g);
	free(st);
	return (int)r;
}

/* ------------------------------------------------------------------- names */

int oriel_peer_name(struct oriel_session *s, uint64_t id, uint64_t node,
		    char *buf, size_t len)
{
	const struct {
		struct fuse_ioctl_in in;
		struct fuse_wire_peer_name_in arg;
	} in = {
		.in = {
			.fh = FUSE_WIRE_NO_FH,
			.cmd = FUSE_WIRE_IOC_PEER_NAME,
			.in_size = sizeof(in.arg),
			.out_size = PATH_MAX,
		},
		.arg = { .id = id, .node = node },
	};
	char path[PATH_MAX];
	struct iovec iov = { path, sizeof(path) };
	struct fuse_ioctl_out out;
	struct client_call c = {
		.opcode = FUSE_IOCTL,
		.nodeid = FUSE_ROOT_ID,
		.arg = &in,
		.arg_len = sizeof(in),
		.out = &out,
		.out_len = sizeof(out),
		.bulk = &iov,
		.n_bulk = 1,
		.bulk_len = sizeof(path),
	};
	int err = client_call(s, &c);

	if (err)
		return err == -ENOSYS || err == -ENOTTY ? -EOPNOTSUPP : err;
	if (memchr(path, 0, c.ret_bulk))
		return -EPROTO;
	if (c.ret_bulk >= len)
		return -ENAMETOOLONG;
	memcpy(buf, path, c.ret_bulk);
	buf[c.ret_bulk] = 0;
	return 0;
}
