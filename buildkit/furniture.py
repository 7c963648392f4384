"""What a step needs in a root filesystem that nothing can be mounted on: put there for the time
of the step, and taken away so that none of it is in the layer.

`/dev`, `/proc` and `/sys` of the tree give way to new ones, as they do under a mount; so does what
is at the place of each file that is supplied, or of what is moved there. Afterwards all of it is
back, with its times. What the step writes into a supplied file is lost, as under a mount; a file
that it puts in the place of one (which a mount would not let it) stays.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

from buildkit.errors import BuildError
from buildkit.tree_state import TreeState
from runtime.record import Record
from runtime.sandbox import devices
from runtime.sandbox.rootpath import open_in_root
from runtime.store.workspace import remove_tree

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
# They lead nowhere, as there is no procfs: what opens one gets an error, and makes no file. There
# is no devpts either, so no ptmx.
_LINKS = tuple(link for link in devices.LINKS if link[0] != "ptmx")


class _Place:
    """A directory of the tree that things are put into."""

    def __init__(self, name: str, fd: int, *, made: bool) -> None:
        self.name = name  # below the root
        self.fd = fd
        self.made = made  # by us
        self.before = os.fstat(fd)  # as the image has it
        self.after: os.stat_result | None = None  # with our things in it


class _Piece(Record):
    """One thing that was put into a place."""

    place: _Place
    name: str
    aside: str | None  # where that is which it stands for
    source: str | None = None  # where it was moved from, and goes back to
    file: int | None = None  # open, so that no other file can get its inode's number


class Furniture:
    """Devices, empty directories and files in one tree."""

    def __init__(
        self,
        state: TreeState,
        root: str,
        aside: str,
        files: Mapping[str, str],
        given: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Put it there; `aside` is a new directory on the same filesystem.

        `files` are contents by path (`/etc/hosts`), `given` by path what is moved there; `state`
        is what the tree is now.
        """
        self._state = state
        self._root = os.path.realpath(root)
        self._aside = aside
        self._places: dict[str, _Place] = {}
        self._pieces: list[_Piece] = []
        self._root_fd = os.open(root, _DIRECTORY | os.O_CLOEXEC)
        top = self._place("/")
        for name, mode in (("dev", 0o755), ("proc", 0o555), ("sys", 0o555)):
            self._put_directory(top, name, mode)
        _make_devices(f"{self._root}/dev")
        for path, content in files.items():
            folder, _, name = path.rpartition("/")
            self._put_file(self._place(folder or "/"), name, content)
        for path, source in given.items():
            folder, _, name = path.rpartition("/")
            self._move_in(self._place(folder or "/"), name, source)
        for place in self._places.values():
            place.after = os.fstat(place.fd)

    def remove(self) -> None:
        """Take it away; the state then knows of no change but those of the step."""
        untouched = {place.name for place in self._places.values() if not place.made}
        times = {}
        for place in self._places.values():
            now, after = os.fstat(place.fd), place.after
            assert after is not None
            if now.st_ctime_ns != after.st_ctime_ns:
                untouched.discard(place.name)
            same = now.st_mtime_ns == after.st_mtime_ns
            times[place.name] = place.before.st_mtime_ns if same else now.st_mtime_ns
        restored = [name for piece in reversed(self._pieces) if (name := self._take_back(piece))]
        for place in reversed(self._places.values()):
            if place.made:
                self._remove_if_empty(place)
        for place in self._places.values():
            if os.fstat(place.fd).st_nlink:  # else it was deleted
                os.utime(place.fd, ns=(times[place.name], times[place.name]))
        for name in (*untouched, *restored):
            if self._state.knows(name) and os.path.lexists(f"{self._root}/{name}"):
                self._state.refresh(name)
        self._state.settle()
        self._close()
        remove_tree(self._aside)

    def _close(self) -> None:
        files = [piece.file for piece in self._pieces if piece.file is not None]
        for fd in (*files, *(place.fd for place in self._places.values()), self._root_fd):
            os.close(fd)

    def _place(self, path: str) -> _Place:
        """The directory at a path of the image, whatever links lead there; made if missing."""
        try:
            fd = open_in_root(self._root_fd, path, _DIRECTORY)
            made = False
        except FileNotFoundError:
            folder, _, last = path.rstrip("/").rpartition("/")
            above = self._place(folder or "/")
            if target := _link_target(above, last):  # a link to nothing: /var/run, and no /run
                return self._place(os.path.join("/", above.name, target))
            fd, made = _make_place(above, last), True
        except OSError as error:
            raise BuildError(f"{path} of the image: {error.strerror}") from error
        real = os.readlink(f"/proc/self/fd/{fd}")
        name = "" if real == self._root else os.path.relpath(real, self._root)
        if name in self._places:
            os.close(fd)
        else:
            self._places[name] = _Place(name, fd, made=made)
        return self._places[name]

    def _put_directory(self, place: _Place, name: str, mode: int) -> None:
        aside = self._move_aside(place, name)
        os.mkdir(name, mode, dir_fd=place.fd)
        os.chmod(name, mode, dir_fd=place.fd)
        self._pieces.append(_Piece(place=place, name=name, aside=aside))

    def _put_file(self, place: _Place, name: str, content: str) -> None:
        aside = self._move_aside(place, name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(name, flags, 0o644, dir_fd=place.fd)
        with open(fd, "wb", closefd=False) as file:
            file.write(content.encode("utf-8", "surrogateescape"))
        os.fchmod(fd, 0o644)
        self._pieces.append(_Piece(place=place, name=name, aside=aside, file=fd))

    def _move_in(self, place: _Place, name: str, source: str) -> None:
        aside = self._move_aside(place, name)
        os.rename(source, name, dst_dir_fd=place.fd)
        self._pieces.append(_Piece(place=place, name=name, aside=aside, source=source))

    def _move_aside(self, place: _Place, name: str) -> str | None:
        aside = f"{self._aside}/{len(self._pieces)}"
        try:
            os.rename(name, aside, src_dir_fd=place.fd)
        except FileNotFoundError:
            return None
        return aside

    def _take_back(self, piece: _Piece) -> str | None:
        """Remove a piece and put back what it stood for; its name if that is as it was."""
        fd = piece.place.fd
        if os.fstat(fd).st_nlink == 0:  # the step deleted the directory
            return None
        try:
            now = os.stat(piece.name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            now = None
        if piece.file is not None:
            if now is None or not os.path.samestat(now, os.fstat(piece.file)):
                return None  # the step wants it otherwise
            os.unlink(piece.name, dir_fd=fd)
        elif now is not None and piece.source is not None:
            os.rename(piece.name, piece.source, src_dir_fd=fd)
        elif now is not None and stat.S_ISDIR(now.st_mode):
            remove_tree(f"{self._root}/{piece.name}")
        elif now is not None:
            os.unlink(piece.name, dir_fd=fd)
        if piece.aside is None:
            return None
        os.rename(piece.aside, piece.name, dst_dir_fd=fd)
        return f"{piece.place.name}/{piece.name}" if piece.place.name else piece.name

    def _remove_if_empty(self, place: _Place) -> None:
        with suppress(OSError):  # the step put something into it, or deleted it
            os.rmdir(f"{self._root}/{place.name}")


def _link_target(above: _Place, name: str) -> str:
    try:
        return os.readlink(name, dir_fd=above.fd)
    except OSError:  # missing, or no link
        return ""


def _make_place(above: _Place, name: str) -> int:
    os.mkdir(name, 0o755, dir_fd=above.fd)
    os.chmod(name, 0o755, dir_fd=above.fd)
    return os.open(name, _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above.fd)


def _make_devices(dev: str) -> None:
    """The default devices, as far as this process may make them."""
    for device in devices.DEFAULT:
        name = device.path.removeprefix("/dev/")
        path = f"{dev}/{name}"
        try:
            os.mknod(path, 0o020666, os.makedev(device.major, device.minor))
            os.chmod(path, 0o666)
            os.close(os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
        except OSError:
            # No MKNOD, no right to the device, or a filesystem mounted nodev. A tty that cannot be
            # opened is usual: there is no terminal.
            if name != "tty" and os.path.lexists(path):
                os.unlink(path)
            if name == "null":  # what is written to it goes with it, and it begins empty
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC))
                os.chmod(path, 0o666)
    for name, target in _LINKS:
        os.symlink(target, f"{dev}/{name}")
    for name, mode in (("pts", 0o755), ("shm", 0o1777)):
        os.mkdir(f"{dev}/{name}")
        os.chmod(f"{dev}/{name}", mode)
