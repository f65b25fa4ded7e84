/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The window as a picture: many ranges become one cell of a grid that fits the
 * terminal. Pure but for the output stream.
 */
#ifndef ORIEL_CLI_PICTURE_H
#define ORIEL_CLI_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum picture_kind {
	PICTURE_FREE = 0,
	PICTURE_READ,
	PICTURE_WRITE,
	PICTURE_PINNED,
};

/* What some ranges have in common. */
struct picture_cell {
	enum picture_kind kind; /* the rarest: pinned, writable, read-only */
	bool recent;            /* one of them was used lately */
	unsigned used_percent;  /* of them are mapped; 0 only if none is */
};

struct picture_grid {
	size_t columns;
	size_t rows;
	size_t ranges_per_cell;
};

struct picture_style {
	unsigned width;   /* of the terminal */
	unsigned max_rows;
	bool color;
	bool utf8;        /* shades instead of letters, with colour only */
};

/* The characters are those of oriel_window_picture(). @n at least 1. */
struct picture_cell picture_cell_of(const char *ranges, size_t n);
/* A grid for @n ranges (at least 1). */
struct picture_grid picture_grid_of(size_t n, const struct picture_style *s);
/* Draw the grid and its legend. */
void picture_draw(FILE *f, const char *ranges, size_t n_ranges,
		  const struct picture_style *s, size_t range_bytes);

#endif
