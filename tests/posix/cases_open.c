/* SPDX-License-Identifier: BSD-2-Clause */
/* open(2), creat(2), close(2): flags and what each refuses. */
#include "posix.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

static void open_missing(void)
{
	posix_put("f", "x", 0644);
	ERR(ENOENT, open("missing", O_RDONLY));
	ERR(ENOENT, open("missing", O_RDWR));
	ERR(ENOENT, open("", O_RDONLY));
	ERR(ENOENT, open("nodir/f", O_RDONLY));
	ERR(ENOENT, open("nodir/f", O_RDWR | O_CREAT, 0644));
	ERR(ENOTDIR, open("f/x", O_RDONLY));
	ERR(ENOTDIR, open("f/x", O_RDWR | O_CREAT, 0644));
	ERR(ENOTDIR, open("f/", O_RDONLY));
}

static void open_dirs(void)
{
	int fd;

	posix_mkdir("d", 0755);
	posix_put("f", NULL, 0644);
	fd = (int)OK(open("d", O_RDONLY));
	ERR(EISDIR, read(fd, &fd, 1));
	OK(close(fd));
	ERR(EISDIR, open("d", O_WRONLY));
	ERR(EISDIR, open("d", O_RDWR));
	ERR(EISDIR, open("d", O_RDONLY | O_CREAT, 0644));
	ERR(EEXIST, open("d", O_RDONLY | O_CREAT | O_EXCL, 0644));
	ERR(ENOTDIR, open("f", O_RDONLY | O_DIRECTORY));
	ERR(EISDIR, open("new/", O_WRONLY | O_CREAT, 0644));
	OK(close((int)OK(open("d", O_RDONLY | O_DIRECTORY))));
	OK(close((int)OK(open("d/.", O_RDONLY))));
	OK(close((int)OK(open("d/..", O_RDONLY))));
}

static void open_creat(void)
{
	struct stat st;
	int fd = (int)MUST(open("f", O_RDWR | O_CREAT, 0640));

	OK(fstat(fd, &st));
	EQ(st.st_mode, S_IFREG | 0640);
	EQ(st.st_size, 0);
	EQ(st.st_nlink, 1);
	EQ(st.st_uid, geteuid());
	EQ(write(fd, "abc", 3), 3);
	OK(close(fd));
	/* there already: neither truncated nor of another mode */
	fd = (int)OK(open("f", O_RDWR | O_CREAT, 0600));
	OK(fstat(fd, &st));
	EQ(st.st_mode, S_IFREG | 0640);
	EQ(st.st_size, 3);
	OK(close(fd));
	/* a mode that does not allow what the creator may do once */
	fd = (int)OK(open("z", O_RDWR | O_CREAT, 0));
	EQ(write(fd, "q", 1), 1);
	EQ(pread(fd, &st, 1, 0), 1);
	OK(close(fd));
	EQ(posix_mode("z"), S_IFREG);
	ERR(EBADF, close(fd));
}

static void open_umask(void)
{
	umask(027);
	OK(close((int)OK(open("f", O_RDWR | O_CREAT, 0777))));
	OK(mkdir("d", 0777));
	OK(mknod("n", S_IFREG | 0666, 0));
	OK(mkfifo("p", 0666));
	umask(0);
	OK(close((int)OK(open("g", O_RDWR | O_CREAT, 07777))));
	EQ(posix_mode("f"), S_IFREG | 0750);
	EQ(posix_mode("d"), S_IFDIR | 0750);
	EQ(posix_mode("n"), S_IFREG | 0640);
	EQ(posix_mode("p"), S_IFIFO | 0640);
	EQ(posix_mode("g"), S_IFREG | 07777);
}

