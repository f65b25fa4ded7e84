/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The options, spelled as virtiofsd spells them, one row each; and those of
 * virtiofsd that we do not have, which are refused by name: silence would
 * promise them.
 */
#include "options.h"

#include <errno.h>
#include <string.h>

#define AT(field) offsetof(struct orield_options, field)
#define FLAG(field) NULL, OPTION_TRUE, AT(field), NULL
#define NO_FLAG(field) NULL, OPTION_FALSE, AT(field), NULL
#define NOTHING NULL, OPTION_NOTHING, 0, NULL
#define SET(metavar, fn) metavar, OPTION_SET, 0, fn
#define WORD(words, field) words, OPTION_WORD, AT(field), NULL

const struct option_row option_rows[] = {
	{ "shared-dir", "DIR", OPTION_TEXT, AT(shared_dir), NULL,
	  "the directory to share", "What is shared, and where" },
	{ "socket-path", "PATH", OPTION_TEXT, AT(socket_path), NULL,
	  "listen on this UNIX socket" },
	{ "socket-group", "GROUP", OPTION_TEXT, AT(socket_group), NULL,
	  "who may connect besides the owner" },
	{ "fd", "N", OPTION_FD, AT(listen_fd), NULL,
	  "descriptor N is the listening socket" },
	{ "connected-fd", "N", OPTION_FD, AT(connected_fd), NULL,
	  "serve the client connected on descriptor N, then exit" },
	{ "mount", "DIR", OPTION_TEXT, AT(mount_dir), NULL,
	  "mount the share there, on this machine, by /dev/fuse" },
	{ "passthrough", SET("auto|never", option_set_passthrough),
	  "with --mount: let the kernel read and write files itself" },
	{ "notify", SET("auto|never", option_set_notify),
	  "what others change in the share is told to those who cache or watch"
	  " it (default: auto, where fanotify works)" },
	{ "tag", SET("TAG", option_set_tag),
	  "name guests mount it by (36 bytes; default: oriel)" },
	{ "readonly", FLAG(readonly), "nothing can be changed" },
	{ "share", SET("tag=TAG,path=DIR,socket=PATH,...", option_set_share),
	  "one of several shares, instead of the options above; repeat. Further"
	  " words: options that may differ; outside, they are for all" },
	{ "max-clients", SET("N", option_set_max_clients),
	  "most clients of a share at a time (default: what there is room for)" },

	{ "cache", SET("auto|always|metadata|never", option_set_cache),
	  "attributes are believed for 1 s, a day, a day, not at all; with the"
	  " last two, data are not cached", "Caching" },
	{ "allow-mmap", FLAG(allow_mmap),
	  "shared mappings also where data are not cached" },
	{ "writeback", FLAG(writeback),
	  "the client may keep what is written; needs cache auto or always" },
	{ "no-readdirplus", FLAG(no_readdirplus),
	  "listings without attributes" },
	{ "allow-direct-io", FLAG(allow_direct_io),
	  "O_DIRECT of the client is O_DIRECT here" },
	{ "preserve-noatime", FLAG(preserve_noatime),
	  "O_NOATIME that is not allowed is an error, not ignored" },

	{ "xattr", FLAG(xattr), "offer extended attributes (default)",
	  "What the file system offers" },
	{ "no-xattr", NO_FLAG(xattr), "do not" },
	{ "xattrmap", SET("RULES", option_set_xattrmap),
	  "other names for them on the host: :TYPE:SCOPE:KEY:PREPEND: with"
	  " types prefix, ok, bad, unsupported, or :map:KEY:PREPEND:" },
	{ "killpriv-v2", NO_FLAG(no_killpriv),
	  "the client says when set-uid bits go (default)" },
	{ "no-killpriv-v2", FLAG(no_killpriv), "they go with every write" },
	{ "no-posix-lock", FLAG(no_posix_locks),
	  "fcntl locks are each client's own (default: real ones)" },
	{ "no-flock", FLAG(no_flock), "the same for flock" },
	{ "inode-file-handles", WORD("never|prefer|mandatory", file_handles),
	  "files that clients know are remembered by file handle, not held open"
	  " (default: never; as root)" },

	{ "posix-acl", FLAG(posix_acl),
	  "the client enforces access lists; they are kept as xattrs" },
	{ "no-posix-acl", NO_FLAG(posix_acl), "it does not (default)" },
	{ "announce-submounts", NO_FLAG(no_submounts),
	  "what is mounted below the share has a device of its own (default)" },
	{ "no-announce-submounts", FLAG(no_submounts), "it has not" },
	{ "security-label", FLAG(security_label),
	  "new files get the security label that the client sends" },
	{ "no-security-label", NO_FLAG(security_label), "they do not (default)" },

	{ "translate-uid", SET("TYPE:FROM:TO:COUNT", option_set_translate_uid),
	  "the client's user FROM is our TO; types: map (both ways), guest,"
	  " host, squash-guest, squash-host, forbid-guest:FROM:COUNT; repeat",
	  "Users" },
	{ "translate-gid", SET("TYPE:FROM:TO:COUNT", option_set_translate_gid),
	  "the same for groups" },
	{ "uid-map", SET(":INSIDE:OUTSIDE:COUNT:", option_set_uid_map),
	  "run in a user name space with these users; repeat" },
	{ "gid-map", SET(":INSIDE:OUTSIDE:COUNT:", option_set_gid_map),
	  "the same for groups" },

	{ "sandbox", WORD("auto|namespace|chroot|none", sandbox),
	  "how to lock the daemon in (default: auto, the strongest)",
	  "Isolation" },
	{ "seccomp", WORD("kill|log|trap|none", seccomp),
	  "what an unforeseen system call does (default: kill)" },
	{ "modcaps", SET("+CAP:-CAP...", option_set_modcaps),
	  "capabilities kept besides the usual ones, or dropped" },
	{ "rlimit-nofile", SET("N", option_set_rlimit_nofile),
	  "most open files (default: 1000000 or the hard limit)" },

	{ "window", SET("SIZE", option_set_window),
	  "size of the DAX window: 2M steps, K M G T; 0: none (default: 64G)",
	  "DAX and speed" },
	{ "guest-dax", WORD("never|auto|always", guest_dax),
	  "a window for virtual machines, an experiment: never (default), auto:"
	  " if it can work" },
	{ "guest-window", SET("SIZE", option_set_guest_window),
	  "its size, a power of two, at most 512M (default: 512M)" },
	{ "request-queues", SET("N", option_set_request_queues),
	  "request queues offered, 1 to 64 (default: 4)" },
	{ "thread-pool-size", SET("N", option_set_pool_size),
	  "threads for each request queue, up to 64; 0: one (default)" },
	{ "poll-us", SET("N", option_set_poll_us),
	  "poll this long after a request before sleeping (default: 200)" },

	{ "log-level", SET("off|error|warn|info|debug|trace",
			   option_set_log_level),
	  "what is logged (default: info)", "Running" },
	{ "syslog", FLAG(syslog), "log to /dev/log instead of stderr" },
	{ "daemonize", FLAG(daemonize),
	  "go to the background as soon as clients can connect" },
	{ "ready-fd", "N", OPTION_FD, AT(ready_fd), NULL,
	  "write READY or ERROR there, one line" },
	{ "exit-with-parent", FLAG(exit_with_parent),
	  "end when the parent process does" },
	{ "print-capabilities", NULL, OPTION_PRINT, 0, NULL,
	  "as JSON, then exit" },
	{ "print-qemu-args", FLAG(print_qemu_args),
	  "how QEMU and a guest use this share, then exit" },
	{ "version", NULL, OPTION_PRINT, 0, NULL,
	  "print the version, then exit (-V)" },
	{ "help", NULL, OPTION_PRINT, 0, NULL, "print this, then exit (-h)" },
};

