/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An owner for the DAX engine without a daemon: files are memfds, map() and
 * unmap() are mmap(2) into a reserved window. It counts what it is asked,
 * checks that it is asked nothing impossible (a range mapped twice without
 * being removed, a removal of what is not mapped), and fails or waits on
 * command. A read-only mapping is PROT_READ: a store through it would kill.
 */
#ifndef ORIEL_TEST_DAX_FAKE_H
#define ORIEL_TEST_DAX_FAKE_H

#include <pthread.h>
#include <stdatomic.h>

#include "dax/dax.h"

#define FAKE_LOG 4096

struct fake_file {
	struct fake *fake;
	struct dax_inode di;
	int fd;
	_Atomic int refs; /* 1: only the test's; 0: torn down */
};

struct fake {
	struct dax_window *w;
	unsigned char *base;
	uint64_t bytes;
	uint64_t range_bytes;
	bool replace_in_place;

	pthread_mutex_t lock; /* guards the rest, where not atomic */
	pthread_cond_t changed;
	bool *is_mapped; /* by range */
	struct dax_map_request log[FAKE_LOG]; /* of map() */
	unsigned n_log;
	bool is_gated;   /* map() waits until it is not */
	unsigned n_waiting;

	_Atomic unsigned n_ticks;
	_Atomic int connected;
	_Atomic unsigned maps;        /* asked, failed ones too */
	_Atomic unsigned unmap_calls;
	_Atomic unsigned unmapped;    /* mappings */
	_Atomic unsigned largest_unmap;
	_Atomic unsigned gets;
	_Atomic unsigned puts;
	_Atomic unsigned violations;
	_Atomic int fail_map;    /* -errno of all maps; 0: none */
	_Atomic int fail_writable; /* -errno of maps for writing */
	_Atomic unsigned fail_at;  /* the n-th map from now fails: -ENOMEM */
	_Atomic int fail_unmap;
	_Atomic unsigned n_lost; /* ranges that fake_done() shall miss */
	_Atomic int refuse_get;
	_Atomic bool is_cheap;    /* is_cheap() for reading */
	_Atomic bool writes_cheaply;
	_Atomic bool turns_cheap; /* is_cheap, by the next map() */
	_Atomic bool is_absent;   /* is_resident() says no */
	_Atomic unsigned n_asked; /* is_resident() */
};

/* What to build; zero is a sensible default for all but the first two. */
struct fake_options {
	uint32_t ranges;
	uint64_t range_bytes;
	uint64_t small_file_bytes;
	unsigned admit_touches;
	unsigned patience;
	bool replace_in_place;
	bool background;
};

void fake_init(struct fake *f, const struct fake_options *o);
/* Checks that the window is empty, valid, and nothing is left mapped. */
void fake_done(struct fake *f);
/* The reserved window and the callbacks, without a dax_window. */
void fake_config(struct fake *f, const struct fake_options *o,
		 struct dax_config *ret);

void fake_file_init(struct fake *f, struct fake_file *file, uint64_t bytes);
void fake_file_done(struct fake_file *file);
/* Byte i of every file is this, after fake_file_init(). */
unsigned char fake_byte(uint64_t i);
bool fake_is_pattern(const unsigned char *buf, size_t len, uint64_t pos);

/* Stop / release threads inside map(). */
void fake_gate_close(struct fake *f);
void fake_gate_open(struct fake *f);
/* Until @n threads wait at the gate. */
void fake_gate_wait(struct fake *f, unsigned n);

#endif
