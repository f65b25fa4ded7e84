/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The whole terminal for one picture that is drawn again and again, and keys.
 * What was on it comes back in the end, however that comes: screen_end(), a
 * signal, a second one while the first is still waited for, Ctrl-Z. One thread
 * only; there is one screen.
 */
#ifndef ORIEL_CLI_SCREEN_H
#define ORIEL_CLI_SCREEN_H

#include <stdbool.h>
#include <stdint.h>

enum {
	SCREEN_NOTHING = 0, /* the time is over, or a signal came */
	SCREEN_REDRAW = 256, /* it has another size, or was away */
	SCREEN_UP,
	SCREEN_DOWN,
};

/* Can it be? stdout is a terminal that can do more than print lines. */
bool screen_is_possible(void);
/* Does the terminal say that it has 256 colours? */
bool screen_has_256_colors(void);

void screen_begin(void);
/* Nothing without screen_begin(). */
void screen_end(void);
/* Are there keys? stdin is a terminal, too. */
bool screen_has_keys(void);
unsigned screen_rows(void);
unsigned screen_columns(void);

/* Draw @text, clipped to the terminal; its colours have no width. */
void screen_draw(const char *text);

/* The next key, or one of the above, in at most @ms milliseconds. */
int screen_wait(uint32_t ms);

#endif
