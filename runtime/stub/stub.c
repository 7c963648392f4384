/* The last program before a container's own.
 *
 * The process that enters a container is forked from the host's Python. Were the container's command
 * executed from there, a script with "#!/proc/self/exe" would make the kernel load that very Python
 * again, this time by the container's ELF loader, which can then reach the host's file
 * (CVE-2019-5736). So this program comes between: it has no loader, no library, and no file.
 *
 * enter.py puts an ELF header before the machine code and `struct block` behind it, all mapped as one
 * segment that nobody may write. The arguments are the path to execute, then the arguments to give.
 *
 * Freestanding: no header, so that the machine code depends on the compiler alone. make_stub.py
 * compiles it.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#if defined(__x86_64__)
enum {
	NR_write = 1, NR_close = 3, NR_rt_sigaction = 13, NR_rt_sigprocmask = 14, NR_ioctl = 16,
	NR_getpid = 39, NR_clone = 56, NR_execve = 59, NR_wait4 = 61, NR_kill = 62, NR_fcntl = 72,
	NR_chdir = 80, NR_setpgid = 109, NR_getppid = 110, NR_rt_sigtimedwait = 128,
	NR_prctl = 157, NR_exit_group = 231, NR_seccomp = 317,
};
#define AUDIT_ARCH 0xC000003Eu /* linux/audit.h */

static inline long call(long number, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	long result;
	__asm__ volatile("syscall"
	                 : "=a"(result)
	                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
	                 : "rcx", "r11", "memory");
	return result;
}

__asm__(".section .text.start\n"
        ".globl _start\n"
        "_start:\n"
        "	xor %ebp, %ebp\n"
        "	mov %rsp, %rdi\n"
        "	call begin\n");

#elif defined(__aarch64__)
enum {
	NR_fcntl = 25, NR_ioctl = 29, NR_chdir = 49, NR_close = 57, NR_write = 64,
	NR_exit_group = 94, NR_kill = 129, NR_rt_sigaction = 134, NR_rt_sigprocmask = 135,
	NR_rt_sigtimedwait = 137, NR_setpgid = 154, NR_prctl = 167, NR_getpid = 172,
	NR_getppid = 173, NR_clone = 220, NR_execve = 221, NR_wait4 = 260, NR_seccomp = 277,
};
#define AUDIT_ARCH 0xC00000B7u

static inline long call(long number, long a, long b, long c, long d, long e)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	__asm__ volatile("svc #0"
	                 : "+r"(x0)
	                 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4)
	                 : "memory");
	return x0;
}

__asm__(".section .text.start\n"
        ".globl _start\n"
        "_start:\n"
        "	mov x29, #0\n"
        "	mov x30, #0\n"
        "	mov x0, sp\n"
        "	bl begin\n");
#else
#error "no system calls for this architecture"
#endif

#define CALL(name, ...) CALL_(name, __VA_ARGS__, 0, 0, 0, 0, 0)
#define CALL_(name, a, b, c, d, e, ...) \
	call(NR_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))

enum { ENOENT = 2, ENOTDIR = 20 };
enum { SIGKILL = 9, SIGUSR1 = 10, SIGCHLD = 17, SIGTTIN = 21, SIGTTOU = 22 };
enum { SIG_BLOCK = 0, SIG_SETMASK = 2 };
enum { F_SETFD = 2, FD_CLOEXEC = 1, TIOCSPGRP = 0x5410, WNOHANG = 1 };
enum {
	PR_SET_PDEATHSIG = 1, PR_SET_DUMPABLE = 4, PR_SET_NAME = 15, PR_SET_CHILD_SUBREAPER = 36,
	PR_SET_NO_NEW_PRIVS = 38, SECCOMP_SET_MODE_FILTER = 1,
};

struct sock_filter {
	u16 code;
	u8 jt, jf;
	u32 k;
};

struct sock_fprog {
	u16 length;
	const struct sock_filter *filter;
};

/* As enter.py packs it. */
extern const struct block {
	u32 report;        /* descriptor to write a failure to */
	u32 init;          /* stay as the first process of the container */
	u32 seccomp_flags; /* of seccomp(2) */
	u32 filter_length; /* in instructions; 0: no filter */
	struct sock_filter filter[];
} block __attribute__((visibility("hidden")));

/* As enter.py reads it, with the error number in four bytes behind it. */
enum phase { SECCOMP = 1, FORK = 2, EXEC = 3 };

static void __attribute__((noreturn)) leave(int status)
{
	CALL(exit_group, status);
	__builtin_trap(); /* a seccomp filter refused it */
}

static void __attribute__((noreturn)) fail(enum phase phase, long result)
{
	u32 error = -result;
	u8 record[5] = {phase, error, error >> 8, error >> 16, error >> 24};
	CALL(write, block.report, record, sizeof record);
	if (phase != EXEC)
		leave(125);
	leave(error == ENOENT || error == ENOTDIR ? 127 : 126);
}

