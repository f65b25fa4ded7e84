/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The daemon as a program: options, the ready line, the socket's file, signals,
 * sandboxes, and what a process in them can still do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_ARGS 16

struct proc {
	pid_t pid;
	int out; /* its stdout, where --ready-fd=1 goes */
};

static char dir[64];
static char share[96];
static char sock[96];

static void start(struct proc *p, const char *const *args)
{
	const char *argv[MAX_ARGS + 2] = { getenv("ORIEL_DAEMON") };
	int fds[2];
	int i;

	assert_non_null(argv[0]);
	for (i = 0; args[i]; i++)
		argv[i + 1] = args[i];
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	p->pid = fork();
	if (p->pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(fds[1], 1);
		dup2(null, 2);
		execv(argv[0], (char **)(uintptr_t)argv);
		_exit(127);
	}
	close(fds[1]);
	p->out = fds[0];
}

/* Its first line, or all it says when it says no line. */
static void read_line(struct proc *p, char *buf, size_t size)
{
	size_t n = 0;

	while (n + 1 < size) {
		ssize_t r = read(p->out, buf + n, 1);

		if (r <= 0 || buf[n] == '\n')
			break;
		n++;
	}
	buf[n] = '\0';
}

static int finish(struct proc *p)
{
	int status;

	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	close(p->out);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int run(const char *const *args, char *line, size_t size)
{
	struct proc p;

	start(&p, args);
	read_line(&p, line, size);
	return finish(&p);
}

static char *opt(const char *name, const char *value)
{
	static char bufs[8][200];
	static int next;
	char *b = bufs[next++ % 8];

	snprintf(b, sizeof(bufs[0]), "--%s=%s", name, value);
	return b;
}

static int try_connect(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	strcpy(a.sun_path, sock);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		close(fd);
		return -errno;
	}
	return fd;
}

static int set_up(void **state)
{
	strcpy(dir, "/var/tmp/oriel-orield-XXXXXX");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chmod(dir, 0755), 0);
	snprintf(share, sizeof(share), "%s/share", dir);
	snprintf(sock, sizeof(sock), "%s/socket", dir);
	assert_int_equal(mkdir(share, 0755), 0);
	return 0;
}

static int tear_down(void **state)
{
	unlink(sock);
	rmdir(share);
	return rmdir(dir);
}

static void answers_and_exits(void **state)
{
	char line[256];

	assert_int_equal(run((const char *[]){ "--version", NULL }, line,
			     sizeof(line)), 0);
	assert_memory_equal(line, "orield ", 7);
	assert_int_equal(run((const char *[]){ "--help", NULL }, line,
			     sizeof(line)), 0);
	assert_memory_equal(line, "Usage: orield", 13);
	assert_int_equal(run((const char *[]){ "--print-capabilities", NULL },
			     line, sizeof(line)), 0);
	assert_string_equal(line, "{");
}

static void refuses_bad_options(void **state)
{
	static const char *const bad[] = {
		"--migration-mode", "--thread-pool-size=65", "--nonsense", "surplus",
		"--cache=some", "--sandbox=vm", "--window=3", "--window=1Q",
		"--window=99999999T", "--request-queues=0", "--poll-us=-1",
		"--rlimit-nofile=x", "--log-level=loud", "--seccomp=maybe",
		"--tag=", "--tag=0123456789012345678901234567890123456789",
		"--fd=3", "--socket-path", "--readonly=yes",
	};
	char line[512];
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *args[] = { "--ready-fd=1", opt("shared-dir", share),
				       opt("socket-path", sock), bad[i], NULL };

		assert_int_equal(run(args, line, sizeof(line)), 2);
		assert_memory_equal(line, "ERROR -22 ", 10);
		assert_true(strlen(line) > 20);
	}
	assert_int_equal(run((const char *[]){ "--ready-fd=1",
					       opt("socket-path", sock), NULL },
			     line, sizeof(line)), 2);
	assert_non_null(strstr(line, "--shared-dir is missing"));
	assert_int_equal(run((const char *[]){ "--ready-fd=1",
					       opt("shared-dir", "/no/where"),
					       opt("socket-path", sock), NULL },
			     line, sizeof(line)), 1);
	assert_memory_equal(line, "ERROR -2 ", 9);
	assert_int_equal(access(sock, F_OK), -1);
}

static void start_daemon(struct proc *p, const char *sandbox, const char *want)
{
	const char *args[] = { "--ready-fd=1", opt("shared-dir", share),
			       opt("socket-path", sock),
			       opt("sandbox", sandbox), NULL };
	char line[256];
	char ready[64];

	start(p, args);
	read_line(p, line, sizeof(line));
	snprintf(ready, sizeof(ready), "READY sandbox=%s", want);
	if (want)
		assert_string_equal(line, ready);
	else
		assert_memory_equal(line, "READY ", 6);
}

