/* SPDX-License-Identifier: BSD-2-Clause */
/* Connect options; private to src/client. */
#ifndef ORIEL_CLIENT_OPTIONS_H
#define ORIEL_CLIENT_OPTIONS_H

#include <oriel/oriel.h>

#include "base/util.h"

/* Copy @in (may be NULL) with defaults filled in: afterwards 0 means "none" for
 * the fields that have such a value. On failure the connect error is set. */
ORIEL_MUST_CHECK int client_options_fill(const struct oriel_options *in,
					 struct oriel_options *out);

/* "auto", "namespace", "chroot", "none". */
const char *client_sandbox_name(enum oriel_sandbox sandbox);

#endif