static long install(u32 flags, const struct sock_filter *filter, u32 length)
{
	struct sock_fprog program = {length, filter};
	return CALL(seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static void __attribute__((noreturn)) execute(char **arguments, char **environment)
{
	if (block.filter_length) {
		long result = install(block.seccomp_flags, block.filter, block.filter_length);
		if (result)
			fail(SECCOMP, result);
	}
	fail(EXEC, CALL(execve, arguments[0], arguments + 1, environment));
}

#define LOAD(offset) {0x20, 0, 0, offset}
#define ACCEPT_IF(value, remaining) {0x15, remaining, 0, value}
#define RETURN(value) {0x06, 0, 0, value}

/* All that the first process calls from when it waits. The container's filter is not on it, so
 * whoever gets to trace it, which takes CAP_SYS_PTRACE, must not gain anything by that. */
static const struct sock_filter first_process_filter[] = {
	LOAD(4), /* seccomp_data.arch */
	{0x15, 0, 5, AUDIT_ARCH},
	LOAD(0), /* seccomp_data.nr */
	ACCEPT_IF(NR_rt_sigtimedwait, 4),
	ACCEPT_IF(NR_wait4, 3),
	ACCEPT_IF(NR_kill, 2),
	ACCEPT_IF(NR_exit_group, 1),
	RETURN(0x00050001), /* SECCOMP_RET_ERRNO, EPERM */
	RETURN(0x7fff0000), /* SECCOMP_RET_ALLOW */
};

/* Collects every process that has ended; ends itself once the child has. */
static void reap(long child)
{
	for (;;) {
		u32 status;
		long ended = CALL(wait4, -1, &status, WNOHANG);
		if (ended <= 0)
			return;
		if (ended != child)
			continue;
		u32 number = status & 0x7f;
		leave(number ? 128 + number : status >> 8 & 0xff);
	}
}

static void __attribute__((noreturn)) stay(long child, const u64 *everything)
{
	CALL(close, block.report);
	/* The handlers never run, for everything is blocked. They undo an ignored SIGCHLD, which would
	 * leave nothing to collect, and tell who looks at /proc/1/status that signals have an effect:
	 * what rt_sigtimedwait waits for does not count as blocked there. */
	u64 action[4] = {(u64)reap};
	for (long number = 1; number <= 64; number++)
		CALL(rt_sigaction, number, action, 0, 8);
	CALL(prctl, PR_SET_NAME, "pyrun-init");
	CALL(chdir, "/"); /* a volume can go while this process stays */
	/* These two fail only on a kernel without filters, where the child has none to evade. */
	CALL(prctl, PR_SET_NO_NEW_PRIVS, 1);
	install(0, first_process_filter, sizeof first_process_filter / sizeof *first_process_filter);
	CALL(kill, child, SIGUSR1);
	for (;;) {
		long number = CALL(rt_sigtimedwait, everything, 0, 0, 8);
		if (number == SIGCHLD)
			reap(child);
		/* The two mean this process's own use of the terminal. A negative one is EINTR. */
		else if (number > 0 && number != SIGTTIN && number != SIGTTOU)
			CALL(kill, child, number);
	}
}

static void __attribute__((noreturn)) split(char **arguments, char **environment)
{
	u64 everything = ~0ul, before, go = 1ul << (SIGUSR1 - 1);
	long first = CALL(getpid, 0);
	/* Blocked from before there is a child, so that what comes meanwhile is sent on as well. */
	CALL(rt_sigprocmask, SIG_BLOCK, &everything, &before, 8);
	/* Orphans come here also where the container shares the host's process ids. */
	CALL(prctl, PR_SET_CHILD_SUBREAPER, 1);
	long child = CALL(clone, SIGCHLD);
	if (child < 0)
		fail(FORK, child);
	if (child)
		stay(child, &everything);
	CALL(prctl, PR_SET_PDEATHSIG, SIGKILL);
	if (CALL(getppid, 0) != first)
		leave(125); /* it died before the line above */
	CALL(setpgid, 0, 0);
	/* Fails where standard input is not the controlling terminal: nothing to give then. */
	u32 group = CALL(getpid, 0);
	CALL(ioctl, 0, TIOCSPGRP, &group);
	/* Not before the first process has its filter. */
	CALL(rt_sigtimedwait, &go, 0, 0, 8);
	CALL(rt_sigprocmask, SIG_SETMASK, &before, 0, 8);
	execute(arguments, environment);
}

void __attribute__((noreturn, used, visibility("hidden"))) begin(long *stack)
{
	char **arguments = (char **)(stack + 1);
	char **environment = arguments + *stack + 1;
	/* The mode of the memfd does so from the start; not where fs.suid_dumpable is 1. */
	CALL(prctl, PR_SET_DUMPABLE, 0);
	/* Not open: executed again, by way of "#!/proc/self/exe". */
	if (CALL(fcntl, block.report, F_SETFD, FD_CLOEXEC) || *stack < 2)
		leave(127);
	if (block.init)
		split(arguments, environment);
	execute(arguments, environment);
}
