/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What fio calls, in this order: for each file get_file_size() and
 * prepopulate_file() in the main process; then, in the job's process or thread,
 * init(), open_file(), queue() ..., close_file(), cleanup().
 *
 * To fio this is an engine without a disk (its own code must not look for our
 * files where it runs), so that what fio does for files of its own is done
 * here: sizes, making and filling files, unlinking.
 */
#include "oriel.h"

#include "optgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define FILL_BYTES ((size_t)1 << 20)

#define ENGINE_OPTION(n, kind, field, text)                     \
	.name = (n), .lname = "Oriel: " n, .type = (kind),       \
	.off1 = offsetof(struct share_opts, field), .help = (text), \
	.category = FIO_OPT_C_ENGINE, .group = FIO_OPT_G_INVALID

static struct fio_option options[] = {
	{ ENGINE_OPTION("share", FIO_OPT_STR_STORE, share,
			"Directory, or socket of a virtio-fs daemon; "
			"filename= is a path in there") },
	{ ENGINE_OPTION("dax", FIO_OPT_STR, dax, "Use the window"),
	  .def = "auto",
	  .posval = {
		{ .ival = "auto", .oval = ORIEL_DAX_AUTO,
		  .help = "If the daemon offers one" },
		{ .ival = "never", .oval = ORIEL_DAX_NEVER,
		  .help = "Messages only" },
		{ .ival = "always", .oval = ORIEL_DAX_ALWAYS,
		  .help = "Fail without one" },
	  } },
	{ ENGINE_OPTION("window", FIO_OPT_STR_VAL, window,
			"Most bytes of window (0: the library's default)"),
	  .def = "0" },
	{ ENGINE_OPTION("range", FIO_OPT_STR_VAL, range,
			"Bytes of a range of the window (0: default)"),
	  .def = "0" },
	{ ENGINE_OPTION("poll_us", FIO_OPT_INT, poll_us,
			"Longest busy polling for an answer (0: never, "
			"-1: default)"),
	  .def = "-1", .minval = -1, .maxval = 10000 },
	{ ENGINE_OPTION("timeout_ms", FIO_OPT_INT, timeout_ms,
			"Longest wait for an answer (0: default)"),
	  .def = "0" },
	{ ENGINE_OPTION("sandbox", FIO_OPT_STR, sandbox,
			"Directory shares: how the daemon is confined"),
	  .def = "auto",
	  .posval = {
		{ .ival = "auto", .oval = ORIEL_SANDBOX_AUTO,
		  .help = "The strongest that works" },
		{ .ival = "namespace", .oval = ORIEL_SANDBOX_NAMESPACE,
		  .help = "Namespaces" },
		{ .ival = "chroot", .oval = ORIEL_SANDBOX_CHROOT,
		  .help = "chroot(2)" },
		{ .ival = "none", .oval = ORIEL_SANDBOX_NONE,
		  .help = "Not at all" },
	  } },
	{ ENGINE_OPTION("daemon", FIO_OPT_STR_STORE, daemon,
			"Directory shares: the orield to start") },
	{ ENGINE_OPTION("daemon_cpu", FIO_OPT_INT, daemon_cpu,
			"Processor for the daemon (-1: any)"),
	  .def = "-1", .minval = -1, .maxval = CPU_SETSIZE - 1 },
	{ .name = NULL },
};

/* Set by the build: the fio whose headers these are. */
#ifndef ORIEL_FIO_VERSION
#error "build with contrib/fio/build"
#endif

struct ioengine_ops ioengine;

/* fio checks the number of its interface, but the layout of what it hands out
 * changes without it. */
static int check_fio(struct thread_data *td)
{
	if (!strcmp(fio_version_string, ORIEL_FIO_VERSION) &&
	    td->io_ops == &ioengine)
		return 0;
	log_err("oriel: this engine was built for " ORIEL_FIO_VERSION
		", and this is %s: build it again\n", fio_version_string);
	return EINVAL;
}

static int check_job(struct thread_data *td)
{
	int err = check_fio(td);

	if (err || !td->o.odirect)
		return err;
	log_err("oriel: %s: direct=1: Oriel is the page cache of the daemon's "
		"machine; there is no way around it\n", td->o.name);
	td_verror(td, EINVAL, "direct");
	return EINVAL;
}

