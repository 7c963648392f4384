"""The 32-bit entry of an x86-64 kernel, `int $0x80`, under a filter."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable

import pytest

from tests.runtime.seccomp.judge import EAFNOSUPPORT, ENOSYS, EPERM, restrict

pytestmark = [
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="not an x86-64 kernel"),
    pytest.mark.needs_program("gcc"),
]

INT80 = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned int words[3] = {38, 5, 0};  /* AF_ALG, SOCK_SEQPACKET */

static int word(const char *text) {
    return strcmp(text, "WORDS") ? atoi(text) : (int)(long)words;
}

static int call(int number, int a, int b, int c) {
    int result;
    __asm__ volatile("int $0x80" : "=a"(result)
        : "a"(number), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
    return result;
}

int main(int argc, char **argv) {
    for (int i = 1; i + 3 < argc; i += 4)
        printf("%d\n", call(atoi(argv[i]), word(argv[i + 1]), word(argv[i + 2]),
                            word(argv[i + 3])));
    return 0;
}
"""


@pytest.fixture(scope="module")
def int80(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[int]]:
    """Make calls by `int $0x80` under a filter; WORDS is a pointer to AF_ALG and a type."""
    folder = tmp_path_factory.mktemp("int80")
    source, binary = folder / "int80.c", folder / "int80"
    source.write_text(INT80)
    # Not position-independent: a pointer must fit 32 bits.
    subprocess.run(["gcc", "-no-pie", "-O1", "-o", binary, source], check=True)

    def run(*calls: tuple[int | str, ...], program: bytes | None = None) -> list[int]:
        words = [str(word) for one in calls for word in (*one, 0, 0, 0)[:4]]
        result = subprocess.run(
            [binary, *words],
            preexec_fn=None if program is None else lambda: restrict(program),
            capture_output=True,
            text=True,
            check=True,
        )
        return [int(line) for line in result.stdout.split()]

    getpid = subprocess.run([binary, "20", "0", "0", "0"], capture_output=True, text=True)
    if getpid.returncode != 0 or int(getpid.stdout) <= 0:
        pytest.skip("the kernel has no 32-bit calls")
    return run


def test_the_32_bit_entry_is_filtered_by_its_own_numbers(
    int80: Callable[..., list[int]], run_filter: bytes
) -> None:
    getpid, unshare, keyctl, io_uring, personality = (20,), (310, 1 << 28), (288,), (425,), (136,)
    found = int80(
        getpid, unshare, keyctl, io_uring, (*personality, 0x400000), (*personality, -1),
        program=run_filter,
    )  # fmt: skip
    assert found[0] > 0
    assert found[1:5] == [-EPERM, -EPERM, -ENOSYS, -EPERM]
    assert found[5] >= 0


def test_af_alg_cannot_be_reached_by_the_32_bit_entry(
    int80: Callable[..., list[int]], run_filter: bytes
) -> None:
    direct, multiplexed = (359, 38, 5), (102, 1, "WORDS")
    assert int80(direct, multiplexed, program=run_filter) == [-EAFNOSUPPORT, -EAFNOSUPPORT]
    assert int80((359, socket.AF_UNIX, 1), program=run_filter)[0] > 0


def test_the_32_bit_entry_is_killed_where_it_is_not_listed(
    int80: Callable[..., list[int]], allow_all: bytes
) -> None:
    with pytest.raises(subprocess.CalledProcessError) as raised:
        int80((20,), program=allow_all)
    assert raised.value.returncode == -signal.SIGSYS
