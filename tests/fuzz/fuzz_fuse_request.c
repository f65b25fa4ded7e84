/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * FUSE requests to the server, on a small real directory in memory. The input
 * is a list of records
 *
 *   u8 opcode, u8 node, u8 room, u8 flags, u16 length (little endian), body
 *
 * Each becomes a request: node 0..15 is the nodeid, above that the nodeid that
 * the last reply with an entry gave; room is the reply's, in steps of 64 bytes;
 * flag 1: the body is the whole message with its header; flag 2: in pieces of
 * 7 bytes; flag 4: the first 8 bytes of the body are replaced by the last
 * handle that was given. The window obeys the strictest front end's rules,
 * which are checked.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/server.h"
#include "wire/fuse.h"

#define WINDOW (1u << 20)
#define PAGE 4096u
#define ROOM_MAX (256u * 64)
#define PIECES 1000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char root_dir[64];
static int root_fd = -1;
static int proc_fd = -1;
static uint64_t last_node;
static uint64_t last_fh;
/* [page of the window]: 1 + where its mapping begins; 0: nothing */
static unsigned window[WINDOW / PAGE];

static int remove_one(const char *path, const struct stat *st, int flag,
		      struct FTW *ftw)
{
	return ftw->level ? remove(path) : 0;
}

static void clean(void)
{
	nftw(root_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void at_end(void)
{
	clean();
	rmdir(root_dir);
}

static void start_process(void)
{
	/* nobody fills the machine's memory through us */
	struct rlimit rl = { 4 << 20, 4 << 20 };

	setrlimit(RLIMIT_FSIZE, &rl);
	signal(SIGXFSZ, SIG_IGN);
	umask(0);
	strcpy(root_dir, "/dev/shm/oriel-fuzz-XXXXXX");
	if (!mkdtemp(root_dir))
		abort();
	atexit(at_end);
	root_fd = open(root_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0 || proc_fd < 0)
		abort();
}

static void fill(void)
{
	int fd = openat(root_fd, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, "some text", 9) != 9)
		abort();
	close(fd);
	if (mkdirat(root_fd, "dir", 0755) ||
	    symlinkat("../../../../etc/passwd", root_fd, "link") ||
	    mkfifoat(root_fd, "fifo", 0644))
		abort();
}

static int win_map(void *ctx, int fd, uint64_t fd_off, uint64_t off,
		   uint64_t len, bool writable)
{
	uint64_t i;

	if (!range_fits(off, len, WINDOW) || !len || (off | len) % PAGE)
		abort();
	for (i = 0; i < len / PAGE; i++) {
		if (window[off / PAGE + i])
			abort();
		window[off / PAGE + i] = 1 + (unsigned)(off / PAGE);
	}
	return 0;
}

static int win_unmap(void *ctx, uint64_t off, uint64_t len)
{
	unsigned tag = 1 + (unsigned)(off / PAGE);
	uint64_t i;

	for (i = 0; i < len / PAGE; i++) {
		if (window[off / PAGE + i] != tag)
			abort();
		window[off / PAGE + i] = 0;
	}
	/* all of it, not a part */
	if (off + len < WINDOW && window[(off + len) / PAGE] == tag)
		abort();
	return 0;
}

static const struct server_window_ops win_ops = { win_map, win_unmap, NULL };

static unsigned cut(const void *buf, size_t len, size_t piece,
		    struct iovec *ret)
{
	unsigned n = 0;
	size_t at = 0;

	while (at < len && n < PIECES) {
		size_t here = min_u64(piece, len - at);

		ret[n].iov_base = (char *)(uintptr_t)buf + at;
		ret[n].iov_len = here;
		at += here;
		n++;
	}
	return n;
}

/* Remember what later records can use. */
static void learn(uint32_t op, const unsigned char *reply, size_t len)
{
	const size_t at = sizeof(struct fuse_out_header);
	const size_t entry = sizeof(struct fuse_entry_out);

	if (len < at + 8)
		return;
	if (op == FUSE_OPEN || op == FUSE_OPENDIR)
		memcpy(&last_fh, reply + at, 8);
	else if (op == FUSE_LOOKUP || op == FUSE_MKDIR || op == FUSE_MKNOD ||
		 op == FUSE_SYMLINK || op == FUSE_LINK || op == FUSE_CREATE ||
		 op == FUSE_TMPFILE)
		memcpy(&last_node, reply + at, 8);
	if ((op == FUSE_CREATE || op == FUSE_TMPFILE) && len >= at + entry + 8)
		memcpy(&last_fh, reply + at + entry, 8);
}

static void request(struct server_session *s, const uint8_t *rec,
		    const uint8_t *body, size_t len)
{
	static struct iovec out[PIECES];
	static struct iovec in[PIECES];
	struct fuse_in_header h = {
		.len = (uint32_t)(sizeof(h) + len), .opcode = rec[0],
		.unique = 1, .nodeid = rec[1] < 16 ? rec[1] : last_node,
	};
	size_t room = (size_t)rec[2] * 64;
	size_t piece = rec[3] & 2 ? 7 : SIZE_MAX;
	size_t total = len + sizeof(h);
	/* of their exact sizes, so that sanitizers see every step beyond */
	unsigned char *msg = malloc(total);
	unsigned char *reply = malloc(room + 1);
	ssize_t n;

	if (!msg || !reply)
		abort();
	memcpy(msg, &h, sizeof(h));
	memcpy(msg + sizeof(h), body, len);
	if ((rec[3] & 4) && len >= 8)
		memcpy(msg + sizeof(h), &last_fh, 8);
	if (rec[3] & 1) {
		memmove(msg, msg + sizeof(h), len);
		total = len;
	}
	n = server_session_handle(s, 1, out, cut(msg, total, piece, out), in,
				  cut(reply, room, piece, in));
	if (n > (ssize_t)room || (n < 0 && n != -EPROTO) ||
	    (n > 0 && n < (ssize_t)sizeof(struct fuse_out_header)))
		abort();
	if (n > 0)
		learn(rec[0], reply, (size_t)n);
	free(msg);
	free(reply);
}

static void init_session(struct server_session *s)
{
	struct {
		struct fuse_in_header h;
		struct fuse_init_in in;
	} m = {
		.h = { .len = sizeof(m), .opcode = FUSE_INIT },
		.in = { .major = 7, .minor = 38, .flags = UINT32_MAX,
			.flags2 = UINT32_MAX },
	};
	char room[128];
	struct iovec out = { &m, sizeof(m) };
	struct iovec in = { room, sizeof(room) };

	if (server_session_handle(s, 1, &out, 1, &in, 1) <= 16)
		abort();
}

static void run_records(struct server_session *s, const uint8_t *data,
			size_t size)
{
	while (size >= 6) {
		const uint8_t *rec = data;
		size_t len = data[4] | (size_t)data[5] << 8;

		data += 6;
		size -= 6;
		len = min_u64(len, size);
		request(s, rec, data, len);
		data += len;
		size -= len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct server_share_config cfg = {
		.xattr = true, .posix_acl = true, .security_label = true,
	};
	struct server_session_config sc = {
		.window_bytes = WINDOW, .window_ops = &win_ops,
	};
	struct server_session *s;
	struct server_share *sh;
	struct server_stats st;

	if (root_fd < 0)
		start_process();
	clean();
	fill();
	memset(window, 0, sizeof(window));
	last_node = 1;
	last_fh = 1;
	cfg.root_fd = root_fd;
	cfg.proc_fd = proc_fd;
	cfg.readonly = size && data[0] & 0x80;
	if (server_share_new(&cfg, &sh) || server_session_new(sh, &sc, &s))
		abort();
	init_session(s);
	run_records(s, data, size);
	server_session_free(s);
	server_share_stats(sh, &st);
	if (st.inodes != 1 || st.fds != 1 || st.handles || st.mappings)
		abort();
	server_share_unref(sh);
	return 0;
}