static void one_daemon_a_socket(void **state)
{
	const char *args[] = { "--ready-fd=1", opt("shared-dir", share),
			       opt("socket-path", sock), NULL };
	char line[256];
	struct stat st;
	struct proc p;
	int fd;

	start_daemon(&p, "none", "none");
	assert_int_equal(stat(sock, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	/* a second one says so and leaves the first alone */
	assert_int_equal(run(args, line, sizeof(line)), 1);
	assert_memory_equal(line, "ERROR -98 another process listens", 33);
	/* clients come and go; it stays */
	fd = try_connect();
	assert_true(fd >= 0);
	close(fd);
	fd = try_connect();
	assert_true(fd >= 0);
	close(fd);
	kill(p.pid, SIGUSR1);
	kill(p.pid, SIGTERM);
	assert_int_equal(finish(&p), 0);
	assert_int_equal(access(sock, F_OK), -1);
}

/* The file of a dead daemon is replaced; what is not a socket is not. */
static void stale_files(void **state)
{
	const char *args[] = { "--ready-fd=1", opt("shared-dir", share),
			       opt("socket-path", sock), NULL };
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char line[256];
	struct proc p;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, sock);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	close(fd);
	start_daemon(&p, "none", "none");
	kill(p.pid, SIGINT);
	assert_int_equal(finish(&p), 0);
	fd = open(sock, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	assert_int_equal(run(args, line, sizeof(line)), 1);
	assert_memory_equal(line, "ERROR -17 ", 10);
	assert_int_equal(access(sock, F_OK), 0);
	assert_int_equal(unlink(sock), 0);
}

/* Even SIGKILL leaves no socket behind. */
static void killed_daemon_is_cleaned_up(void **state)
{
	struct proc p;
	int i;

	start_daemon(&p, "none", "none");
	kill(p.pid, SIGKILL);
	assert_int_equal(finish(&p), 1000 + SIGKILL);
	for (i = 0; i < 5000 && !access(sock, F_OK); i++)
		usleep(1000);
	assert_int_equal(access(sock, F_OK), -1);
}

/* The value of a line of /proc/PID/status. */
static unsigned long long status_of(pid_t pid, const char *key, int base)
{
	char path[64];
	char line[256];
	unsigned long long v = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, key, strlen(key)))
			v = strtoull(line + strlen(key) + 1, NULL, base);
	}
	fclose(f);
	return v;
}

static void is_locked_in(void **state)
{
	/* CHOWN DAC_OVERRIDE FOWNER FSETID SETGID SETUID MKNOD SETFCAP */
	const unsigned long long most = 0x880000dbULL;
	static const char *const kinds[] = { "none", "chroot", "namespace",
					     "auto" };
	char path[64];
	char root[256];
	struct proc p;
	size_t i;
	ssize_t n;

	for (i = 0; i < 4; i++) {
		if (geteuid() && i)
			break; /* needs rights this test does not have */
		start_daemon(&p, kinds[i], i == 3 ? NULL : kinds[i]);
		assert_int_equal(status_of(p.pid, "Seccomp:", 10), 2);
		assert_int_equal(status_of(p.pid, "NoNewPrivs:", 10), 1);
		assert_int_equal(status_of(p.pid, "CapEff:", 16) & ~most, 0);
		assert_int_equal(status_of(p.pid, "CapPrm:", 16) & ~most, 0);
		snprintf(path, sizeof(path), "/proc/%d/root", p.pid);
		n = readlink(path, root, sizeof(root) - 1);
		assert_true(n > 0);
		root[n] = '\0';
		if (i == 1)
			assert_string_equal(root, share);
		if (i == 2) {
			struct stat in;
			struct stat out;

			/* its "/" is the share */
			assert_int_equal(stat(path, &in), 0);
			assert_int_equal(stat(share, &out), 0);
			assert_true(in.st_ino == out.st_ino);
		}
		kill(p.pid, SIGTERM);
		assert_int_equal(finish(&p), 0);
		assert_int_equal(access(sock, F_OK), -1);
	}
}

/* --connected-fd: ends with its client. */
static void serves_one_connection(void **state)
{
	const char *args[] = { "--ready-fd=1", opt("shared-dir", share),
			       "--connected-fd=50", "--exit-with-parent",
			       NULL };
	char line[256];
	struct proc p;
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
				    sv), 0);
	assert_int_equal(dup2(sv[1], 50), 50);
	start(&p, args);
	close(50);
	close(sv[1]);
	read_line(&p, line, sizeof(line));
	assert_memory_equal(line, "READY ", 6);
	close(sv[0]);
	assert_int_equal(finish(&p), 0);
	assert_int_equal(run((const char *[]){ "--ready-fd=1",
					       opt("shared-dir", share),
					       "--fd=0", NULL },
			     line, sizeof(line)), 1);
	assert_memory_equal(line, "ERROR ", 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_and_exits),
		cmocka_unit_test_setup_teardown(refuses_bad_options, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(one_daemon_a_socket, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(stale_files, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(killed_daemon_is_cleaned_up,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(is_locked_in, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(serves_one_connection, set_up,
						tear_down),
	};

	/* looking for leaks at the end takes calls that seccomp refuses */
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
