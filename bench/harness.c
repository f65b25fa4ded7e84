/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A match: what the engine that 'oriel bench' has too (cmd/oriel/measure.c)
 * makes of the contestants goes to the report.
 */
#include "harness.h"

#include <string.h>

bool is_over(struct suite *su, const char *what, const char *where)
{
	if (!su->end_ns || now_ns() < su->end_ns)
		return false;
	if (!su->left_out++)
		report_note(su->report, "The time was over before %s on %s: "
			    "it and what follows was left out.", what, where);
	return true;
}

int match_run(struct suite *su, const struct match *m)
{
	const struct measure me = { .rounds = su->rounds,
				    .slice_ns = su->slice_ns };
	struct match_result mr = { .match = *m, .rounds = su->rounds };
	int err;

	if (!is_wanted(su, m->name) || is_over(su, m->name, m->fs))
		return 0;
	err = measure_ways(&me, m->ways, m->n_ways, mr.ways);
	if (err)
		fprintf(stderr, "bench: %s on %s: %s\n", m->name, m->fs,
			oriel_strerror(err));
	else
		report_add(su->report, &mr);
	return err;
}
