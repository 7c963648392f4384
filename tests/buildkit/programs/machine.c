/* Says for which machine it was made, on its output or in the file that it is given. No libc: the
   cross compilers of the distributions come without one. */
#ifdef __x86_64__
#define NAME "x86_64\n"
enum { OPENAT = 257, WRITE = 1, EXIT = 60 };
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
static long call(long number, long a, long b, long c, long d)
{
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}
#else
#define NAME "aarch64\n"
enum { OPENAT = 56, WRITE = 64, EXIT = 93 };
__asm__(".globl _start\n_start: mov x0, sp\n bl begin\n");
static long call(long number, long a, long b, long c, long d)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}
#endif

void begin(long *stack) /* argc, argv… */
{
    long fd = stack[0] > 1 ? call(OPENAT, -100, stack[2], 0101 /* O_CREAT | O_WRONLY */, 0644) : 1;
    call(WRITE, fd, (long)NAME, sizeof NAME - 1, 0);
    call(EXIT, fd < 0, 0, 0, 0);
}
