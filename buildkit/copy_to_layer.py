"""Copying into a layer that is written at once: no mount, and no file is made but the tar.

What is copied becomes a tree in memory over the layers below, which are looked at without a mount
(`merged`). The tar is the one that `changeset.pack` writes of the same files copied to an overlay:
directories that are copied into are in it as the layers below have them, with those above them.
The content of a file is read when it is written, so it must still be the file that was seen.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator

from buildkit.changeset import Packed
from buildkit.copying import Attributes, over_directory, over_file, strange_owner
from buildkit.counting import Count
from buildkit.errors import BuildError
from buildkit.merged import Merged, Place
from buildkit.owners import Seen
from buildkit.tarwriter import EndedError, TarWriter
from runtime.image import tar
from runtime.image.xattrs import kept_xattr
from runtime.oci.digest import DiffID
from runtime.oci.spec import User
from runtime.sandbox.rootpath import MAX_LINKS
from runtime.sandbox.userns import in_user_namespace, mapped_ids
from runtime.sandbox.users import MAX_ID, Account
from runtime.store.identity import identity_of_status

_NEW_DIRECTORY = 0o700  # until it is given its attributes
_READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NUMBERS = re.compile(r"([0-9]+)(?::([0-9]+))?", re.ASCII)


class NeedsRootError(Exception):
    """What is asked for cannot be done without the root filesystem as a directory."""


class File:
    """What is no directory; hard links share one."""

    __slots__ = ("attributes", "content", "name", "place", "status")

    def __init__(
        self,
        attributes: Attributes,
        *,
        place: str = "",
        status: os.stat_result | None = None,
        content: bytes = b"",
    ) -> None:
        self.attributes = attributes
        self.place = place  # of the file that was copied
        self.status = status  # which it had then; None: a file of what is in memory
        self.content = content
        self.name = ""  # where it was written first

    @property
    def target(self) -> str | None:
        """Where it leads to, if it is a symlink."""
        if self.status is None or not stat.S_ISLNK(self.status.st_mode):
            return None
        return os.readlink(self.place)


class Folder:
    """A directory: of the layers below, of this one, or of both."""

    __slots__ = ("above", "attributes", "children", "is_written", "lower")

    def __init__(
        self, above: Folder | None, *, lower: Place | None, attributes: Attributes | None = None
    ) -> None:
        self.above = above
        self.lower = lower  # what the layers have there
        self.children: dict[str, Folder | File] = {}  # as far as they were looked at
        self.attributes = attributes  # None: as the layers have it
        self.is_written = False  # it is in the layer

    def write(self) -> None:
        """Have this directory in the layer, and so all that it is in."""
        folder: Folder | None = self
        while folder is not None and not folder.is_written:
            folder.is_written = True
            folder = folder.above


class LayerTarget:
    """A `buildkit.copying.Target` over layers, highest first; nothing in it is after `epoch`."""

    def __init__(self, lowers: tuple[str, ...], epoch: int) -> None:
        self._lowers = Merged(lowers)
        self._epoch = epoch
        self._root = Folder(None, lower=self._lowers.root)
        self._seen = Seen()
        # With a single id an owner stands in the layer alone.
        self._nodes_refused = in_user_namespace()
        mapped = self._nodes_refused and not self._seen.single
        self._maps = (mapped_ids("uid"), mapped_ids("gid")) if mapped else None
        self._owners: set[tuple[int, int]] = set()  # that were found to be mapped

    def pack(self, fd: int, counted: Count | None = None) -> Packed:
        """Write the layer to a descriptor; raises BuildError for a file that has changed."""
        writer = TarWriter(fd, counted)
        count = 0
        for name, node in self._written():
            count += 1
            if isinstance(node, Folder):
                writer.add(self._entry(name, tar.DIRECTORY, self._attributes(node)))
            else:
                self._write_file(writer, name, node)
        return Packed(diff_id=DiffID(writer.finish()), size=writer.size, entries=count)

    def look_up(self, user: str) -> Account:
        """Who a number is, or two; a name needs the root."""
        numbers = _NUMBERS.fullmatch(user)
        if numbers is None:
            raise NeedsRootError
        uid, gid = (int(number or numbers[1]) for number in numbers.groups())
        if max(uid, gid) > MAX_ID:
            raise NeedsRootError  # which says what is wrong
        return Account(user=User(uid=uid, gid=gid))

    def open(self, path: str) -> Folder:
        """The directory at a path, links followed."""
        return self._walk(path, None)

    def make(self, path: str, mode: int, owner: tuple[int, int]) -> Folder:
        """The same, what is missing being made."""
        self._check(path, owner)
        return self._walk(path, Attributes(owner, mode, self._epoch))

    def close(self, folder: Folder) -> None:
        """Nothing is to be closed."""

    def enter(self, folder: Folder, name: str) -> tuple[Folder, bool]:
        """A directory inside another, and whether it had to be made; no link is followed."""
        found = self._child(folder, name)
        if found is None:
            self._write_into(folder)
            made = Folder(
                folder,
                lower=None,
                attributes=Attributes((0, 0), _NEW_DIRECTORY, self._epoch),
            )
            made.write()
            folder.children[name] = made
            return made, True
        if not isinstance(found, Folder):
            raise over_file(name, symlink=_link(found) is not None)
        return found, False

    def is_symlink(self, folder: Folder, name: str) -> bool:
        """Whether there is a symlink in a directory."""
        return _link(self._child(folder, name)) is not None

    def put(
        self,
        folder: Folder,
        name: str,
        place: str,
        status: os.stat_result,
        attributes: Attributes,
    ) -> None:
        """Take a file from a place; it replaces what is there."""
        self._check(name, attributes.owner)
        device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
        # As mknod(2) here, and in an overlay.
        if device and (self._nodes_refused or not status.st_rdev):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), name)
        self._place(folder, name, File(attributes, place=place, status=status))

    def write(self, folder: Folder, name: str, content: bytes, attributes: Attributes) -> None:
        """Take a file whose content is in memory; it replaces what is there."""
        self._check(name, attributes.owner)
        self._place(folder, name, File(attributes, content=content))

    def write_through(self, path: str, place: str, attributes: Attributes) -> None:
        """What a symlink points to keeps what else it has, so it must be there."""
        raise NeedsRootError

    def link(self, top: Folder, first: str, folder: Folder, name: str) -> None:
        """Make a hard link to a file that was put at a path below a folder."""
        found: Folder | File = top
        for part in first.split("/"):
            assert isinstance(found, Folder)
            found = found.children[part]
        assert isinstance(found, File)
        self._place(folder, name, found)

    def set_attributes(self, folder: Folder, attributes: Attributes) -> None:
        """Give a directory attributes; xattrs that it has beside them stay."""
        self._check("a directory", attributes.owner)
        xattrs = dict(self._attributes(folder).xattrs) | dict(attributes.xattrs)
        folder.attributes = attributes._replace(xattrs=tuple(xattrs.items()))
        folder.write()

    def set_mode(self, folder: Folder, mode: int) -> None:
        """Give a directory a mode alone."""
        folder.attributes = self._attributes(folder)._replace(mode=mode)
        folder.write()

    def _child(self, folder: Folder, name: str) -> Folder | File | Place | None:
        """What is in a directory; what is no directory of the layers below is a Place."""
        found = folder.children.get(name)
        if found is not None or folder.lower is None:
            return found
        place = self._lowers.entry(folder.lower, name)
        if not place.layers:
            return None
        if not place.is_directory:
            return place
        found = folder.children[name] = Folder(folder, lower=place)
        return found

    def _walk(self, path: str, made: Attributes | None) -> Folder:
        """The directory at a path; with `made`, what is missing is made, also where links lead."""
        here = self._root
        waiting = _parts(path)
        links = 0
        while waiting:
            name = waiting.pop()
            if name == "..":
                here = here.above or here
                continue
            found = self._child(here, name)
            if found is None:
                if made is None:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
                here, _ = self.enter(here, name)
                here.attributes = made
                continue
            if isinstance(found, Folder):
                here = found
                continue
            target = _link(found)
            if target is None:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                here = self._root
            waiting += _parts(target)
        return here

    def _place(self, folder: Folder, name: str, file: File) -> None:
        if isinstance(self._child(folder, name), Folder):
            raise over_directory(name)
        folder.children[name] = file
        self._write_into(folder)

    def _write_into(self, folder: Folder) -> None:
        """A directory whose entries change has a new time."""
        attributes = folder.attributes or self._attributes(folder)
        if attributes.mtime != self._epoch or folder.attributes is None:
            folder.attributes = attributes._replace(mtime=self._epoch)
        folder.write()

    def _check(self, name: str, owner: tuple[int, int]) -> None:
        """Refuse what chown(2) would refuse."""
        if self._maps is None or owner in self._owners:
            return
        for number, ids in zip(owner, self._maps, strict=True):
            if not any(number in some for some in ids):
                raise strange_owner(name, owner)
        self._owners.add(owner)

    def _written(self) -> Iterator[tuple[str, Folder | File]]:
        """What is in the layer, directories before what is in them, sorted by names' bytes."""
        stack: list[tuple[str, Folder | File]] = [("", self._root)]
        while stack:
            name, node = stack.pop()
            if name:  # the root stays as it is
                yield name, node
            if isinstance(node, Folder):
                prefix = f"{name}/" if name else ""
                for child in sorted(node.children, key=os.fsencode, reverse=True):
                    below = node.children[child]
                    if isinstance(below, File) or below.is_written:
                        stack.append((prefix + child, below))

    def _write_file(self, writer: TarWriter, name: str, file: File) -> None:
        if file.name:
            attributes = file.attributes._replace(xattrs=())
            writer.add(self._entry(name, tar.HARDLINK, attributes, link=file.name))
            return
        file.name = name
        if file.status is None:
            content = file.content
            entry = self._entry(name, tar.REGULAR, file.attributes, size=len(content))
            writer.add(entry, content)
            return
        status = file.status
        match stat.S_IFMT(status.st_mode):
            case stat.S_IFREG:
                entry = self._entry(name, tar.REGULAR, file.attributes, size=status.st_size)
                if status.st_size:
                    _write_content(writer, entry, file.place, status)
                else:
                    writer.add(entry)
            case stat.S_IFLNK:
                target = os.readlink(file.place)
                writer.add(self._entry(name, tar.SYMLINK, file.attributes, link=target))
            case stat.S_IFIFO:
                writer.add(self._entry(name, tar.FIFO, file.attributes))
            case stat.S_IFCHR | stat.S_IFBLK as kind:
                flag = tar.CHARACTER if kind == stat.S_IFCHR else tar.BLOCKDEV
                device = (os.major(status.st_rdev), os.minor(status.st_rdev))
                writer.add(self._entry(name, flag, file.attributes, device=device))
            case _:  # a socket becomes an empty file, as in BuildKit
                writer.add(self._entry(name, tar.REGULAR, file.attributes))

    def _attributes(self, folder: Folder) -> Attributes:
        """What a directory has, if nothing else was said what the layers have there."""
        if folder.attributes is not None:
            return folder.attributes
        assert folder.lower is not None
        path = folder.lower.layers[0] if folder.lower.layers else ""
        if not path:  # the root of nothing
            return Attributes((0, 0), 0o755, 0)
        status = os.lstat(path)
        return Attributes(
            owner=self._seen.of(path, status),
            mode=stat.S_IMODE(status.st_mode),
            mtime=int(status.st_mtime),
            xattrs=tuple(
                (key, os.getxattr(path, key)) for key in os.listxattr(path) if kept_xattr(key)
            ),
        )

    def _entry(
        self,
        name: str,
        kind: str,
        attributes: Attributes,
        *,
        size: int = 0,
        link: str = "",
        device: tuple[int, int] = (0, 0),
    ) -> tar.Entry:
        mode, owner, mtime = attributes.mode, attributes.owner, min(attributes.mtime, self._epoch)
        xattrs = tuple(sorted(attributes.xattrs)) if attributes.xattrs else ()
        return tar.Entry.restore(
            (name, kind, mode, *owner, size, mtime, link, device, xattrs, None)
        )


def _write_content(
    writer: TarWriter, entry: tar.Entry, place: str, status: os.stat_result
) -> None:
    try:
        fd = os.open(place, _READING)
    except FileNotFoundError:
        raise _changed(place) from None
    try:
        writer.add_file(entry, fd)
        if identity_of_status(os.fstat(fd)) != identity_of_status(status):
            raise _changed(place)
    except EndedError:
        raise _changed(place) from None
    finally:
        os.close(fd)


def _changed(place: str) -> BuildError:
    hint = "run the build again when nothing writes to it"
    return BuildError(f"{place}: changed while it was copied", hint=hint)


def _parts(path: str) -> list[str]:
    """The names of a path, last first."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _link(found: Folder | File | Place | None) -> str | None:
    """Where a symlink leads to."""
    match found:
        case File():
            return found.target
        case Place() if stat.S_ISLNK(os.lstat(found.layers[0]).st_mode):
            return os.readlink(found.layers[0])
    return None
