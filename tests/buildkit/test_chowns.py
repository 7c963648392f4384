"""chown(2) in all its forms, by a process that is asked about; what it gets, and what is noted."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from buildkit.chowns import _KINDS, Chowns
from buildkit.owners import Owners
from buildkit.processes import await_any, await_end
from runtime.image.xattrs import noted_owner
from runtime.seccomp.constants import ARCHITECTURES
from runtime.seccomp.installing import _ARCHITECTURES, _CHOWN
from runtime.seccomp.listener import listening_installer
from runtime.seccomp.numbers import numbers_of

pytestmark = pytest.mark.needs_root  # without it a filter needs no_new_privs

_libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH = -100, 0x100, 0x1000

_CLOSED = 999  # a descriptor that nobody has


def _asked(root: Path, function: Callable[[], object]) -> tuple[Chowns, Owners]:
    """Call a function in a child whose chown(2) is answered here; it must not raise."""
    owners = Owners()
    chowns = Chowns(owners, root=str(root), upper=str(root), fresh=True)
    entry = chowns.entry
    child = os.fork()
    if child == 0:
        _be_asked(entry.seccomp, entry.seccomp_unheard, entry.listener, function)
    try:
        chowns.begin()
        assert chowns.unheard == 0
        while chowns.fd >= 0:
            await_any([chowns.fd])
            chowns.attend()
        assert await_end(child) == 0
    finally:
        chowns.close()
    return chowns, owners


def _be_asked(
    program: bytes, unheard: bytes, channel: int, function: Callable[[], object]
) -> NoReturn:
    status = 1
    try:
        listening_installer(program, unheard, channel)()
        os.close(channel)
        function()
        status = 0
    except BaseException as error:
        os.write(2, f"{error!r}\n".encode())
    finally:
        os._exit(status)


def _fchownat(fd: int, path: bytes | None, uid: int, gid: int, flags: int) -> int:
    """The errno of fchownat(2), 0 if it went well."""
    pointer = ctypes.c_char_p(path) if path is not None else ctypes.c_void_p(8)
    failed = _libc.fchownat(fd, pointer, ctypes.c_uint(uid), ctypes.c_uint(gid), flags)
    return ctypes.get_errno() if failed else 0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with a file, a directory, a symlink to the file, and one to nothing."""
    (tmp_path / "file").write_text("1")
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("none")
    return tmp_path


def _owner(root: Path, name: str) -> tuple[int, int] | None:
    status = os.lstat(root / name)
    assert (status.st_uid, status.st_gid) == (0, 0)  # nothing was done
    return noted_owner(str(root / name))


def test_every_form_is_noted_on_the_file_that_it_means(root: Path) -> None:
    for name in ("by-fd", "by-dir", "by-cwd", "by-empty", "by-proc", "by-link"):
        (root / name).write_text("1")
    (root / "to").symlink_to("by-link")

    def give() -> None:
        os.chdir(root / "dir")
        folder = os.open(root, os.O_PATH)
        file = os.open(root / "by-fd", os.O_RDONLY)
        os.chown(root / "file", 1, 2)
        os.chown(file, 3, 4)
        os.chown("by-dir", 5, 6, dir_fd=folder)
        os.chown("../by-cwd", 7, 8)
        empty = os.open(root / "by-empty", os.O_PATH)
        assert _fchownat(empty, b"", 9, 10, AT_EMPTY_PATH) == 0
        proc = os.open(root / "by-proc", os.O_RDONLY)
        os.chown(f"/proc/self/fd/{proc}", 11, 12)
        os.chown(root / "to", 13, 14)
        assert _fchownat(AT_FDCWD, b"", 15, 16, AT_EMPTY_PATH) == 0

    _asked(root, give)
    found = {name: _owner(root, name) for name in os.listdir(root)}
    assert found == {
        "file": (1, 2),
        "by-fd": (3, 4),
        "by-dir": (5, 6),
        "by-cwd": (7, 8),
        "by-empty": (9, 10),
        "by-proc": (11, 12),
        "by-link": (13, 14),
        "dir": (15, 16),
        "to": None,
        "link": None,
        "dangling": None,
    }


def test_a_half_that_is_left_out_stays_as_it_was(root: Path) -> None:
    def give() -> None:
        os.chown(root / "file", 5, 6)
        os.chown(root / "file", -1, 7)
        os.chown(root / "file", 8, -1)
        os.chown(root / "dir", -1, 9)

    _asked(root, give)
    assert _owner(root, "file") == (8, 7)
    assert _owner(root, "dir") == (0, 9)


def test_who_is_given_back_to_root_is_roots(root: Path) -> None:
    def give() -> None:
        os.chown(root / "file", 5, 6)
        os.chown(root / "file", 0, 0)
        os.chown(root / "dir", 0, 0)

    _asked(root, give)
    assert _owner(root, "file") == (0, 0)
    assert _owner(root, "dir") is None  # its package's word counts


