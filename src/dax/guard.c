/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guarded copy: SIGBUS becomes a short count. So does SIGSEGV, which is what a
 * daemon causes that says it has mapped a range and has not, has mapped it
 * read-only, or takes it away again.
 *
 * A thread that copies arms its own record (thread-local: the addresses that
 * may fault, and where to jump to), copies, and disarms it. The handler looks
 * at the record of the thread it runs in. A fault inside the armed addresses
 * is ours: note the address and jump out. Everything else belongs to whoever
 * had the signal before us and goes there.
 *
 * How much was copied? memcpy() may touch the end of a block before its
 * middle, so the fault address alone does not tell. The page it lies in is
 * missing, that much is sure; so the copy is done again up to that page, until
 * a round passes without a fault. Each round is shorter: it ends.
 *
 * THE CHAIN. What was installed before us is the base of a stack of former
 * actions. When the application replaces our handler, the next guard_install()
 * puts the application's action on the stack and itself back in front. Such an
 * action may well have kept our handler as "the one before" and call it: we
 * then see the same signal frame again, deeper in the same stack, and answer
 * with the next action below instead of starting from the top. Below the base
 * there is nothing, and nothing means the default: the process dies as it
 * would have without us. An action that comes back after another one was
 * taken out again finds its old place, so that the stack does not grow with
 * every swap. Entries are never freed: a handler may be reading them.
 *
 * Limits: the alternate signal stack is left by a jump, so with
 * SS_AUTODISARM it stays disarmed until the application sets it up anew.
 * A handler that was installed over ours and then unloaded with its library,
 * without being replaced, is still called: nothing tells us that it is gone.
 *
 * Thread rule: any thread; not from a signal handler.
 */
#include "dax/guard.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * The compiler's own jump saves three words and no signal mask (SA_NODEFER:
 * there is none to restore). Sanitizers need to see the jump, to clean up
 * their shadow of the stack; and the thread sanitizer runs handlers with all
 * signals blocked, whatever was asked for, so there the mask is saved too.
 */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GUARD_TSAN 1
#elif __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define GUARD_ASAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define GUARD_TSAN 1
#elif defined(__SANITIZE_ADDRESS__)
#define GUARD_ASAN 1
#endif

#if defined(GUARD_TSAN)
typedef sigjmp_buf guard_jump;
#define guard_set(buf) sigsetjmp((buf), 1)
#define guard_leap(buf) siglongjmp((buf), 1)
#elif defined(GUARD_ASAN) || !defined(__x86_64__)
typedef sigjmp_buf guard_jump;
#define guard_set(buf) sigsetjmp((buf), 0)
#define guard_leap(buf) siglongjmp((buf), 1)
#else
typedef void *guard_jump[5];
#define guard_set(buf) __builtin_setjmp(buf)
#define guard_leap(buf) __builtin_longjmp((buf), 1)
#endif

#define GUARD_PAGE_MASK (~(uintptr_t)4095) /* the smallest page there is */

/* The signal a thread is passing on; see is_passing_on(). */
struct guard_chain {
	const void *ctx;
	uintptr_t frame; /* of our handler's latest call for it */
	unsigned depth;  /* actions below the top that were tried */
};

/* What this thread is copying. Read by the handler in the same thread. */
struct guard_record {
	volatile uintptr_t first; /* page of the first byte that may fault */
	volatile uintptr_t end;   /* past the last one; 0: not armed */
	volatile uintptr_t fault; /* where it did */
	struct guard_chain chain;
	guard_jump jump;
};

static __thread struct guard_record guard_self
	__attribute__((tls_model("initial-exec")));

/* A former action. Constant once it can be reached. */
struct guard_former {
	struct sigaction action;
	struct guard_former *below; /* NULL: the base */
	struct guard_former *all;   /* guarded by install_lock */
};

static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;
static struct guard_former *all_formers; /* guarded by install_lock */
static struct guard_former *_Atomic top_former[2]; /* SIGBUS, SIGSEGV */

static struct guard_former *_Atomic *top_of(int sig)
{
	return &top_former[sig == SIGSEGV];
}

/* ------------------------------------------------------------ the handler */

/*
 * The base's answer. For a fault, returning runs the faulting instruction
 * again, and with the default action that ends the process with a true core.
 */
static void die_by_default(int sig, bool is_fault)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t set;

	sigaction(sig, &dfl, NULL);
	if (is_fault)
		return;
	sigemptyset(&set);
	sigaddset(&set, sig);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), sig);
}

static void call_former(const struct sigaction *act, int sig, siginfo_t *info,
			void *ctx)
{
	sigset_t mask = act->sa_mask;
	bool is_fault = info->si_code > 0;

	if (!(act->sa_flags & SA_SIGINFO)) {
		if (act->sa_handler == SIG_DFL ||
		    (act->sa_handler == SIG_IGN && is_fault)) {
			die_by_default(sig, is_fault);
			return;
		}
		if (act->sa_handler == SIG_IGN)
			return;
	}
	/* Undone by the return from the signal, as for any handler. */
	if (!(act->sa_flags & SA_NODEFER))
		sigaddset(&mask, sig);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	if (act->sa_flags & SA_SIGINFO)
		act->sa_sigaction(sig, info, ctx);
	else
		act->sa_handler(sig);
}

/*
 * Have we been called, by an action that we called, for the signal that we are
 * passing on? Then the frame is the same and we are deeper in the stack. An
 * action that jumped away instead of returning leaves the record behind; the
 * next signal, arriving at the same place, is then not deeper.
 */
