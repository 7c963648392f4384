"""An SSH agent for a RUN: a socket of its own that leads to the caller's, or to given keys."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from buildkit.errors import BuildError, HostError
from buildkit.processes import fork_to, hear_signals, signals_held
from buildkit.supplies import Agent

_CHUNK = 1 << 16
_WAIT_S = 10
# The agent lives as long as this command, which ends with its standard input: with us, that is,
# however we end. (Nothing else is sure to: ssh-agent is often setgid, which clears PDEATHSIG.)
_END_WITH_US = 'read -r _; kill "$SSH_AGENT_PID"'


@contextmanager
def agent_socket(agent: Agent, path: str, *, mode: int, uid: int, gid: int) -> Iterator[None]:
    """Listen at `path`, a socket with this mode and owner, for as long as the context lasts."""
    with _opened(os.path.dirname(path)) as folder, _upstream(agent, folder) as upstream:
        server = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            # A socket's address has 107 bytes, and the path of a store may have more.
            server.bind(f"{folder}/{os.path.basename(path)}")
        finally:
            os.umask(before)
        os.chown(path, uid, gid)
        os.chmod(path, mode)
        server.listen()
        with signals_held():
            pid = fork_to(lambda: _forward(server, upstream))
        server.close()
        try:
            yield
        finally:
            _end(pid)


@contextmanager
def _opened(folder: str) -> Iterator[str]:
    """A short path of a directory, good in this process and those that it forks."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


@contextmanager
def _upstream(agent: Agent, folder: str) -> Iterator[str]:
    """The socket of the agent that signs: the caller's, or a new one that holds the keys."""
    if agent.socket:
        yield agent.socket
        return
    real = os.readlink(folder)
    name = f"agent-{len(os.listdir(real))}"
    try:
        process = subprocess.Popen(
            ["ssh-agent", "-a", name, "sh", "-c", _END_WITH_US],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=real,
            process_group=0,
        )
    except FileNotFoundError:
        raise HostError("--ssh with a key needs ssh-agent", hint="install openssh") from None
    with process:  # closes its standard input, and waits for it
        _add_keys(agent.keys, real, name)
        yield f"{folder}/{name}"


def _add_keys(keys: tuple[str, ...], folder: str, name: str) -> None:
    poll_s = 0.01
    for _ in range(int(_WAIT_S / poll_s)):
        if os.path.exists(f"{folder}/{name}"):
            break
        select.select([], [], [], poll_s)
    variables = {**os.environ, "SSH_AUTH_SOCK": name, "SSH_ASKPASS_REQUIRE": "never"}
    keys = tuple(os.path.abspath(key) for key in keys)
    added = subprocess.run(
        ["ssh-add", "-q", *keys],
        env=variables,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,  # no terminal to ask for a passphrase at
        check=False,
    )
    if added.returncode:
        said = added.stderr.decode("utf-8", "replace").strip().splitlines()
        raise BuildError(f"--ssh: {said[-1] if said else 'the key could not be added'}")


def _forward(server: socket.socket, upstream: str) -> NoReturn:
    hear_signals((), ignored=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    while True:
        client, _ = server.accept()
        threading.Thread(target=_relay, args=(client, upstream), daemon=True).start()


def _relay(client: socket.socket, upstream: str) -> None:
    with client, socket.socket(socket.AF_UNIX) as agent:
        try:
            agent.connect(upstream)
            others = {client: agent, agent: client}
            while True:
                for ready in select.select(list(others), [], [])[0]:
                    if not (chunk := ready.recv(_CHUNK)):
                        return
                    others[ready].sendall(chunk)
        except OSError:  # either side is gone: the other one sees the end
            return


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
