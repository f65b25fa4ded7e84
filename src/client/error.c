/* SPDX-License-Identifier: BSD-2-Clause */
/* Error texts. Each thread has a sentence for its last failed call and one for
 * its last failed connect. */
#include "client/client.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static __thread char session_text[600];
static __thread char connect_text[600];

const char *oriel_strerror(int err)
{
	static __thread char text[96];

	if (err < 0)
		err = -err;
	if (err == 0)
		return "success";
	/* The GNU form: returns the text, perhaps in @text. */
	return strerror_r(err, text, sizeof(text));
}

const char *oriel_connect_error(void)
{
	return connect_text;
}

const char *oriel_session_error(const struct oriel_session *s)
{
	return session_text;
}

static void remember(char *text, size_t len, int err, const char *fmt,
		     va_list ap)
{
	int n = vsnprintf(text, len, fmt, ap);

	if (n >= 0 && (size_t)n < len)
		snprintf(text + n, len - (size_t)n, ": %s",
			 oriel_strerror(err));
}

int client_fail(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	remember(session_text, sizeof(session_text), err, fmt, ap);
	va_end(ap);
	return err;
}

int client_connect_fail(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(connect_text, sizeof(connect_text), fmt, ap);
	va_end(ap);
	return err;
}

void client_connect_ok(void)
{
	connect_text[0] = '\0';
}