const unsigned option_n_rows = ARRAY_LEN(option_rows);

const struct option_row *option_find(const char *name, size_t len)
{
	unsigned i;

	for (i = 0; i < option_n_rows; i++) {
		if (strlen(option_rows[i].name) == len &&
		    !strncmp(option_rows[i].name, name, len))
			return &option_rows[i];
	}
	return NULL;
}

static const struct {
	const char *name;
	const char *instead;
} refused[] = {
	{ "migration-mode", "guests cannot be migrated with a share; detach"
	  " it before" },
	{ "migration-on-error", "guests cannot be migrated with a share" },
	{ "migration-verify-handles",
	  "guests cannot be migrated with a share" },
	{ "migration-confirm-paths", "guests cannot be migrated with a share" },
};

const char *option_refused(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(refused); i++) {
		if (strlen(refused[i].name) == len &&
		    !strncmp(refused[i].name, name, len))
			return refused[i].instead;
	}
	return NULL;
}

/* --------------------------------------------------------- carrying out */

int option_word_index(const char *words, const char *arg, size_t len)
{
	int i = 0;

	for (;;) {
		size_t n = strcspn(words, "|");

		if (n == len && !strncmp(words, arg, n))
			return i;
		if (!words[n])
			return -EINVAL;
		words += n + 1;
		i++;
	}
}

static int apply_word(const struct option_row *row, int *to, const char *arg)
{
	int i = option_word_index(row->metavar, arg, strlen(arg));

	if (i < 0)
		return i;
	*to = i;
	return 0;
}

static int apply_fd(int *to, const char *arg)
{
	uint64_t v;

	if (option_parse_u64(arg, INT32_MAX, &v))
		return -EINVAL;
	*to = (int)v;
	return 0;
}

static int apply(const struct option_row *row, struct orield_options *opt,
		 const char *arg, struct orield_error *err)
{
	void *to = (char *)opt + row->at;

	switch (row->kind) {
	case OPTION_SET:
		return row->set(opt, arg, err);
	case OPTION_TRUE:
		*(bool *)to = true;
		return 0;
	case OPTION_FALSE:
		*(bool *)to = false;
		return 0;
	case OPTION_WORD:
		/* enums of this program are ints, as the compiler makes them */
		return apply_word(row, to, arg);
	case OPTION_TEXT:
		*(const char **)to = arg;
		return *arg ? 0 : -EINVAL;
	case OPTION_FD:
		return apply_fd(to, arg);
	default:
		return 0;
	}
}

int option_apply(const struct option_row *row, struct orield_options *opt,
		 const char *arg, struct orield_error *err)
{
	int r;

	err->text[0] = '\0';
	r = apply(row, opt, arg, err);
	if (r && !err->text[0])
		orield_fail(err, r, "--%s: '%s' is not one of %s", row->name,
			    arg, row->metavar);
	return r;
}
