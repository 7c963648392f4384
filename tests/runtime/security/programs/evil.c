/* A library that leaves /found when it is loaded. */

#include <fcntl.h>
#include <sys/syscall.h>

__attribute__((constructor)) static void loaded(void)
{
#if defined(__x86_64__)
	long result;
	register long r10 __asm__("r10") = 0644;
	__asm__ volatile("syscall"
	                 : "=a"(result)
	                 : "a"(SYS_openat), "D"((long)AT_FDCWD), "S"("/found"), "d"((long)O_CREAT),
	                   "r"(r10)
	                 : "rcx", "r11", "memory");
#endif
}