static void open_excl(void)
{
	posix_put("f", "abc", 0644);
	OK(symlink("gone", "dangling"));
	OK(symlink("f", "link"));
	ERR(EEXIST, open("f", O_RDWR | O_CREAT | O_EXCL, 0644));
	ERR(EEXIST, open("f", O_RDWR | O_CREAT | O_EXCL | O_TRUNC, 0644));
	ERR(EEXIST, open("link", O_RDWR | O_CREAT | O_EXCL, 0644));
	ERR(EEXIST, open("dangling", O_RDWR | O_CREAT | O_EXCL, 0644));
	TRUE(!posix_is_there("gone"));
	TRUE(posix_holds("f", "abc"));
	OK(close((int)OK(open("n", O_RDWR | O_CREAT | O_EXCL, 0644))));
	/* without O_EXCL a dangling link is a file to be made */
	OK(close((int)OK(open("dangling", O_RDWR | O_CREAT, 0644))));
	EQ(posix_mode("gone"), S_IFREG | 0644);
}

static void open_trunc(void)
{
	char c;
	int keep;
	int fd;

	posix_put("f", "abcdef", 0644);
	keep = (int)OK(open("f", O_RDONLY));
	EQ(posix_size("f"), 6);
	fd = (int)OK(open("f", O_WRONLY | O_TRUNC));
	EQ(posix_size("f"), 0);
	EQ(pread(keep, &c, 1, 0), 0);
	EQ(write(fd, "xy", 2), 2);
	EQ(posix_size("f"), 2);
	EQ(pread(keep, &c, 1, 1), 1);
	EQ(c, 'y');
	OK(close(fd));
	fd = (int)OK(creat("f", 0600));
	EQ(posix_size("f"), 0);
	EQ(posix_mode("f"), S_IFREG | 0644);
	OK(close(fd));
	OK(close(keep));
}

static void open_append(void)
{
	int a;
	int b;

	posix_put("f", "12", 0644);
	a = (int)OK(open("f", O_WRONLY | O_APPEND));
	b = (int)OK(open("f", O_WRONLY | O_APPEND));
	EQ(write(a, "a", 1), 1);
	EQ(write(b, "b", 1), 1);
	EQ(write(a, "c", 1), 1);
	EQ(lseek(a, 0, SEEK_CUR), 5);
	EQ(lseek(b, 0, SEEK_SET), 0);
	EQ(write(b, "d", 1), 1);
	/* pwrite(2), BUGS: the offset does not count */
	EQ(pwrite(a, "e", 1, 0), 1);
	TRUE(posix_holds("f", "12abcde"));
	EQ(fcntl(a, F_GETFL) & (O_ACCMODE | O_APPEND), O_WRONLY | O_APPEND);
	OK(close(a));
	OK(close(b));
	a = (int)OK(open("n", O_WRONLY | O_CREAT | O_APPEND, 0644));
	EQ(write(a, "1", 1), 1);
	OK(ftruncate(a, 4));
	EQ(write(a, "2", 1), 1);
	EQ(posix_size("n"), 5);
	OK(close(a));
}

/* The flag can come and go. */
static void append_off(void)
{
	int fd;

	posix_put("f", "abc", 0644);
	fd = (int)OK(open("f", O_WRONLY | O_APPEND));
	OK(fcntl(fd, F_SETFL, 0));
	EQ(pwrite(fd, "X", 1, 0), 1);
	TRUE(posix_holds("f", "Xbc"));
	OK(close(fd));
}

static void append_on(void)
{
	int fd;

	posix_put("f", "abc", 0644);
	fd = (int)OK(open("f", O_WRONLY));
	OK(fcntl(fd, F_SETFL, O_APPEND));
	EQ(pwrite(fd, "X", 1, 0), 1);
	TRUE(posix_holds("f", "abcX"));
	OK(close(fd));
}

