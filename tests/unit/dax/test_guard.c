/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guarded copies (row B7), with files that another process truncates and with
 * an application that has SIGBUS handlers of its own. Handlers are the whole
 * process's, so every case runs in a child.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dax/guard.h"

#define PAGE 4096u
#define PAGES 16u

/* The sanitizers' own handlers would answer instead of the default. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);

__attribute__((visibility("default"), used)) const char *
__asan_default_options(void)
{
	return "handle_sigbus=0:allow_user_segv_handler=1";
}

__attribute__((visibility("default"), used)) const char *
__tsan_default_options(void)
{
	return "handle_sigbus=0:die_after_fork=0";
}

#define REQUIRE(cond)                                                      \
	do {                                                               \
		if (!(cond)) {                                             \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, \
				#cond);                                    \
			_exit(99);                                         \
		}                                                          \
	} while (0)

/* How a child that runs @fn ends: its exit code, or 1000 + signal. */
static int in_child(void (*fn)(void))
{
	const struct rlimit no_core = { 0, 0 };
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGBUS, SIG_DFL);
		alarm(30); /* an endless loop of handlers must not hang us */
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) :
				     WEXITSTATUS(status);
}

/* ------------------------------------------------------------------- files */

struct shared {
	int fd;
	unsigned char *p;
};

static unsigned char byte_at(size_t i)
{
	return (unsigned char)(i * 13 + (i >> 12) + 1);
}

static struct shared open_shared(void)
{
	struct shared s;
	size_t i;

	s.fd = memfd_create("guard", MFD_CLOEXEC);
	REQUIRE(s.fd >= 0 && !ftruncate(s.fd, PAGES * PAGE));
	s.p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		   s.fd, 0);
	REQUIRE(s.p != MAP_FAILED);
	for (i = 0; i < PAGES * PAGE; i++)
		s.p[i] = byte_at(i);
	return s;
}

/* As somebody else would. */
static void truncate_by_other(const struct shared *s, size_t bytes)
{
	int status;
	pid_t pid = fork();

	REQUIRE(pid >= 0);
	if (pid == 0)
		_exit(ftruncate(s->fd, (off_t)bytes) ? 1 : 0);
	REQUIRE(waitpid(pid, &status, 0) == pid && status == 0);
}

static void fault_at(const unsigned char *p)
{
	(void)*(const volatile unsigned char *)p;
}

/* ------------------------------------------------------------- short copies */

/* What [off, off + len) of a file of @pages pages can give. */
static size_t expected(size_t off, size_t len, size_t pages)
{
	size_t end = pages * PAGE;

	if (off >= end)
		return 0;
	return len < end - off ? len : end - off;
}

static void check_copy(struct shared *s, size_t off, size_t len, size_t pages)
{
	static unsigned char buf[PAGES * PAGE], back[PAGES * PAGE];
	size_t want = expected(off, len, pages), i;

	memset(buf, 0, sizeof(buf));
	REQUIRE(guard_copy_from(buf, s->p + off, len) == want);
	/* bytes of the last page past the end of file read as zeros */
	for (i = 0; i < want; i++)
		REQUIRE(buf[i] == byte_at(off + i));
	for (i = 0; i < len; i++)
		buf[i] = (unsigned char)~byte_at(off + i);
	REQUIRE(guard_copy_to(s->p + off, buf, len) == want);
	REQUIRE(pread(s->fd, back, want, (off_t)off) == (ssize_t)want);
	REQUIRE(!memcmp(back, buf, want));
	for (i = 0; i < want; i++)
		s->p[off + i] = byte_at(off + i);
}

static void short_counts(void)
{
	static const size_t lens[] = { 1, 7, 8, 31, 64, 100, 127, 500, PAGE,
				       PAGE + 1, 3 * PAGE, 9 * PAGE };
	static const size_t offs[] = { 0, 1, PAGE - 1, PAGE - 50, 2 * PAGE,
				       3 * PAGE - 8, 4 * PAGE + 100, 6 * PAGE };
	struct shared s = open_shared();
	size_t pages, i, j;

	REQUIRE(!guard_install());
	for (pages = 7; pages-- > 0;) {
		truncate_by_other(&s, pages * PAGE);
		for (i = 0; i < ARRAY_LEN(lens); i++)
			for (j = 0; j < ARRAY_LEN(offs); j++)
				check_copy(&s, offs[j], lens[i], pages);
	}
}

static void test_short_counts(void **state)
{
	assert_int_equal(in_child(short_counts), 0);
}

