/* Exchanges pairs of names, without a pause, until it is killed: what a check saw is not what is used. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	for (;;) {
		int first = argc == 3 ? 1 : 1 + 2 * (rand() % ((argc - 1) / 2));
		renameat2(AT_FDCWD, argv[first], AT_FDCWD, argv[first + 1], RENAME_EXCHANGE);
	}
}
