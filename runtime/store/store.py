"""The store: blobs by digest, unpacked layers by ChainID, names, and room for work in progress.

    version                     format of the store
    blobs/sha256/<hex>          verified content
    layers/<chain hex>/fs       an applied layer, in overlayfs's form
    images/<quoted name>        Descriptor of the image's manifest
    cache/<key>                 the builder's records
    tmp/<pid>-<random>/         one process's work, locked while that process lives
    mnt                         empty; a place for mounts in private namespaces

Everything is made under tmp and renamed into place, so what has a name is complete; kill -9 at
any moment leaves only a tmp directory, which the next process sweeps. Many processes may share a
store.
"""

from __future__ import annotations

import errno
import fcntl
import os

from runtime.errors import StoreError
from runtime.image.layer import apply_layer
from runtime.oci.digest import ChainID, chain_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.image.archive import Image
    from runtime.oci.digest import Digest

FORMAT = "1"
_FOLDERS = ("blobs/sha256", "layers", "images", "cache", "tmp", "mnt")


def default_root() -> str:
    """Where the store is: PYBUILD_ROOT, else /var/lib/pybuild or $XDG_DATA_HOME/pybuild.

    To be asked before `become_root`: afterwards everybody looks like root.
    """
    named = os.environ.get("PYBUILD_ROOT")
    if named:
        return os.path.abspath(named)
    if os.geteuid() == 0:
        return "/var/lib/pybuild"
    home = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(home, "pybuild")


class Store:
    """A store that exists and has this program's format."""

    def __init__(self, root: str):
        """Open the store at `root`, making it if it is missing; raises StoreError."""
        self.root = os.path.abspath(root)
        try:
            with open(f"{self.root}/version", encoding="ascii") as version:
                found = version.read().strip()
        except FileNotFoundError:
            self._create()
        except OSError as error:
            raise StoreError(f"{self.root}: {error.strerror}") from error
        else:
            if found != FORMAT:
                raise StoreError(
                    f"{self.root}: store of format {found!r}, this program reads {FORMAT!r}"
                )

    def _create(self) -> None:
        try:
            for folder in _FOLDERS:
                os.makedirs(f"{self.root}/{folder}", mode=0o755, exist_ok=True)
            # The layers hold set-uid programs of strangers: nobody else may reach them.
            os.chmod(self.root, 0o700)
            write_atomically(f"{self.root}/version", f"{FORMAT}\n".encode())
        except OSError as error:
            raise StoreError(
                f"{self.root}: {error.strerror}", hint="PYBUILD_ROOT names another place"
            ) from error

    @property
    def scratch(self) -> str:
        """An empty directory to mount on, in a private mount namespace."""
        return f"{self.root}/mnt"

    def blob(self, digest: Digest) -> str:
        """Path of a blob, there or not."""
        return f"{self.root}/blobs/sha256/{digest.hex}"

    def layer(self, chain_id: ChainID) -> str:
        """Path of the applied layer that ends a chain, there or not."""
        return f"{self.root}/layers/{chain_id.hex}/fs"

    def image_name(self, name: str) -> str:
        """Path of the record of a named image, there or not; no tag means `:latest`."""
        tagged = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
        # One file per name: the separator must not make directories.
        return f"{self.root}/images/{tagged.replace('%', '%25').replace('/', '%2F')}"

    def layers_of(self, image: Image) -> tuple[str, ...]:
        """Directories of an image's layers, highest first; those that are missing are applied.

        Raises ImageError for a layer that is not what manifest and config promise.
        """
        chain = chain_ids(image.config.diff_ids)
        lowers: tuple[str, ...] = ()
        for number, chain_id in enumerate(chain):
            if not os.path.isdir(self.layer(chain_id)):
                self._apply(image, number, chain_id, lowers)
            lowers = (self.layer(chain_id), *lowers)
        return lowers

    def _apply(
        self, image: Image, number: int, chain_id: ChainID, lowers: tuple[str, ...]
    ) -> None:
        from runtime.image.blob import LayerReader

        descriptor = image.manifest.layers[number]
        where = f"{image.name}: layer {number + 1} ({descriptor.digest})"
        diff_id = image.config.diff_ids[number]
        with (
            Workspace(self) as work,
            LayerReader(image.blobs[number], descriptor, diff_id, where) as layer,
        ):
            made = work.directory("layer")
            os.mkdir(f"{made}/fs", 0o755)
            try:
                apply_layer(layer, f"{made}/fs", lowers, where)
                layer.finish()
            except OSError as error:
                raise StoreError(f"{where}: {error.strerror}") from error
            self.commit_layer(made, chain_id)

    def commit_layer(self, made: str, chain_id: ChainID) -> None:
        """Give a finished layer directory (holding `fs`) its name; another process may be first."""
        try:
            os.rename(made, f"{self.root}/layers/{chain_id.hex}")
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


class Workspace:
    """A directory under tmp for one piece of work; gone when the work ends, however it ends."""

    def __init__(self, store: Store):
        self._store = store
        self._lock = -1
        self.path = ""

    def __enter__(self) -> Workspace:
        tmp = f"{self._store.root}/tmp"
        self.path = f"{tmp}/{os.getpid()}-{os.urandom(4).hex()}"
        tmp_fd = os.open(tmp, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # One at a time, so that no sweep sees a directory between its making and its locking.
        fcntl.flock(tmp_fd, fcntl.LOCK_EX)
        abandoned = _abandoned(tmp)
        os.mkdir(self.path, 0o700)
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.close(tmp_fd)
        for path, lock in abandoned:
            remove_tree(path)
            os.close(lock)
        return self

    def __exit__(self, *_: object) -> None:
        remove_tree(self.path)
        os.close(self._lock)

    def directory(self, name: str) -> str:
        """Make and return a sub-directory."""
        path = f"{self.path}/{name}"
        os.mkdir(path, 0o755)
        return path


def _abandoned(tmp: str) -> list[tuple[str, int]]:
    """What processes that no longer live left behind: paths, and descriptors that lock them."""
    found = []
    for name in os.listdir(tmp):
        try:
            fd = os.open(f"{tmp}/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # its owner just finished
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # its owner lives
            os.close(fd)
        else:
            found.append((f"{tmp}/{name}", fd))
    return found


def remove_tree(path: str) -> None:
    """Delete a directory with everything below it; nothing there is no error."""
    import shutil

    def ignore_missing(_call: object, _path: str, failure: tuple[object, object, object]) -> None:
        error = failure[1]
        if isinstance(error, BaseException) and not isinstance(error, FileNotFoundError):
            raise error

    shutil.rmtree(path, onerror=ignore_missing)


def write_atomically(path: str, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    aside = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        try:
            while content:
                content = content[os.write(fd, content) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(aside, path)
    except BaseException:
        os.unlink(aside)
        raise
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fsync(directory)
    os.close(directory)