/* A page that is missing in the middle, others after it present. */
static void hole_in_the_middle(void)
{
	struct shared a = open_shared(), b = open_shared();
	unsigned char buf[4 * PAGE];
	int i;

	REQUIRE(!guard_install());
	REQUIRE(mmap(a.p + PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, b.fd,
		     5 * PAGE) == a.p + PAGE);
	truncate_by_other(&b, PAGE);
	for (i = 0; i < 1000; i++) {
		REQUIRE(guard_copy_from(buf, a.p + 10, 3 * PAGE) == PAGE - 10);
		REQUIRE(guard_copy_from(buf, a.p + 2 * PAGE, PAGE) == PAGE);
	}
	REQUIRE(guard_copy_from(buf, a.p, 0) == 0);
}

static void test_hole_in_the_middle(void **state)
{
	assert_int_equal(in_child(hole_in_the_middle), 0);
}

/* A peer took the pages away, or gave them for reading only: that is SIGSEGV.
 * One that is not ours still kills, and a handler for it still gets it. */
static void closed_pages(void)
{
	struct shared s = open_shared();
	unsigned char buf[4 * PAGE] = { 0 };
	int i;

	REQUIRE(!guard_install());
	REQUIRE(!mprotect(s.p + PAGE, PAGE, PROT_NONE));
	REQUIRE(!mprotect(s.p + 3 * PAGE, PAGE, PROT_READ));
	for (i = 0; i < 100; i++) {
		REQUIRE(guard_copy_from(buf, s.p, 3 * PAGE) == PAGE);
		REQUIRE(guard_copy_to(s.p, buf, 3 * PAGE) == PAGE);
		REQUIRE(guard_copy_from(buf, s.p + 3 * PAGE, PAGE) == PAGE);
		REQUIRE(guard_copy_to(s.p + 2 * PAGE + 5, buf, 2 * PAGE) ==
			PAGE - 5);
	}
}

static void on_segv(int sig, siginfo_t *info, void *ctx)
{
	(void)ctx;
	_exit(sig == SIGSEGV && info->si_code > 0 ? 7 : 8);
}

static void segv_of_another(void)
{
	struct sigaction act = { .sa_sigaction = on_segv,
				 .sa_flags = SA_SIGINFO };
	struct shared s = open_shared();
	unsigned char buf[PAGE];

	REQUIRE(!sigaction(SIGSEGV, &act, NULL));
	REQUIRE(!guard_install());
	REQUIRE(!mprotect(s.p, PAGE, PROT_NONE));
	REQUIRE(guard_copy_from(buf, s.p, PAGE) == 0);
	*(volatile unsigned char *)s.p = 1;
}

static void test_closed_pages(void **state)
{
	assert_int_equal(in_child(closed_pages), 0);
	assert_int_equal(in_child(segv_of_another), 7);
}

static void *copy_many(void *arg)
{
	struct shared *s = arg;
	unsigned char buf[3 * PAGE];
	int i;

	for (i = 0; i < 2000; i++)
		REQUIRE(guard_copy_from(buf, s->p + PAGE, 2 * PAGE) == PAGE);
	return NULL;
}

