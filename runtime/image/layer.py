"""Applying one layer to an empty directory, in the form that overlayfs stacks or in another one.

What becomes of whiteouts is in `whiteouts`. Every object is made relative to a directory
descriptor that was resolved inside the root, so no entry can reach outside, whatever links came
before it.
"""

from __future__ import annotations

import os

from runtime.errors import ImageError
from runtime.image import tar
from runtime.image.whiteouts import OPAQUE, WHITEOUT, OverlayForm, find_below
from runtime.image.xattrs import OWNER, kept_xattr, set_xattrs, with_note
from runtime.sandbox.capabilities import holds
from runtime.sandbox.rootpath import open_in_root
from runtime.sandbox.userns import has_single_id, in_user_namespace, mapped_ids

_CHUNK = 1 << 20
_DIRECTORY = os.O_PATH | os.O_DIRECTORY


def apply_layer(
    layer: tar.Stream,
    root: str,
    lowers: tuple[str, ...],
    where: str,
    form: OverlayForm | None = None,
    *,
    notes: bool = False,
) -> None:
    """Extract a layer into the empty directory `root`, which is to lie over `lowers`.

    `lowers` (highest first) give directories that the layer implies without listing them their
    attributes. Without MKNOD, as in a user namespace, device nodes are left out; what belongs to
    ids that a user namespace does not have belongs to its root, without set-id bits. With `notes`
    a user namespace of a single id notes the owner (`xattrs`), for a directory in the store.
    Raises ImageError; what came before the error stays extracted.
    """
    with LayerRoot(root) as root_fd:
        owners = Owners(notes=notes)
        extraction = Extraction(layer, root_fd, lowers, where, form or OverlayForm(), owners)
        for entry in tar.entries(layer, where):
            extraction.take(entry)
        extraction.finish()


def failure(error: OSError, where: str) -> Exception:
    """An error as what it is: the image's, or that there is no room."""
    if error.errno in (28, 122):  # ENOSPC, EDQUOT
        return error
    return ImageError(f"{where}: {error.strerror}")


