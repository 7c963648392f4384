"""Ordinary programs under the shipped filters: they do what they do without."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from runtime.sandbox.capabilities import BUILD_DEFAULT, RUN_DEFAULT
from runtime.seccomp.load import MACHINES, filter_for
from tests.runtime.seccomp.judge import restrict
from tests.support import which

pytestmark = pytest.mark.skipif(os.uname().machine not in MACHINES, reason="no filter for this")

PROGRAMS = {
    "busybox": 'echo a | busybox grep a && busybox sh -c "busybox ls -l / | busybox wc -l"',
    "sh": "x=$(echo b | cat) && test $x = b && ( : & wait )",
    "python3": "python3 -c 'import subprocess, threading, asyncio, multiprocessing, socket, mmap; "
    't = threading.Thread(target=print); t.start(); t.join(); subprocess.run(["true"]); '
    "asyncio.run(asyncio.sleep(0)); p = multiprocessing.Process(target=print); p.start(); "
    'p.join(); socket.create_server(("127.0.0.1", 0))\'',
    "gcc": "echo 'int main(void){return 0;}' > a.c && gcc -o a a.c && ./a",
    "tar": "mkdir d && echo x > d/f && tar czf d.tar.gz d && rm -r d && tar xzf d.tar.gz",
    "rpm": "rpm --version && rpm --root $PWD/r --initdb && rpm --root $PWD/r -qa",
    "dnf": "dnf --version > /dev/null",
    "apt-get": "apt-get --version > /dev/null && apt-config dump > /dev/null",
    "dpkg": "dpkg --version > /dev/null && dpkg -l > /dev/null",
    "systemctl": "systemctl --version && systemd-tmpfiles --version",
    "systemd-sysusers": "mkdir -p s/etc && echo 'u x 123' | systemd-sysusers --root=$PWD/s -",
    "git": "git init -q g && cd g && echo a > a && git add a",
    "perl": "perl -e 'fork or exit 0; wait; print 1'",
    "openssl": "openssl rand -hex 4 && echo x | openssl sha256",
    "flock": "flock lock true",
    "nice": "nice -n 1 true",
    "setpriv": "setpriv --dump",
    "ps": "ps ax > /dev/null",
    "ip": "ip address > /dev/null",
    "strace": "strace -o trace true",
    "xz": "echo x | xz -T2 | xz -d",
}


@pytest.mark.parametrize("capabilities", [RUN_DEFAULT, BUILD_DEFAULT], ids=["run", "build"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_an_ordinary_program_works(
    program: str, capabilities: frozenset[str], tmp_path: Path
) -> None:
    if not which(program):
        pytest.skip(f"{program} is not installed")
    bpf = filter_for(None, capabilities, cache=None)
    command = ["sh", "-e", "-c", PROGRAMS[program]]
    plain, filtered = (
        subprocess.run(
            command,
            cwd=folder,
            preexec_fn=before,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        for folder, before in (
            (_made(tmp_path / "plain"), None),
            (_made(tmp_path / "filtered"), lambda: restrict(bpf)),
        )
    )
    assert plain.returncode == 0, plain.stderr
    assert filtered.returncode == 0, filtered.stderr


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.needs_root
@pytest.mark.needs_program("busybox", "setpriv")
def test_what_root_does_in_a_build_works(tmp_path: Path) -> None:
    bpf = filter_for(None, BUILD_DEFAULT, cache=None)
    script = """
        mkdir root && cp "$(command -v busybox)" root/busybox
        chroot root /busybox true
        mknod null c 1 3 && chown 5:5 null && chmod 4600 null
        setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all true
        python3 -c 'import os, socket; os.setxattr("root", "user.a", b"b"); socket.AF_ALG'
    """
    subprocess.run(
        ["sh", "-e", "-c", script], cwd=tmp_path, preexec_fn=lambda: restrict(bpf), check=True
    )