static void many_threads(void)
{
	struct shared s = open_shared();
	pthread_t t[4];
	int i;

	REQUIRE(!guard_install());
	truncate_by_other(&s, 2 * PAGE);
	for (i = 0; i < 4; i++)
		REQUIRE(!pthread_create(&t[i], NULL, copy_many, &s));
	for (i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

static void test_many_threads(void **state)
{
	assert_int_equal(in_child(many_threads), 0);
}

/* The alternate stack is used, and left in a state that can be used again. */
static void alternate_stack(void)
{
	struct shared s = open_shared();
	stack_t ss = { .ss_size = 65536 };
	unsigned char buf[PAGE];
	int i;

	ss.ss_sp = malloc(ss.ss_size);
	REQUIRE(ss.ss_sp && !sigaltstack(&ss, NULL));
	REQUIRE(!guard_install());
	truncate_by_other(&s, 0);
	for (i = 0; i < 100; i++)
		REQUIRE(guard_copy_from(buf, s.p, PAGE) == 0);
	ss.ss_flags = SS_DISABLE;
	REQUIRE(!sigaltstack(&ss, NULL)); /* EPERM: still thought in use */
	free(ss.ss_sp);
}

static void test_alternate_stack(void **state)
{
	assert_int_equal(in_child(alternate_stack), 0);
}

/* ------------------------------------------------- whose SIGBUS is it? */

static void fault_in_callers_buffer(void)
{
	struct shared s = open_shared(), gone = open_shared();

	REQUIRE(!guard_install());
	truncate_by_other(&gone, 0);
	guard_copy_from(gone.p, s.p, 100);
}

static void fault_of_nobody(void)
{
	struct shared gone = open_shared();

	REQUIRE(!guard_install());
	truncate_by_other(&gone, 0);
	fault_at(gone.p);
}

static void sent_by_somebody(void)
{
	REQUIRE(!guard_install());
	raise(SIGBUS);
}

static void test_default_kills(void **state)
{
	assert_int_equal(in_child(fault_in_callers_buffer), 1000 + SIGBUS);
	assert_int_equal(in_child(fault_of_nobody), 1000 + SIGBUS);
	assert_int_equal(in_child(sent_by_somebody), 1000 + SIGBUS);
}

static void ignored(void)
{
	signal(SIGBUS, SIG_IGN);
	REQUIRE(!guard_install());
	raise(SIGBUS);
	_exit(7);
}

static void ignored_fault(void)
{
	signal(SIGBUS, SIG_IGN);
	fault_of_nobody();
}

static void test_ignored(void **state)
{
	assert_int_equal(in_child(ignored), 7);
	/* The kernel does not let faults be ignored; nor do we. */
	assert_int_equal(in_child(ignored_fault), 1000 + SIGBUS);
}

/* ------------------------------------------- handlers of the application */

static sigjmp_buf app_jump;
static volatile sig_atomic_t app_calls, app2_calls;
static void *volatile app_addr;
static struct sigaction app_old, app2_old;

static void app_jumps(int sig, siginfo_t *info, void *ctx)
{
	app_calls++;
	app_addr = info->si_addr;
	siglongjmp(app_jump, 1);
}

static void app_plain(int sig)
{
	app_calls++;
	siglongjmp(app_jump, 1);
}

static void install(void (*fn)(int, siginfo_t *, void *), int flags,
		    struct sigaction *old)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO | flags };

	sa.sa_sigaction = fn;
	sigemptyset(&sa.sa_mask);
	REQUIRE(!sigaction(SIGBUS, &sa, old));
}

/* Guarded and unguarded faults in turn, several times. */
static void both_kinds(bool reinstall)
{
	struct shared gone = open_shared();
	unsigned char buf[PAGE];
	volatile int i;

	truncate_by_other(&gone, 0);
	for (i = 0; i < 5; i++) {
		if (reinstall)
			REQUIRE(!guard_install());
		REQUIRE(guard_copy_from(buf, gone.p + PAGE, 10) == 0);
		REQUIRE(app_calls == i);
		if (!sigsetjmp(app_jump, 1)) {
			fault_at(gone.p + 3 * PAGE + 5);
			REQUIRE(!"came back");
		}
		REQUIRE(app_calls == i + 1);
	}
}

static void handler_before(void)
{
	install(app_jumps, 0, &app_old);
	REQUIRE(!guard_install());
	both_kinds(false);
	REQUIRE(app_addr != NULL);
}

static void plain_handler_before(void)
{
	signal(SIGBUS, app_plain);
	REQUIRE(!guard_install());
	both_kinds(false);
}

static void handler_after(void)
{
	REQUIRE(!guard_install());
	install(app_jumps, 0, &app_old);
	both_kinds(true);
}

/* Replaced every time: we come back to the front, it stays behind us. */
static void handler_again_and_again(void)
{
	int i;

	for (i = 0; i < 50; i++) {
		REQUIRE(!guard_install());
		install(app_jumps, 0, &app_old);
	}
	both_kinds(true);
}

static void test_handlers(void **state)
{
	assert_int_equal(in_child(handler_before), 0);
	assert_int_equal(in_child(plain_handler_before), 0);
	assert_int_equal(in_child(handler_after), 0);
	assert_int_equal(in_child(handler_again_and_again), 0);
}

/* The mask that the application asked for holds in its handler. */
static void app_checks_mask(int sig, siginfo_t *info, void *ctx)
{
	sigset_t now;

	pthread_sigmask(SIG_SETMASK, NULL, &now);
	_exit(sigismember(&now, SIGUSR1) && sigismember(&now, SIGBUS) ? 5 : 6);
}

static void handler_with_mask(void)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO };

	sa.sa_sigaction = app_checks_mask;
	sigemptyset(&sa.sa_mask);
	sigaddset(&sa.sa_mask, SIGUSR1);
	REQUIRE(!sigaction(SIGBUS, &sa, NULL));
	fault_of_nobody();
}

static void test_mask(void **state)
{
	assert_int_equal(in_child(handler_with_mask), 5);
}

static void call_old(const struct sigaction *old, int sig, siginfo_t *info,
		     void *ctx)
{
	if (old->sa_flags & SA_SIGINFO) {
		old->sa_sigaction(sig, info, ctx);
	} else if (old->sa_handler == SIG_DFL) {
		_exit(42); /* the end of the chain, as the application saw it */
	}
}