static bool is_passing_on(const struct guard_chain *c, const void *ctx,
			  uintptr_t frame)
{
	return ctx && c->ctx == ctx && frame < c->frame;
}

static void pass_on(int sig, siginfo_t *info, void *ctx, uintptr_t frame)
{
	struct guard_record *g = &guard_self;
	const struct guard_chain outer = g->chain;
	const struct guard_former *f;
	unsigned depth, i;

	depth = is_passing_on(&outer, ctx, frame) ? outer.depth + 1 : 0;
	g->chain = (struct guard_chain){ ctx, frame, depth };

	/* pairs with the release in push_former() */
	f = atomic_load_explicit(top_of(sig), memory_order_acquire);
	for (i = 0; f && i < depth; i++)
		f = f->below;
	if (f)
		call_former(&f->action, sig, info, ctx);
	else
		die_by_default(sig, info->si_code > 0);
	g->chain = outer;
}

static void on_fault(int sig, siginfo_t *info, void *ctx)
{
	struct guard_record *g = &guard_self;
	uintptr_t at = (uintptr_t)info->si_addr;
	int saved_errno = errno;

	/* si_code <= 0: sent by somebody; si_addr then means nothing. */
	if (info->si_code > 0 && g->end && at >= g->first && at < g->end) {
		g->fault = at;
		g->end = 0;
		guard_leap(g->jump);
	}
	pass_on(sig, info, ctx, (uintptr_t)__builtin_frame_address(0));
	errno = saved_errno;
}

/* ------------------------------------------------------------ installation */

static bool is_ours(const struct sigaction *act)
{
	return (act->sa_flags & SA_SIGINFO) && act->sa_sigaction == on_fault;
}

static bool is_same_action(const struct sigaction *a, const struct sigaction *b)
{
	const int flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;

	return a->sa_handler == b->sa_handler &&
	       (a->sa_flags & flags) == (b->sa_flags & flags);
}

/* Put @act on top of the stack of @sig: at its old place if it has one there.
 * The stacks may share entries, which are equal for both. */
static int push_former(int sig, const struct sigaction *act)
{
	struct guard_former *top = atomic_load_explicit(top_of(sig),
							memory_order_relaxed);
	struct guard_former *f;

	for (f = top; f; f = f->below)
		if (is_same_action(&f->action, act))
			goto found;
	for (f = all_formers; f; f = f->all)
		if (f->below == top && is_same_action(&f->action, act))
			goto found;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->action = *act;
	f->below = top;
	f->all = all_formers;
	all_formers = f;
found:
	/* pairs with the acquire in pass_on() */
	atomic_store_explicit(top_of(sig), f, memory_order_release);
	return 0;
}

static int install_locked(int sig)
{
	struct sigaction ours = { 0 }, current;
	int err;

	if (sigaction(sig, NULL, &current) < 0)
		return -errno;
	if (is_ours(&current))
		return 0;
	/* First the way on, then the handler that needs it. */
	err = push_former(sig, &current);
	if (err)
		return err;
	ours.sa_sigaction = on_fault;
	ours.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK |
			(current.sa_flags & SA_RESTART);
	sigemptyset(&ours.sa_mask);
	if (sigaction(sig, &ours, &current) < 0)
		return -errno;
	/* Replaced by another thread in between? Then that one is the former. */
	return is_ours(&current) ? 0 : push_former(sig, &current);
}

int guard_install(void)
{
	int err;

	pthread_mutex_lock(&install_lock);
	err = install_locked(SIGBUS);
	if (!err)
		err = install_locked(SIGSEGV);
	pthread_mutex_unlock(&install_lock);
	return err;
}

/* ------------------------------------------------------------------ copies */

/*
 * One attempt. Returns @len, or the number of bytes before the page that was
 * missing, of which some may not have been copied.
 */
static __attribute__((noinline)) size_t
copy_once(void *dst, const void *src, size_t len, const void *shared)
{
	struct guard_record *g = &guard_self;
	uintptr_t page;

	if (guard_set(g->jump)) {
		g = &guard_self;
		page = g->fault & GUARD_PAGE_MASK;
		return page > (uintptr_t)shared ? page - (uintptr_t)shared : 0;
	}
	g->first = (uintptr_t)shared & GUARD_PAGE_MASK;
	g->end = (uintptr_t)shared + len;
	atomic_signal_fence(memory_order_seq_cst);
	memcpy(dst, src, len);
	atomic_signal_fence(memory_order_seq_cst);
	g->end = 0;
	return len;
}

static __attribute__((cold, noinline)) size_t
copy_again(void *dst, const void *src, size_t len, const void *shared)
{
	size_t n;

	while (len > 0) {
		n = copy_once(dst, src, len, shared);
		if (n >= len)
			return len;
		len = n;
	}
	return 0;
}

size_t guard_copy_from(void *dst, const void *shared_src, size_t len)
{
	size_t n = copy_once(dst, shared_src, len, shared_src);

	if (ORIEL_LIKELY(n >= len))
		return len;
	return copy_again(dst, shared_src, n, shared_src);
}

size_t guard_copy_to(void *shared_dst, const void *src, size_t len)
{
	size_t n = copy_once(shared_dst, src, len, shared_dst);

	if (ORIEL_LIKELY(n >= len))
		return len;
	return copy_again(shared_dst, src, n, shared_dst);
}