static void append_many(void)
{
	static const int writers = 4;
	static const int each = 200;
	char rec[64];
	int i;
	int fd;

	posix_put("f", NULL, 0644);
	for (i = 0; i < writers; i++) {
		pid_t pid = fork();
		int n;

		if (pid)
			continue;
		fd = open("f", O_WRONLY | O_APPEND);
		memset(rec, 'a' + i, sizeof(rec));
		for (n = 0; n < each; n++) {
			if (write(fd, rec, sizeof(rec)) != sizeof(rec))
				_exit(1);
		}
		_exit(0);
	}
	for (i = 0; i < writers; i++) {
		int status = 1;

		wait(&status);
		EQ(status, 0);
	}
	/* none wrote over another, none was torn */
	EQ(posix_size("f"), (long long)writers * each * (int)sizeof(rec));
	fd = (int)OK(open("f", O_RDONLY));
	while (read(fd, rec, sizeof(rec)) == sizeof(rec)) {
		if (memcmp(rec, rec + 1, sizeof(rec) - 1)) {
			posix_fail(__FILE__, __LINE__, "a torn record");
			break;
		}
	}
	OK(close(fd));
}

static void open_modes(void)
{
	char c = 'z';
	int fd;

	posix_put("f", "abc", 0666);
	fd = (int)OK(open("f", O_WRONLY));
	ERR(EBADF, read(fd, &c, 1));
	ERR(EBADF, pread(fd, &c, 1, 0));
	EQ(write(fd, "x", 1), 1);
	OK(close(fd));
	fd = (int)OK(open("f", O_RDONLY));
	ERR(EBADF, write(fd, &c, 1));
	ERR(EINVAL, ftruncate(fd, 0));
	EQ(read(fd, &c, 1), 1);
	EQ(c, 'x');
	OK(close(fd));
	fd = (int)OK(open("f", O_RDWR));
	EQ(write(fd, "y", 1), 1);
	EQ(read(fd, &c, 1), 1);
	EQ(c, 'b');
	OK(close(fd));
	fd = (int)OK(open("f", O_PATH));
	ERR(EBADF, read(fd, &c, 1));
	ERR(EBADF, fchmod(fd, 0600));
	OK(close(fd));
}