static int job_init(struct thread_data *td)
{
	struct share *sh;
	int err = check_job(td);

	if (!err)
		err = share_get(td, false, &sh);
	if (!err)
		sh->for_setup = false;
	return err;
}

/* A line beside fio's own, where those are for people. */
static void print_ways(struct thread_data *td, struct share *sh)
{
	struct oriel_info i = { .size = sizeof(i) };

	if (!(output_format & FIO_OUTPUT_NORMAL) || oriel_info(sh->s, &i))
		return;
	log_info("oriel: %s: window %s, read %llu KiB, written %llu KiB; "
		 "by message read %llu KiB, written %llu KiB; "
		 "by descriptor read %llu KiB, written %llu KiB\n", td->o.name,
		 i.dax ? "on" : "off",
		 (unsigned long long)i.window_read_bytes >> 10,
		 (unsigned long long)i.window_write_bytes >> 10,
		 (unsigned long long)i.message_read_bytes >> 10,
		 (unsigned long long)i.message_write_bytes >> 10,
		 (unsigned long long)i.held_read_bytes >> 10,
		 (unsigned long long)i.held_written_bytes >> 10);
}

static void job_cleanup(struct thread_data *td)
{
	struct share *sh = share_of(td);

	if (sh)
		print_ways(td, sh);
	share_put(td);
}

/* --------------------------------------------------------------- files */

static int open_flags(struct thread_data *td)
{
	int flags = (int)td->o.sync_io;

	if (td_write(td) || td_trim(td)) {
		flags |= O_RDWR;
		if (td->o.allow_create)
			flags |= O_CREAT;
	} else if (td->o.create_on_open && td->o.allow_create) {
		flags |= O_CREAT;
	}
	return flags;
}

static int file_open(struct thread_data *td, struct fio_file *f)
{
	struct oriel_file *of;
	struct share *sh;
	int err = share_get(td, false, &sh);

	if (err)
		return 1;
	err = oriel_open(sh->s, f->file_name, open_flags(td), 0600, &of);
	if (err) {
		share_fail(td, "open", f->file_name, err);
		return 1;
	}
	FILE_SET_ENG_DATA(f, of);
	return 0;
}

static int file_close(struct thread_data *td, struct fio_file *f)
{
	struct oriel_file *of = FILE_ENG_DATA(f);
	int err = oriel_close(of);

	FILE_SET_ENG_DATA(f, NULL);
	return err ? share_fail(td, "close", f->file_name, err) : 0;
}

/* There is nothing of ours to drop, and the daemon's page cache is not for
 * clients to drop. */
static int file_invalidate(struct thread_data *td, struct fio_file *f)
{
	return 0;
}

static int file_unlink(struct thread_data *td, struct fio_file *f)
{
	struct share *sh;
	int err = share_get(td, true, &sh);

	if (err)
		return err;
	err = oriel_unlink(sh->s, f->file_name);
	if (sh->for_setup)
		share_put(td);
	return -err;
}

/* Outside of a job the last file ends the session: fio forks next, unless jobs
 * are threads. After a failure fio gives up. */
static int setup_done(struct thread_data *td, const struct fio_file *f,
		      int err)
{
	struct share *sh = share_of(td);
	bool is_last = !td->o.use_thread &&
		       f == td->files[td->files_index - 1];

	if (sh && sh->for_setup && (is_last || err))
		share_put(td);
	return err;
}

/* Of a file that is not there: 0. */
static int size_of(struct thread_data *td, const struct fio_file *f,
		   uint64_t *ret)
{
	struct oriel_stat st;
	struct share *sh;
	int err = share_get(td, true, &sh);

	if (err)
		return err;
	err = oriel_stat(sh->s, f->file_name, 0, &st);
	if (!err && !S_ISREG(st.mode))
		err = S_ISDIR(st.mode) ? -EISDIR : -ENXIO;
	if (err && err != -ENOENT)
		return share_fail(td, "stat", f->file_name, err);
	*ret = err ? 0 : st.size;
	return 0;
}

