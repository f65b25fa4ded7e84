/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What lies between two samples of a session: rates and latencies. What it says
 * of itself may be wrong in any way: counters that fall count as nothing, and
 * histograms wrap. Pure.
 */
#include "top.h"

static double per_second(uint64_t now, uint64_t last, uint64_t ns)
{
	if (now <= last || !ns)
		return 0;
	return (double)(now - last) * 1e9 / (double)ns;
}

static bool has_two(const struct top_row *r)
{
	return r->now && r->last && r->now->valid && r->last->valid;
}

/* Between the two moments at which the session published. */
static uint64_t between(const struct top_row *r)
{
	return r->now->when_ns > r->last->when_ns ?
		       r->now->when_ns - r->last->when_ns : 0;
}

double top_seconds(const struct top_row *r)
{
	return has_two(r) ? (double)between(r) / 1e9 : 0;
}

double top_rate(const struct top_row *r, enum oriel_peer_counter what)
{
	return has_two(r) ? per_second(r->now->counters[what],
				       r->last->counters[what], between(r)) :
			    0;
}

double top_miss_rate(const struct top_row *r, enum oriel_miss what)
{
	return has_two(r) ? per_second(r->now->misses[what],
				       r->last->misses[what], between(r)) :
			    0;
}

double top_request_rate(const struct top_row *r)
{
	return r->last_peer.id ? per_second(r->peer.requests,
					    r->last_peer.requests,
					    r->taken_ns - r->last_ns) :
				 0;
}

double top_op_rate(const struct top_row *r, unsigned opcode)
{
	return r->now && r->last ? per_second(r->now->ops[opcode],
					      r->last->ops[opcode],
					      r->taken_ns - r->last_ns) :
				   0;
}

double top_hit_percent(const struct top_row *r)
{
	double hits = top_rate(r, ORIEL_PEER_HITS);
	double all = hits + top_rate(r, ORIEL_PEER_MISSES);

	return all > 0 ? 100 * hits / all : -1;
}

/* ----------------------------------------------------------------- latency */

/* In the middle of the bucket that the @nth of the counted ones is in. */
static double value_of(const uint32_t *n, uint64_t nth)
{
	unsigned i;

	for (i = 0; i < ORIEL_LATENCY_BUCKETS - 1 && nth > n[i]; i++)
		nth -= n[i];
	return ((double)oriel_latency_ns(i) + (double)oriel_latency_ns(i + 1)) /
	       2;
}

struct top_latency top_latency_of(const struct top_row *r,
				  enum oriel_latency what)
{
	struct top_latency l = { 0 };
	uint32_t n[ORIEL_LATENCY_BUCKETS];

	if (!has_two(r))
		return l;
	for (unsigned i = 0; i < ORIEL_LATENCY_BUCKETS; i++) {
		n[i] = r->now->latencies[what][i] - r->last->latencies[what][i];
		l.n += n[i];
		if (n[i])
			l.max = (double)oriel_latency_ns(i + 1);
	}
	if (l.n) {
		l.p50 = value_of(n, (l.n + 1) / 2);
		l.p90 = value_of(n, l.n - l.n / 10);
		l.p99 = value_of(n, l.n - l.n / 100);
		l.p999 = value_of(n, l.n - l.n / 1000);
	}
	return l;
}