static void open_nofollow(void)
{
	posix_put("f", "x", 0644);
	posix_mkdir("d", 0755);
	OK(symlink("f", "l"));
	OK(symlink("d", "ld"));
	ERR(ELOOP, open("l", O_RDONLY | O_NOFOLLOW));
	ERR(ELOOP, open("l", O_RDWR | O_CREAT | O_NOFOLLOW, 0644));
	ERR(ENOTDIR, open("ld", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
	OK(close((int)OK(open("l", O_PATH | O_NOFOLLOW))));
	OK(close((int)OK(open("ld/../f", O_RDONLY | O_NOFOLLOW))));
}

static void open_special(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "s" };
	int s;

	OK(mkfifo("p", 0666));
	ERR(ENXIO, open("p", O_WRONLY | O_NONBLOCK));
	OK(close((int)OK(open("p", O_RDONLY | O_NONBLOCK))));
	EQ(posix_mode("p"), S_IFIFO | 0666);
	s = (int)MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(bind(s, (struct sockaddr *)&addr, sizeof(addr)));
	EQ(posix_mode("s") & S_IFMT, S_IFSOCK);
	ERR(ENXIO, open("s", O_RDONLY));
	OK(listen(s, 1));
	OK(close(s));
	s = (int)MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(ECONNREFUSED, connect(s, (struct sockaddr *)&addr, sizeof(addr)));
	OK(close(s));
}

static void fifo_carries(void)
{
	char c = 0;
	int r;
	int w;

	OK(mkfifo("p", 0600));
	r = (int)OK(open("p", O_RDONLY | O_NONBLOCK));
	w = (int)OK(open("p", O_WRONLY));
	EQ(write(w, "k", 1), 1);
	EQ(read(r, &c, 1), 1);
	EQ(c, 'k');
	OK(close(w));
	EQ(read(r, &c, 1), 0);
	OK(close(r));
}

static void tmpfile_link(void)
{
	char path[64];
	struct stat st;
	int fd = open(".", O_TMPFILE | O_RDWR, 0640);

	if (fd < 0 && errno == EOPNOTSUPP)
		posix_skip("no O_TMPFILE");
	MUST(fd);
	OK(fstat(fd, &st));
	EQ(st.st_nlink, 0);
	EQ(st.st_mode, S_IFREG | 0640);
	EQ(write(fd, "hello", 5), 5);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	OK(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	TRUE(posix_holds("named", "hello"));
	EQ(posix_nlink("named"), 1);
	OK(fstat(fd, &st));
	EQ(st.st_nlink, 1);
	OK(close(fd));
	TRUE(posix_holds("named", "hello"));
}

static void tmpfile_excl(void)
{
	char path[64];
	int fd = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600);

	if (fd < 0 && errno == EOPNOTSUPP)
		posix_skip("no O_TMPFILE");
	MUST(fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ERR(ENOENT, linkat(AT_FDCWD, path, AT_FDCWD, "n", AT_SYMLINK_FOLLOW));
	OK(close(fd));
	ERR(EINVAL, open(".", O_TMPFILE | O_RDONLY, 0600));
	posix_put("f", NULL, 0600);
	ERR(ENOTDIR, open("f", O_TMPFILE | O_RDWR, 0600));
	ERR(ENOENT, open("missing", O_TMPFILE | O_RDWR, 0600));
}

static void long_names(void)
{
	static char path[PATH_MAX + 16];
	char name[NAME_MAX + 2];

	memset(name, 'n', sizeof(name));
	name[NAME_MAX] = '\0';
	OK(close((int)OK(open(name, O_RDWR | O_CREAT, 0644))));
	TRUE(posix_is_there(name));
	OK(unlink(name));
	OK(mkdir(name, 0755));
	OK(rmdir(name));
	name[NAME_MAX] = 'n';
	name[NAME_MAX + 1] = '\0';
	ERR(ENAMETOOLONG, open(name, O_RDONLY));
	ERR(ENAMETOOLONG, open(name, O_RDWR | O_CREAT, 0644));
	ERR(ENAMETOOLONG, mkdir(name, 0755));
	ERR(ENAMETOOLONG, rmdir(name));
	ERR(ENAMETOOLONG, unlink(name));
	ERR(ENAMETOOLONG, symlink("x", name));
	ERR(ENAMETOOLONG, mknod(name, S_IFREG | 0644, 0));
	ERR(ENAMETOOLONG, access(name, F_OK));
	posix_put("f", NULL, 0644);
	ERR(ENAMETOOLONG, rename("f", name));
	ERR(ENAMETOOLONG, rename(name, "f"));
	ERR(ENAMETOOLONG, link("f", name));
	memset(path, '/', sizeof(path));
	path[0] = '.';
	path[PATH_MAX] = '\0';
	ERR(ENAMETOOLONG, open(path, O_RDONLY));
	path[PATH_MAX - 1] = '\0';
	OK(close((int)OK(open(path, O_RDONLY))));
}

static void odd_names(void)
{
	static const char *const names[] = {
		" ", "\n", "\t\x7f", "-rf", "*", "\\", "\xff\xfe", "...",
		"..x", ".hidden", "\xc3\xa4", "a b", "%s", "'\"",
	};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		posix_put(names[i], names[i], 0644);
		TRUE(posix_holds(names[i], names[i]));
		OK(rename(names[i], "t"));
		TRUE(!posix_is_there(names[i]));
		OK(rename("t", names[i]));
		OK(unlink(names[i]));
		ERR(ENOENT, unlink(names[i]));
	}
}

static void open_unlinked(void)
{
	char buf[8] = "";
	struct stat st;
	int fd = (int)MUST(open("f", O_RDWR | O_CREAT, 0644));

	EQ(write(fd, "abc", 3), 3);
	OK(unlink("f"));
	ERR(ENOENT, open("f", O_RDONLY));
	OK(fstat(fd, &st));
	EQ(st.st_nlink, 0);
	EQ(st.st_size, 3);
	EQ(write(fd, "def", 3), 3);
	EQ(pread(fd, buf, 6, 0), 6);
	EQ(memcmp(buf, "abcdef", 6), 0);
	OK(ftruncate(fd, 2));
	OK(fchmod(fd, 0600));
	OK(fstat(fd, &st));
	EQ(st.st_size, 2);
	EQ(st.st_mode, S_IFREG | 0600);
	/* a new one of that name is another file */
	posix_put("f", "new", 0644);
	EQ(pread(fd, buf, 8, 0), 2);
	TRUE(posix_holds("f", "new"));
	OK(fsync(fd));
	OK(close(fd));
}

static void text_busy(void)
{
	int status;
	pid_t pid;
	int to[2];

	MUST(pipe(to));
	MUST(system("cp /bin/cat prog") == 0 ? 0 : -1);
	OK(chmod("prog", 0755));
	pid = fork();
	if (pid == 0) {
		dup2(to[0], 0);
		close(to[1]);
		execl("./prog", "prog", NULL);
		_exit(127);
	}
	close(to[0]);
	/* until it runs the program is not busy */
	for (;;) {
		char link[64];
		char exe[PATH_MAX] = "";

		snprintf(link, sizeof(link), "/proc/%d/exe", (int)pid);
		if (readlink(link, exe, sizeof(exe) - 1) > 0 &&
		    strstr(exe, "prog"))
			break;
		if (waitpid(pid, &status, WNOHANG) == pid) {
			posix_fail(__FILE__, __LINE__, "exec failed");
			return;
		}
		usleep(1000);
	}
	ERR(ETXTBSY, open("prog", O_WRONLY));
	ERR(ETXTBSY, truncate("prog", 0));
	OK(close((int)OK(open("prog", O_RDONLY))));
	close(to[1]);
	waitpid(pid, &status, 0);
	EQ(status, 0);
	OK(close((int)OK(open("prog", O_WRONLY))));
}

static void exec_errors(void)
{
	char arg[] = "x";
	char *argv[] = { arg, NULL };

	posix_put("plain", "not a program", 0644);
	posix_put("bad", "not a program", 0755);
	posix_put("script", "#!/bin/sh\nexit 7\n", 0755);
	posix_mkdir("d", 0755);
	ERR(EACCES, execv("plain", argv));
	ERR(ENOEXEC, execv("bad", argv));
	ERR(EACCES, execv("d", argv));
	ERR(ENOENT, execv("missing", argv));
	EQ(system("./script") >> 8, 7);
}

const struct posix_case cases_open[] = {
	{ "open-missing", open_missing, 0 },
	{ "open-dirs", open_dirs, 0 },
	{ "open-creat", open_creat, 0 },
	{ "open-umask", open_umask, 0 },
	{ "open-excl", open_excl, 0 },
	{ "open-trunc", open_trunc, 0 },
	{ "open-append", open_append, 0 },
	{ "open-append-off", append_off, 0 },
	{ "open-append-on", append_on, 0 },
	{ "open-append-many", append_many, 0 },
	{ "open-modes", open_modes, 0 },
	{ "open-nofollow", open_nofollow, 0 },
	{ "open-special", open_special, 0 },
	{ "open-fifo-carries", fifo_carries, 0 },
	{ "open-tmpfile-link", tmpfile_link, 0 },
	{ "open-tmpfile-excl", tmpfile_excl, 0 },
	{ "open-long-names", long_names, 0 },
	{ "open-odd-names", odd_names, 0 },
	{ "open-unlinked", open_unlinked, 0 },
	{ "open-text-busy", text_busy, 0 },
	{ "open-exec-errors", exec_errors, 0 },
	{ NULL, NULL, 0 },
};
