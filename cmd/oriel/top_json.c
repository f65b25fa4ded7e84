/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A sample of all sessions as one JSON object on one line. What a session says
 * of itself stands under "claims"; the rest is the daemon's.
 */
#include "json.h"
#include "top.h"

static void add_latencies(cJSON *obj, const struct top_row *r)
{
	cJSON *all = cJSON_AddObjectToObject(obj, "latencies");

	for (unsigned i = 0; i < ORIEL_LATENCIES; i++) {
		struct top_latency l = top_latency_of(r, i);
		cJSON *o;

		if (!l.n)
			continue;
		o = cJSON_AddObjectToObject(all, oriel_latency_name(i));
		json_add_u64(o, "n", l.n);
		cJSON_AddNumberToObject(o, "p50_ns", l.p50);
		cJSON_AddNumberToObject(o, "p90_ns", l.p90);
		cJSON_AddNumberToObject(o, "p99_ns", l.p99);
		cJSON_AddNumberToObject(o, "p999_ns", l.p999);
		cJSON_AddNumberToObject(o, "max_ns", l.max);
	}
}

/* A digit of heat for each cell. */
static void add_window(cJSON *obj, const struct oriel_peer_stats *st)
{
	char heat[ORIEL_CELLS_MAX + 1];

	for (uint32_t i = 0; i < st->n_cells; i++)
		heat[i] = (char)('0' + (st->cells[i] & ORIEL_CELL_HEAT) % 10);
	heat[st->n_cells] = 0;
	cJSON_AddStringToObject(obj, "heat", heat);
	json_add_u64(obj, "ranges_per_cell", st->ranges_per_cell);
}

static void add_files(cJSON *obj, const struct top_row *r)
{
	cJSON *all = cJSON_AddArrayToObject(obj, "files");

	for (uint32_t i = 0; r->files && i < r->now->n_files; i++) {
		cJSON *o = cJSON_CreateObject();

		json_add_u64(o, "ranges", r->now->files[i].ranges);
		json_add_u64(o, "heat", r->now->files[i].heat);
		json_add_name(o, "name", r->files[i].name);
		cJSON_AddItemToArray(all, o);
	}
}

static void add_claims(cJSON *obj, const struct top_row *r)
{
	const struct oriel_peer_stats *st = r->now;
	cJSON *o = cJSON_AddObjectToObject(obj, "claims"), *part;
	unsigned i;

	json_add_u64(o, "age_ns", st->age_ns);
	part = cJSON_AddObjectToObject(o, "counters");
	for (i = 0; i < ORIEL_PEER_COUNTERS; i++)
		json_add_u64(part, oriel_peer_counter_name(i), st->counters[i]);
	part = cJSON_AddObjectToObject(o, "rates");
	for (i = 0; i < ORIEL_PEER_INODES; i++)
		cJSON_AddNumberToObject(part, oriel_peer_counter_name(i),
					top_rate(r, i));
	part = cJSON_AddObjectToObject(o, "misses");
	for (i = 0; i < ORIEL_MISSES; i++)
		json_add_u64(part, oriel_miss_name(i), st->misses[i]);
	add_latencies(o, r);
	add_window(o, st);
	add_files(o, r);
}

static void add_ops(cJSON *obj, const struct oriel_peer_stats *st)
{
	cJSON *ops = cJSON_AddObjectToObject(obj, "ops");

	for (unsigned i = 0; i < ARRAY_LEN(st->ops); i++)
		if (st->ops[i])
			json_add_u64(ops, i < 63 ? oriel_opcode_name(i) :
						   "others", st->ops[i]);
}

static cJSON *session(const struct top_row *r)
{
	const struct oriel_peer *p = &r->peer;
	cJSON *o = cJSON_CreateObject();

	json_add_u64(o, "id", p->id);
	json_add_u64(o, "pid", (uint64_t)p->pid);
	if (p->uid != UINT32_MAX)
		json_add_u64(o, "uid", p->uid);
	cJSON_AddStringToObject(o, "name", r->name);
	cJSON_AddStringToObject(o, "kind", top_kind(p));
	json_add_u64(o, "age_ns", p->age_ns);
	json_add_u64(o, "requests", p->requests);
	cJSON_AddNumberToObject(o, "requests_per_second", top_request_rate(r));
	json_add_u64(o, "mappings", p->mappings);
	json_add_u64(o, "handles", p->handles);
	json_add_u64(o, "nodes", p->nodes);
	json_add_u64(o, "descriptors", p->fds);
	if (r->now)
		add_ops(o, r->now);
	if (r->now && r->now->valid)
		add_claims(o, r);
	return o;
}

void top_json(const struct top *t)
{
	cJSON *obj = json_report(t->c);
	cJSON *all = cJSON_AddArrayToObject(obj, "sessions");

	json_add_name(obj, "share", t->share);
	json_add_u64(obj, "hidden", t->hidden);
	for (size_t i = 0; i < t->n; i++)
		cJSON_AddItemToArray(all, session(&t->rows[i]));
	json_print(t->c, obj);
}