def test_what_bears_no_note_is_known_by_its_inode(root: Path) -> None:
    os.mkfifo(root / "fifo")

    def give() -> None:
        os.chown(root / "link", 5, 6, follow_symlinks=False)
        os.chown(root / "link", -1, 7, follow_symlinks=False)
        os.rename(root / "link", root / "moved")
        os.chown(root / "fifo", 8, 9)

    _, owners = _asked(root, give)
    found = [owners.of(str(root / n), n, os.lstat(root / n)) for n in ("moved", "fifo", "file")]
    assert found == [(5, 7), (8, 9), (0, 0)]


def test_set_id_bits_go_as_they_do_with_an_owner(root: Path) -> None:
    def give() -> None:
        os.chmod(root / "file", 0o6755)
        os.chown(root / "file", 5, 6)
        os.chmod(root / "dir", 0o2755)
        os.chown(root / "dir", 5, 6)

    _asked(root, give)
    assert os.stat(root / "file").st_mode & 0o7777 == 0o755
    assert os.stat(root / "dir").st_mode & 0o7777 == 0o2755


@pytest.mark.parametrize("owner", [(5, 6), (0, 0)])
def test_errors_are_those_of_the_kernel(root: Path, owner: tuple[int, int]) -> None:
    (root / "loop").symlink_to("loop")
    cases = {
        (AT_FDCWD, b"none", 0): errno.ENOENT,
        (AT_FDCWD, b"", 0): errno.ENOENT,
        (AT_FDCWD, b"file/none", 0): errno.ENOTDIR,
        (AT_FDCWD, b"file/", 0): errno.ENOTDIR,
        (AT_FDCWD, b"dangling", 0): errno.ENOENT,
        (AT_FDCWD, b"loop", 0): errno.ELOOP,
        (AT_FDCWD, b"x" * 300, 0): errno.ENAMETOOLONG,
        (AT_FDCWD, b"x/" * 3000, 0): errno.ENAMETOOLONG,
        (AT_FDCWD, b"file", 0x4000): errno.EINVAL,
        (AT_FDCWD, None, 0): errno.EFAULT,
        (_CLOSED, b"file", 0): errno.EBADF,
        (0, b"file", 0): errno.ENOTDIR,
        (_CLOSED, b"", AT_EMPTY_PATH): errno.EBADF,
        (_CLOSED, b"/file/none", 0): errno.ENOENT,
        (AT_FDCWD, b"dangling", AT_SYMLINK_NOFOLLOW): 0,
    }

    def fail() -> None:
        os.chdir(root)
        for (fd, path, flags), expected in cases.items():
            found = _fchownat(fd, path, *owner, flags)
            assert found == expected, (fd, path, flags, errno.errorcode.get(found))
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fchown(_CLOSED, *owner)

    chowns, _ = _asked(root, fail)
    assert chowns.unknown == []
    assert _owner(root, "file") is None


def test_paths_mean_what_they_mean_in_the_root_of_who_asks(root: Path) -> None:
    (root / "new").mkdir()
    (root / "new/file").write_text("1")
    (root / "new/link").symlink_to("/file")
    (root / "new/inner").mkdir()

    def give() -> None:
        os.chroot(root / "new")
        os.chdir("/inner")
        os.chown("../../../link", 5, 6)

    _asked(root, give)
    assert _owner(root, "new/file") == (5, 6)
    assert _owner(root, "file") is None


def test_threads_and_processes_are_asked_alike(root: Path) -> None:
    names = [f"many-{number}" for number in range(100)]
    for name in names:
        (root / name).write_text("1")

    def give() -> None:
        threads = [
            threading.Thread(target=os.chown, args=(root / name, 5, 6)) for name in names[:50]
        ]
        for thread in threads:
            thread.start()
        children = []
        for name in names[50:]:
            child = os.fork()
            if child == 0:
                os.chown(root / name, 5, 6)
                os._exit(0)
            children.append(child)
        for thread in threads:
            thread.join()
        assert {os.waitpid(child, 0)[1] for child in children} == {0}

    _asked(root, give)
    assert {_owner(root, name) for name in names} == {(5, 6)}


def test_nothing_waits_for_the_disk(root: Path) -> None:
    def sync() -> None:
        assert _libc.fsync(99) == 0  # EBADF, if the kernel had been asked

    _asked(root, sync)


@pytest.mark.parametrize("name", [name for names in _ARCHITECTURES.values() for name in names])
def test_every_number_that_is_asked_about_is_known(name: str) -> None:
    numbers = {numbers_of(call, name).direct for call in _CHOWN} - {None}
    # x32 is x86-64 to the kernel.
    assert numbers <= set(_KINDS[ARCHITECTURES[name.replace("X32", "X86_64")]])
