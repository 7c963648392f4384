"""A context that is written to while it is read: an error, and nothing wrong in the cache."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from typing import TYPE_CHECKING

import pytest

from tests.buildkit.support import SHELL, Pybuild

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_FAN_CLASS_CONTENT, _FAN_CLOEXEC, _FAN_MARK_ADD, _FAN_OPEN_PERM, _FAN_ALLOW = 4, 1, 1, 0x10000, 1
_EVENT = struct.Struct("IBBHQii")  # struct fanotify_event_metadata


class _Gate:
    """Nobody opens a file before we say so (fanotify(7)): until then it is not read."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.fanotify_init(_FAN_CLASS_CONTENT | _FAN_CLOEXEC, os.O_RDONLY)
        if self._fd < 0:
            pytest.skip(f"fanotify_init: {os.strerror(ctypes.get_errno())}")
        mask = ctypes.c_uint64(_FAN_OPEN_PERM)
        marked = libc.fanotify_mark(self._fd, _FAN_MARK_ADD, mask, -100, os.fsencode(path))
        assert marked == 0, os.strerror(ctypes.get_errno())
        self._opened = -1

    def wait(self) -> None:
        """Until somebody waits to open it."""
        *_, self._opened, _ = _EVENT.unpack(os.read(self._fd, _EVENT.size))

    def open(self) -> None:
        """Let everybody in."""
        os.write(self._fd, struct.pack("iI", self._opened, _FAN_ALLOW))
        os.close(self._opened)
        os.close(self._fd)


def _grow(path: Path) -> None:
    with path.open("a") as file:
        file.write("more")


def _rewrite(path: Path) -> None:
    """Other content of the same size, with the times that it had."""
    before = path.stat()
    path.write_text("z")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace(path: Path) -> None:
    path.with_name("new").write_text("y")
    path.with_name("new").rename(path)


CHANGES: tuple[Callable[[Path], None], ...] = (_grow, _rewrite, _replace, os.unlink)


@pytest.mark.needs_root
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "step",
    [
        "COPY d /d",
        "COPY --chown=root d /d",  # onto a mount
        "RUN --mount=type=bind,source=d,target=/d cp -r /d /e",
    ],
)
def test_a_change_after_the_first_look_is_an_error(
    pybuild: Pybuild, step: str, change: Callable[[Path], None]
) -> None:
    pybuild.add({"d/1": "x", "d/2": "x", "d/3": "x"})
    pybuild.add({"passwd": "root:x:0:0:::\n", "group": "root:x:0:\n"})
    base = f"{SHELL}COPY passwd group /etc/\n"
    pybuild.build(base)
    first = pybuild.context / "d/1"
    gate = _Gate(pybuild.context / "d/2")
    process = pybuild.start(f"{base}{step}\n")
    gate.wait()  # the first file was read for the key of the step
    change(first)
    gate.open()
    process.wait(timeout=60)
    assert process.returncode == 1, pybuild.log
    assert "changed while it was copied" in pybuild.log
    assert "Traceback" not in pybuild.log
    assert pybuild.run("verify-store").status == 0
    image = pybuild.build(f"{base}{step}\n")
    member = f"{'e' if 'RUN' in step else 'd'}/1"
    expected = first.read_bytes() if first.exists() else None
    assert (image.read(member) if member in image.files else None) == expected


def test_a_file_that_was_written_just_before_is_no_change(pybuild: Pybuild) -> None:
    for number in range(5):
        pybuild.add({"d/f": str(number)})
        assert pybuild.build("FROM scratch\nCOPY d /\n").read("f") == str(number).encode()


def test_beside_a_process_that_always_writes_the_cache_holds_what_it_says(
    pybuild: Pybuild,
) -> None:
    pybuild.add({f"d/{number}": "x" * 5000 for number in range(300)})
    contents = [letter * 5000 for letter in "abcdefg"]
    writer = os.fork()
    if writer == 0:
        while True:
            for content in contents:
                (pybuild.context / "d/7").write_text(content)
                (pybuild.context / "d/8").write_text(content)
    try:
        for _ in range(8):
            ended = pybuild.try_build("FROM scratch\nCOPY d /\n")
            if ended.status:
                assert ended.status == 1
                assert "changed while it was copied" in ended.stderr
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
    for content in (*contents, ""):
        for name in "78":
            (pybuild.context / "d" / name).write_text(content)
        image = pybuild.build("FROM scratch\nCOPY d /\n")
        assert image.read("7") == image.read("8") == content.encode()
