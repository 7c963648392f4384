"""Git repositories for tests, and servers of them on loopback: git's own, over http and git://."""

from __future__ import annotations

import os
import socketserver
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.buildkit.web import Request
from tests.support import TreeValue, make_tree, which

COMMIT_TIME = 1_000_000_000  # of the first commit; each one is a second later


def git_environment(**more: str) -> dict[str, str]:
    """Git without anybody's configuration, and always the same author."""
    people = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "somebody"), ("EMAIL", "somebody@example.com"))
    }
    fixed = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent"} | people | fixed | more


class Repository:
    """A repository with a working tree; what is committed can be fetched from `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._time = COMMIT_TIME
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str | Path) -> str:
        """What a git command in the repository says; it must work."""
        date = f"{self._time} +0000"
        env = git_environment(GIT_AUTHOR_DATE=date, GIT_COMMITTER_DATE=date)
        argv = ["git", "-c", "protocol.file.allow=always", *arguments]
        done = subprocess.run(argv, cwd=self.path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, tree: Mapping[str, TreeValue]) -> str:
        """Commit these files beside those that are there; returns the commit's name."""
        make_tree(self.path, tree)
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "--message=change")
        self._time += 1
        return self.git("rev-parse", "HEAD")


def serve_git(request: Request, root: Path, *, protocol: bool = True) -> None:
    """Answer as git-http-backend does; without `protocol` as servers before version 2."""
    path, _, query = request.path.partition("?")
    length = int(request.headers["Content-Length"] or 0)
    env = git_environment(
        GIT_PROJECT_ROOT=str(root),
        GIT_HTTP_EXPORT_ALL="1",
        PATH_INFO=path,
        QUERY_STRING=query,
        REQUEST_METHOD=request.command,
        CONTENT_TYPE=request.headers["Content-Type"] or "",
        CONTENT_LENGTH=str(length),
        HTTP_CONTENT_ENCODING=request.headers["Content-Encoding"] or "",
        GIT_PROTOCOL=(request.headers["Git-Protocol"] or "") if protocol else "",
        REMOTE_ADDR="127.0.0.1",
    )
    body = request.rfile.read(length)
    done = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True)
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
    status = int(headers.pop("Status", "200").split()[0])
    headers = {name.replace("-", "_"): value for name, value in headers.items()}
    request.send(content, status, length=len(content), **headers)


class _Daemon(socketserver.StreamRequestHandler):
    server: _DaemonServer

    def handle(self) -> None:
        root = self.server.root
        argv = ["git", "daemon", "--inetd", "--export-all", f"--base-path={root}", str(root)]
        subprocess.run(
            argv, stdin=self.request, stdout=self.request, env=git_environment(), check=False
        )


class _DaemonServer(socketserver.ThreadingTCPServer):
    root: Path


@contextmanager
def running_daemon(root: Path) -> Iterator[str]:
    """`git daemon` on a free port; the value is the beginning of its URLs."""
    with _DaemonServer(("127.0.0.1", 0), _Daemon) as server:
        server.root = root
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"git://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def local_ssh(path: Path) -> Path:
    """A program in the place of ssh that executes the command on this machine."""
    path.write_text(f'#!/bin/sh\nshift $(($# - 1))\nexec {which("sh")} -c "$1"\n')
    path.chmod(0o755)
    return path