static int file_get_size(struct thread_data *td, struct fio_file *f)
{
	uint64_t bytes = 0;
	int err = check_job(td);

	if (!err)
		err = size_of(td, f, &bytes);
	if (err)
		return setup_done(td, f, err);
	f->filetype = FIO_TYPE_FILE;
	f->real_file_size = bytes;
	fio_file_set_size_known(f);
	return 0;
}

/* As fallocate= says. */
static int reserve(struct thread_data *td, struct oriel_file *of, off_t bytes)
{
	int err;

	switch (td->o.fallocate_mode) {
	case FIO_FALLOCATE_NATIVE:
		err = oriel_fallocate(of, 0, 0, bytes);
		return err == -EOPNOTSUPP ? 0 : err;
	case FIO_FALLOCATE_POSIX:
		return oriel_fallocate(of, 0, 0, bytes);
	case FIO_FALLOCATE_KEEP_SIZE:
		return oriel_fallocate(of, FALLOC_FL_KEEP_SIZE, 0, bytes);
	case FIO_FALLOCATE_TRUNCATE:
		return oriel_ftruncate(of, bytes);
	default:
		return 0;
	}
}

/* What is missing from @from to @to, in large pieces, so that the file lies in
 * large folios where the file system has them. */
static int fill(struct thread_data *td, struct oriel_file *of, uint64_t from,
		uint64_t to)
{
	void *buf = aligned_alloc(4096, FILL_BYTES);
	ssize_t n = 0;

	if (!buf)
		return -ENOMEM;
	while (n >= 0 && from < to && !td->terminate) {
		size_t len = to - from < FILL_BYTES ? to - from : FILL_BYTES;

		fill_io_buffer(td, buf, len, len);
		n = oriel_pwrite(of, buf, len, (off_t)from);
		if (n > 0)
			from += (uint64_t)n;
	}
	free(buf);
	if (n >= 0 && td->o.create_fsync)
		n = oriel_fsync(of);
	return n < 0 ? (int)n : 0;
}

/* Make @f @to bytes long, with data where the job is going to read. */
static int lay_out(struct thread_data *td, struct fio_file *f, uint64_t from,
		   uint64_t to)
{
	bool has_data = td_read(td) ||
			(td->o.overwrite && !td->o.file_append);
	struct oriel_file *of;
	struct share *sh;
	int flags = O_WRONLY, err = share_get(td, true, &sh);

	if (err)
		return err;
	if (read_only) {
		log_err("oriel: %s: --readonly, and %s would have to grow\n",
			td->o.name, f->file_name);
		return EROFS;
	}
	if (td->o.allow_create)
		flags |= O_CREAT;
	err = oriel_open(sh->s, f->file_name, flags, 0644, &of);
	if (err)
		return share_fail(td, "make", f->file_name, err);
	err = reserve(td, of, (off_t)to);
	if (!err && has_data)
		err = fill(td, of, from, to);
	if (err) {
		err = share_fail(td, "fill", f->file_name, err);
		oriel_close(of);
		return err;
	}
	err = oriel_close(of);
	return err ? share_fail(td, "close", f->file_name, err) : 0;
}

static int file_prepopulate(struct thread_data *td, struct fio_file *f)
{
	uint64_t to = f->file_offset + f->io_size;
	uint64_t from = f->real_file_size;
	int err = 0;

	if (to > from && !td->o.create_on_open)
		err = lay_out(td, f, from, to);
	if (!err && to > from)
		f->real_file_size = to;
	return setup_done(td, f, err);
}

struct ioengine_ops ioengine = {
	.name = "oriel",
	.version = FIO_IOOPS_VERSION,
	.flags = FIO_SYNCIO | FIO_DISKLESSIO | FIO_NODISKUTIL,
	.init = job_init,
	.cleanup = job_cleanup,
	.queue = io_queue,
	.errdetails = io_errdetails,
	.open_file = file_open,
	.close_file = file_close,
	.invalidate = file_invalidate,
	.unlink_file = file_unlink,
	.get_file_size = file_get_size,
	.prepopulate_file = file_prepopulate,
	.option_struct_size = sizeof(struct share_opts),
	.options = options,
};
