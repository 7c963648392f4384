/* Calls what a container is not to have of the kernel, and prints how that ended, a line for each.
 *
 * The arguments make no sense on purpose: a kernel that lets the call through says so by another
 * error than a filter does.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void try(const char *name, long number, long a, long b, long c, long d)
{
	errno = 0;
	long result = syscall(number, a, b, c, d, 0, 0);
	printf("%s %s\n", name, result >= 0 ? "works" : strerrorname_np(errno));
	fflush(stdout);
}

int main(void)
{
	static char letter = 'x', three = 3;
	static long attributes[16];
	/* sys/ioctl.h, linux/tiocl.h; the kernel looks at the lower half only (CVE-2019-10063). */
	try("TIOCSTI", SYS_ioctl, 0, 0x5412, (long)&letter, 0);
	try("TIOCSTI+garbage", SYS_ioctl, 0, 0xdeadbeef00005412, (long)&letter, 0);
	try("TIOCLINUX", SYS_ioctl, 0, 0x541C, (long)&three, 0);
	try("TIOCLINUX+garbage", SYS_ioctl, 0, 0x1000000000541C, (long)&three, 0);
	try("AF_ALG", SYS_socket, 38, 5, 0, 0);
	try("AF_ALG+garbage", SYS_socket, 0x7700000026, 5, 0, 0);
	try("AF_VSOCK", SYS_socket, 40, 1, 0, 0);
	try("io_uring_setup", 425, 0, 0, 0, 0);
	try("io_uring_enter", 426, -1, 0, 0, 0);
	try("io_uring_register", 427, -1, 0, 0, 0);
	try("fsopen", 430, 0, 0, 0, 0);
	try("fsconfig", 431, -1, 0, 0, 0);
	try("open_tree", 428, -1, (long)"", 1, 0);
	try("move_mount", 429, -1, (long)"", -1, (long)"");
	try("userfaultfd", SYS_userfaultfd, 0xffff, 0, 0, 0);
	try("bpf", SYS_bpf, 0, (long)attributes, sizeof attributes, 0);
	try("kexec_load", SYS_kexec_load, 0, 0, 0, 0);
	try("kexec_file_load", 320, -1, -1, 0, 0);
	try("perf_event_open", SYS_perf_event_open, (long)attributes, 0, -1, -1);
	try("keyctl", SYS_keyctl, 0, -3, 0, 0);
	try("add_key", SYS_add_key, (long)"user", (long)"k", (long)"v", 1);
	try("unshare", SYS_unshare, 0x10000000, 0, 0, 0);
	try("setns", SYS_setns, -1, 0, 0, 0);
	try("mount", SYS_mount, (long)"", (long)"/", 0, 4096);
	try("init_module", SYS_init_module, 0, 0, 0, 0);
	try("getpid", SYS_getpid, 0, 0, 0, 0);
	return 0;
}