class LayerRoot:
    """The directory of a layer as a descriptor, with umask 0, and without the host's ACLs."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> int:
        self._fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._umask = os.umask(0)
        for key in ("system.posix_acl_default", "system.posix_acl_access"):
            try:
                os.removexattr(self._fd, key)
            except OSError:  # it has none, or there are none here
                pass
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.umask(self._umask)
        os.close(self._fd)


class Owners:
    """The pairs of ids that files can have in this user namespace."""

    def __init__(self, *, notes: bool = False) -> None:
        """With `notes`, a single id is made up for by notes on files."""
        self._uids, self._gids = mapped_ids("uid"), mapped_ids("gid")
        self._found: dict[tuple[int, int], bool] = {}
        self._notes = notes and has_single_id()

    def known(self, uid: int, gid: int) -> bool:
        """Whether both ids mean anything."""
        found = self._found.get((uid, gid))
        if found is None:
            found = any(uid in ids for ids in self._uids) and any(gid in ids for ids in self._gids)
            self._found[uid, gid] = found
        return found

    def xattrs(
        self, kind: str, uid: int, gid: int, xattrs: tuple[tuple[str, bytes], ...]
    ) -> tuple[tuple[str, bytes], ...]:
        """What a member has, for `set_xattrs`."""
        noted = self._notes and kind in (tar.REGULAR, tar.DIRECTORY) and not self.known(uid, gid)
        return with_note(xattrs, (uid, gid) if noted else None) if xattrs or noted else ()


class Extraction:
    """A layer on its way into a directory: its members in their order, then what comes last."""

    def __init__(
        self,
        layer: tar.Stream,
        root_fd: int,
        lowers: tuple[str, ...],
        where: str,
        form: OverlayForm,
        owners: Owners,
    ):
        """`layer` is where the contents of files are read from."""
        self._layer = layer
        self._form = form
        self._root_fd = root_fd
        self._lowers = lowers
        self._where = where
        self._owners = owners
        self._directory_times: dict[str, int] = {}
        self._whiteouts: list[str] = []
        self._hidden: set[str] = set()  # directories that show nothing of the layers below
        self._parent = ""
        self._parent_fd = os.dup(root_fd)
        self._inherit(root_fd, "")  # a layer need not say what its root is

    def take(self, entry: tar.Entry) -> None:
        """Make what a member says."""
        try:
            self._extract(self._with_known_owner(entry))
        except OSError as error:
            raise failure(error, f"{self._where}: {entry.name}") from error

    def finish(self) -> None:
        """Do what has to wait for the last member: whiteouts, and the times of directories."""
        os.close(self._parent_fd)
        if "" in self._hidden:  # overlayfs merges the roots of layers, whatever is said of them
            self._whiteouts += {n for lower in self._lowers for n in os.listdir(lower)}
        for path in sorted(self._whiteouts):  # directories first
            try:
                self._white_out(path)
            except OSError as error:
                raise ImageError(f"{self._where}: whiteout of {path}: {error.strerror}") from error
        # Last, and deepest first: making an entry changes its directory's time.
        for path, mtime in sorted(self._directory_times.items(), reverse=True):
            try:
                fd = open_in_root(self._root_fd, path or ".", _DIRECTORY)
            except OSError:  # was reached through a symlink that a later entry replaced
                continue
            os.utime(f"/proc/self/fd/{fd}", (mtime, mtime))
            os.close(fd)

    def _with_known_owner(self, entry: tar.Entry) -> tar.Entry:
        xattrs = self._owners.xattrs(entry.kind, entry.uid, entry.gid, entry.xattrs)
        if self._owners.known(entry.uid, entry.gid):
            return entry if xattrs == entry.xattrs else entry.replace(xattrs=xattrs)
        return entry.replace(uid=0, gid=0, mode=entry.mode & 0o1777, xattrs=xattrs)

    def _extract(self, entry: tar.Entry) -> None:
        path = tar.inside_root(entry.name, self._where)
        parent, _, name = path.rpartition("/")
        if not path:
            if entry.kind != tar.DIRECTORY:
                raise ImageError(f"{self._where}: the root entry is not a directory")
            self._set_attributes(self._root_fd, ".", entry)
            self._directory_times[""] = entry.mtime
        elif name.startswith(WHITEOUT):
            self._note_whiteout(parent, name)
            self._layer.skip(entry.size + tar.padding(entry.size))
        else:
            self._make(self.open_parent(parent), name, path, entry)

    def open_parent(self, parent: str) -> int:
        """Open a directory, which is made if the layer only implies it."""
        # Entries of one directory follow each other: one remembered descriptor serves nearly all.
        if parent != self._parent:
            fd = self._open_directory(parent)
            os.close(self._parent_fd)
            self._parent, self._parent_fd = parent, fd
        return self._parent_fd

    def _open_directory(self, path: str) -> int:
        parts = path.split("/") if path else []
        have = len(parts)
        while True:
            try:
                fd = open_in_root(self._root_fd, "/".join(parts[:have]) or ".", _DIRECTORY)
                break
            except FileNotFoundError:
                have -= 1  # ends at the root itself
        for end in range(have, len(parts)):
            above_fd = fd
            try:
                os.mkdir(parts[end], 0o755, dir_fd=above_fd)
                flags = _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                fd = os.open(parts[end], flags, dir_fd=above_fd)
            finally:
                os.close(above_fd)
            self._inherit(fd, "/".join(parts[: end + 1]))
        return fd

    def _inherit(self, fd: int, path: str) -> None:
        """Give a directory that the layer only implies the attributes that it has below."""
        below = find_below(self._lowers, path)
        status = None if below is None else os.lstat(below)
        if below is None or status is None or status.st_mode & 0o170000 != 0o040000:
            self._directory_times.setdefault(path, 0)
            return
        place = f"/proc/self/fd/{fd}"
        os.chown(place, status.st_uid, status.st_gid)
        for key in os.listxattr(below):
            if kept_xattr(key) or key == OWNER:
                os.setxattr(place, key, os.getxattr(below, key))
        os.chmod(place, status.st_mode & 0o7777)
        self._directory_times.setdefault(path, int(status.st_mtime))

    def _make(self, parent_fd: int, name: str, path: str, entry: tar.Entry) -> None:
        self._clear(parent_fd, name, keep_directory=entry.kind == tar.DIRECTORY)
        match entry.kind:
            case tar.REGULAR:
                self._make_file(parent_fd, name, entry)
                return
            case tar.DIRECTORY:
                try:
                    os.mkdir(name, 0o700, dir_fd=parent_fd)
                except FileExistsError:
                    pass
                self._directory_times[path] = entry.mtime
            case tar.SYMLINK:
                os.symlink(entry.link, name, dir_fd=parent_fd)
            case tar.HARDLINK:
                self._make_hard_link(parent_fd, name, entry)
                return
            case _:
                try:
                    self._make_node(parent_fd, name, entry)
                except PermissionError:
                    # The container's /dev has the devices that it may have.
                    if in_user_namespace() or not holds("MKNOD"):
                        return
                    raise
        self._set_attributes(parent_fd, name, entry)

    def _clear(self, parent_fd: int, name: str, *, keep_directory: bool) -> None:
        """Remove what an earlier entry of the same layer made: the last one wins."""
        try:
            status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        if status.st_mode & 0o170000 != 0o040000:
            os.unlink(name, dir_fd=parent_fd)
        elif not keep_directory:
            raise ImageError(f"{self._where}: {name}: replaces a directory of the same layer")

    def _make_file(self, parent_fd: int, name: str, entry: tar.Entry) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=parent_fd)
        try:
            left = entry.size
            while left:
                chunk = self._layer.read(min(left, _CHUNK))
                if not chunk:
                    raise ImageError(f"{self._where}: {entry.name}: truncated")
                left -= len(chunk)
                while chunk:
                    chunk = chunk[os.write(fd, chunk) :]
            self._layer.skip(tar.padding(entry.size))
            os.fchown(fd, entry.uid, entry.gid)
            # After chown, which clears file capabilities and set-uid bits.
            set_xattrs(fd, entry.xattrs)
            os.fchmod(fd, entry.mode)
            os.utime(fd, (entry.mtime, entry.mtime))
        finally:
            os.close(fd)

    def _make_hard_link(self, parent_fd: int, name: str, entry: tar.Entry) -> None:
        target = tar.inside_root(entry.link, self._where)
        above, _, target_name = target.rpartition("/")
        try:
            above_fd = open_in_root(self._root_fd, above or ".", _DIRECTORY)
            try:
                os.link(
                    target_name,
                    name,
                    src_dir_fd=above_fd,
                    dst_dir_fd=parent_fd,
                    follow_symlinks=False,
                )
            finally:
                os.close(above_fd)
        except FileNotFoundError:
            raise ImageError(
                f"{self._where}: {entry.name}: hard link to {entry.link}, not in the layer"
            ) from None

    def _make_node(self, parent_fd: int, name: str, entry: tar.Entry) -> None:
        if entry.kind == tar.FIFO:
            os.mkfifo(name, 0o600, dir_fd=parent_fd)
            return
        if entry.device == (0, 0) and entry.kind == tar.CHARACTER:
            raise ImageError(f"{self._where}: {entry.name}: device 0/0 is overlayfs's whiteout")
        kind = 0o020000 if entry.kind == tar.CHARACTER else 0o060000
        os.mknod(name, kind | 0o600, os.makedev(*entry.device), dir_fd=parent_fd)

    def _set_attributes(self, parent_fd: int, name: str, entry: tar.Entry) -> None:
        os.chown(name, entry.uid, entry.gid, dir_fd=parent_fd, follow_symlinks=False)
        place = f"/proc/self/fd/{parent_fd}/{name}"
        set_xattrs(place, entry.xattrs, follow=False)
        # chmod after chown: chown(2) clears set-uid bits. A symlink has no mode of its own.
        if entry.kind != tar.SYMLINK:
            os.chmod(place, entry.mode)
        if entry.kind != tar.DIRECTORY:
            times = (entry.mtime, entry.mtime)
            os.utime(name, times, dir_fd=parent_fd, follow_symlinks=False)

    def _note_whiteout(self, parent: str, name: str) -> None:
        if name == OPAQUE:
            self._form.make_opaque(self.open_parent(parent))
            self._hidden.add(parent)
        elif name == WHITEOUT or name in (".wh..", ".wh..."):
            raise ImageError(f"{self._where}: {parent}/{name}: whiteout without a name")
        elif not name.startswith(".wh..wh."):  # AUFS's own records mean nothing here
            hidden = name[len(WHITEOUT) :]
            self._whiteouts.append(f"{parent}/{hidden}" if parent else hidden)

    def _white_out(self, path: str) -> None:
        """Hide what lower layers have at `path`, but never an entry of this layer."""
        # What lies in something that is hidden is hidden. Where overlayfs has nothing to merge it
        # would show the whiteout itself.
        above = path.rpartition("/")[0]
        while above:
            if above in self._hidden:
                return
            above = above.rpartition("/")[0]
        is_below = find_below(self._lowers, path) is not None
        parent, _, name = path.rpartition("/")
        try:
            if is_below:
                parent_fd = self._open_directory(parent)
            else:
                parent_fd = open_in_root(self._root_fd, parent or ".", _DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            if is_below:
                self._form.hide(parent_fd, name)
                self._hidden.add(path)
        else:
            if status.st_mode & 0o170000 == 0o040000:
                self._form.make_opaque(parent_fd, name)
                self._hidden.add(path)
        finally:
            os.close(parent_fd)
