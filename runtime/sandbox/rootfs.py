"""Root filesystems of a container, each attached in the mount namespace of the process that asks.

All mounts are made below `scratch`, any existing directory, in a private mount namespace: they
go with it, and nothing on the host changes.
"""

from __future__ import annotations

import os

from runtime.record import Record
from runtime.sandbox.syscalls import (
    AT_FDCWD,
    MOUNT_ATTR_RDONLY,
    MS_NODEV,
    MS_PRIVATE,
    MS_REC,
    MS_SLAVE,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
)
from runtime.sandbox.userns import in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from runtime.erofs.lower import Index
    from runtime.oci.spec import Spec

    class RootFilesystem(Protocol):
        """Something that a container can have as its `/`."""

        def open_root(self, scratch: str) -> int:
            """Mount it, perhaps below `scratch`, and return a descriptor of its directory."""


# redirect_dir and metacopy would put what only overlayfs understands into the upper directory,
# which becomes a layer. index=off: the same lower directories serve many containers at once.
_OVERLAY_OPTIONS = "index=off,metacopy=off,redirect_dir=off,xino=off"
# userxattr says the first two itself, and conflicts with who says them too.
_USER_OVERLAY_OPTIONS = "index=off,xino=off,userxattr"


class Overlay(Record):
    """Layers below a writable directory (Documentation/filesystems/overlayfs.rst).

    With `upper` None, writes go to a tmpfs that ends with the namespace. `work` must be an empty
    directory beside `upper`.
    """

    lowers: tuple[str | Index, ...]  # absolute paths, or what is to be mounted; highest first
    upper: str | None = None
    work: str | None = None

    def attach(self, scratch: str) -> str:
        """Mount the overlay at `scratch`/root."""
        mount("tmpfs", scratch, "tmpfs", 0, "mode=0700")
        root, upper, work = (os.path.join(scratch, name) for name in ("root", "upper", "work"))
        os.mkdir(root, 0o755)
        # Options must fit in a page, and a colon or comma in a path would end it: short links.
        for number, lower in enumerate(self.lowers):
            place = os.path.join(scratch, str(number))
            if isinstance(lower, str):
                os.symlink(lower, place)
            else:
                os.mkdir(place)
                attach(lower.open(), place)
        if not self.lowers:
            os.mkdir(os.path.join(scratch, "0"), 0o755)
        if self.upper is None or self.work is None:
            os.mkdir(upper, 0o755)
            os.mkdir(work, 0o700)
            if self.lowers:
                self._copy_root_attributes(os.path.join(scratch, "0"), upper)
        else:
            os.symlink(self.upper, upper)
            os.symlink(self.work, work)
        lowerdir = ":".join(str(number) for number in range(max(1, len(self.lowers))))
        before = os.open(".", os.O_PATH | os.O_CLOEXEC)
        os.chdir(scratch)
        common = _USER_OVERLAY_OPTIONS if in_user_namespace() else _OVERLAY_OPTIONS
        options = f"lowerdir={lowerdir},upperdir=upper,workdir=work,{common}"
        # Devices are what the runtime makes in /dev; a node in a layer could be the host's disk.
        mount("overlay", "root", "overlay", MS_NODEV, options)
        os.fchdir(before)
        os.close(before)
        return root

    def open_root(self, scratch: str) -> int:
        """Mount the overlay and open it."""
        return _open_directory(self.attach(scratch))

    def _copy_root_attributes(self, lower: str, upper: str) -> None:
        # The root directory of an overlay is the upper one: it must look as the image's does.
        status = os.stat(lower)
        os.chown(upper, status.st_uid, status.st_gid)
        os.chmod(upper, status.st_mode & 0o7777)


def attach(mounted: int, place: str) -> None:
    """Attach a detached mount at a directory, and close its descriptor."""
    target = os.open(place, os.O_PATH | os.O_CLOEXEC)
    move_mount(mounted, target)
    os.close(target)
    os.close(mounted)


class Bind(Record):
    """A directory or file seen at another place (or at its own, with other rights)."""

    destination: str  # absolute; made if it is missing
    source: str
    readonly: bool = False


class Directory(Record):
    """A directory as it is, with the mounts below it; perhaps read-only but for some binds."""

    path: str
    readonly: bool = False
    binds: tuple[Bind, ...] = ()  # made in order, over the rest

    def attach(self, scratch: str) -> str:
        """Bind the directory at `scratch`."""
        # All sources are opened first: a bind may hide the source of a later one.
        sources = [(scratch, self.path, self.readonly)]
        for bind in self.binds:
            inside = os.path.relpath(bind.destination, self.path)
            sources.append((os.path.join(scratch, inside), bind.source, bind.readonly))
        trees = [_tree(source, readonly=readonly) for _, source, readonly in sources]
        for (destination, source, _), tree in zip(sources, trees, strict=True):
            if not os.path.lexists(destination):
                _make_place(destination, directory=os.path.isdir(source))
            target = os.open(destination, os.O_PATH | os.O_CLOEXEC)
            move_mount(tree, target)
            os.close(target)
            os.close(tree)
        return scratch

    def open_root(self, scratch: str) -> int:
        """Bind the directory and open it."""
        return _open_directory(self.attach(scratch))


class Unpacked(Record):
    """The root of a bundle: a directory as it is, with the mounts below it.

    It is mounted over the old root, the one place that every process can reach: a path of the
    host may be closed to the ids of the container's user namespace.
    """

    path: str
    tree: int | None = None  # of it, opened by who could reach it
    own_mounts: bool = True  # False: the mounts are the caller's, and nothing is mounted

    def open_root(self, scratch: str) -> int:
        """Mount the directory and return the descriptor of the mount."""
        if not self.own_mounts:
            return _open_directory(self.path)
        tree = self.tree
        if tree is None:
            tree = open_tree(AT_FDCWD, self.path, recursive=True)
        target = os.open("/", os.O_PATH | os.O_CLOEXEC)
        move_mount(tree, target)
        os.close(target)
        return tree


def _open_directory(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _tree(path: str, *, readonly: bool) -> int:
    tree = open_tree(AT_FDCWD, path, recursive=True)
    if readonly:
        mount_setattr(tree, set_attributes=MOUNT_ATTR_RDONLY, recursive=True)
    return tree


def _make_place(path: str, *, directory: bool) -> None:
    os.makedirs(path if directory else os.path.dirname(path), exist_ok=True)
    if not directory:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def make_private() -> None:
    """Let no mount event of this namespace reach another one, nor the reverse."""
    mount("", "/", "", MS_REC | MS_PRIVATE)


def set_propagation(spec: Spec) -> None:
    """Cut a new mount namespace off from the host's, as far as the spec wants it to be.

    Nothing ever goes back to the host by the mounts that are there already. A root that is to be
    shared or a slave must stay one for events that come from the host.
    """
    if spec.rootfs_propagation.removeprefix("r") in ("slave", "shared"):
        mount("", "/", "", MS_REC | MS_SLAVE)
    else:
        make_private()