/* Well-behaved: not mine, so whoever was before. */
static void app_chains(int sig, siginfo_t *info, void *ctx)
{
	if (++app_calls > 3)
		_exit(98);
	call_old(&app_old, sig, info, ctx);
}

static void app2_chains(int sig, siginfo_t *info, void *ctx)
{
	if (++app2_calls > 3)
		_exit(97);
	call_old(&app2_old, sig, info, ctx);
}

/* Ours in front of one that calls ours: it must end, at the default. */
static void chain_of_one(void)
{
	REQUIRE(!guard_install());
	install(app_chains, 0, &app_old);
	REQUIRE(!guard_install());
	fault_of_nobody();
}

/* The same without coming back in front. */
static void chain_behind(void)
{
	struct shared gone = open_shared();
	unsigned char buf[10];

	REQUIRE(!guard_install());
	install(app_chains, 0, &app_old);
	truncate_by_other(&gone, 0);
	REQUIRE(guard_copy_from(buf, gone.p, 10) == 0);
	REQUIRE(app_calls == 1);
	fault_at(gone.p);
}

static void chain_of_two(void)
{
	REQUIRE(!guard_install());
	install(app_chains, 0, &app_old);
	REQUIRE(!guard_install());
	install(app2_chains, 0, &app2_old);
	REQUIRE(!guard_install());
	fault_of_nobody();
}

/* It keeps only the last "old", which is ours in front of itself. */
static void chain_to_itself(void)
{
	REQUIRE(!guard_install());
	install(app_chains, 0, &app_old);
	REQUIRE(!guard_install());
	install(app_chains, 0, &app_old);
	fault_of_nobody();
}

static void chain_to_earlier(void)
{
	install(app2_chains, 0, &app2_old);
	chain_of_one();
}

static void test_chains_end(void **state)
{
	assert_int_equal(in_child(chain_of_one), 1000 + SIGBUS);
	assert_int_equal(in_child(chain_behind), 1000 + SIGBUS);
	assert_int_equal(in_child(chain_of_two), 1000 + SIGBUS);
	assert_int_equal(in_child(chain_to_itself), 1000 + SIGBUS);
	/* Here the first handler was there before us and sees the default. */
	assert_int_equal(in_child(chain_to_earlier), 42);
}

/* Chained to, then jumped out of: the next fault starts from the top. */
static void app_chains_then_jumps(int sig, siginfo_t *info, void *ctx)
{
	app_calls++;
	siglongjmp(app_jump, 1);
}

static void jump_out_of_chain(void)
{
	struct shared gone = open_shared();
	volatile int i;

	install(app_chains_then_jumps, SA_ONSTACK, &app_old);
	REQUIRE(!guard_install());
	install(app2_chains, SA_ONSTACK, &app2_old);
	REQUIRE(!guard_install());
	truncate_by_other(&gone, 0);
	for (i = 0; i < 3; i++) {
		if (!sigsetjmp(app_jump, 1))
			fault_at(gone.p);
		REQUIRE(app2_calls == i + 1 && app_calls == i + 1);
	}
}

static void jump_out_of_chain_on_alternate_stack(void)
{
	stack_t ss = { .ss_size = 65536 };

	ss.ss_sp = malloc(ss.ss_size);
	REQUIRE(ss.ss_sp && !sigaltstack(&ss, NULL));
	jump_out_of_chain();
}

static void test_jump_out_of_chain(void **state)
{
	assert_int_equal(in_child(jump_out_of_chain), 0);
	assert_int_equal(in_child(jump_out_of_chain_on_alternate_stack), 0);
}

/* A handler that is taken out again is not called any more. */
static void handler_removed(void)
{
	install(app_chains, 0, &app_old);
	REQUIRE(!guard_install());
	signal(SIGBUS, SIG_DFL);
	REQUIRE(!guard_install());
	fault_of_nobody();
}

static void test_handler_removed(void **state)
{
	assert_int_equal(in_child(handler_removed), 1000 + SIGBUS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_short_counts),
		cmocka_unit_test(test_hole_in_the_middle),
		cmocka_unit_test(test_closed_pages),
		cmocka_unit_test(test_many_threads),
		cmocka_unit_test(test_alternate_stack),
		cmocka_unit_test(test_default_kills),
		cmocka_unit_test(test_ignored),
		cmocka_unit_test(test_handlers),
		cmocka_unit_test(test_mask),
		cmocka_unit_test(test_chains_end),
		cmocka_unit_test(test_jump_out_of_chain),
		cmocka_unit_test(test_handler_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
