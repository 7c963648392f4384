"""The store: blobs by digest, unpacked layers by ChainID, names, and room for work in progress.

    version                     format of the store
    blobs/sha256/<hex>          verified content
    layers/<chain hex>/fs       an applied layer, in overlayfs's form
    indexes/<hex>               what is mounted over the layers of an image where they lie
    images/<quoted name>        Descriptor of the image's manifest
    cache/<key>                 the builder's records
    downloads/<hex>             files that ADD fetched, by their SHA-256
    known/<device>-<inode>      what a start needs of an image that was started before
    origins/<hex>               in which registries a blob is known to be
    tmp/<pid>-<random>/         one process's work, locked while that process lives
    mnt                         empty; a place for mounts in private namespaces

Everything is made under tmp and renamed into place, so what has a name is complete; kill -9 at
any moment leaves only a tmp directory, which the next process sweeps. Many processes may share a
store: each holds a shared lock of `version` while it lives, so that nothing is removed meanwhile.
"""

from __future__ import annotations

import errno
import fcntl
import os

from runtime.errors import StoreError
from runtime.sandbox.userns import in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.image.archive import Image
    from runtime.image.blob import StoredLayer
    from runtime.oci.digest import ChainID, Digest

FORMAT = "1"
_FOLDERS = (
    *("blobs/sha256", "layers", "indexes", "images", "cache", "downloads"),
    *("known", "origins", "mounts", "tmp", "mnt"),
)


def default_root() -> str:
    """Where the store is: PYBUILD_ROOT, else /var/lib/pybuild or $XDG_DATA_HOME/pybuild.

    To be asked before `become_root`: afterwards everybody looks like root.
    """
    named = os.environ.get("PYBUILD_ROOT")
    if named:
        return os.path.abspath(named)
    # A rootless engine's runtime is root too, of a user namespace where /var/lib is not its own.
    if os.geteuid() == 0 and (os.access("/var/lib", os.W_OK) or not in_user_namespace()):
        return "/var/lib/pybuild"
    home = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(home, "pybuild")


class Store:
    """A store that exists and has this program's format."""

    def __init__(self, root: str):
        """Open the store at `root`, making it if it is missing; raises StoreError."""
        self.root = os.path.realpath(root)
        self.has_room = True  # for what is needed only as long as work goes on
        self.lock = -1  # of its file `version`, shared; open as long as this process
        found = self._format()
        if found is None:
            self._create()
            found = self._format()
        if found != FORMAT:
            raise StoreError(
                f"{self.root}: store of format {found!r}, this program reads {FORMAT!r}"
            )

    def _format(self) -> str | None:
        """What the store says that it is; None if it is none yet."""
        try:
            self.lock = os.open(f"{self.root}/version", os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self.lock, fcntl.LOCK_SH)
            return os.read(self.lock, 80).decode("ascii", "replace").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self.root}: {error.strerror}") from error

    def _create(self) -> None:
        try:
            names = os.listdir(self.root) if os.path.isdir(self.root) else []
            if "version" in names:
                return  # another process has just made it
            if strange := _strange(names):
                raise StoreError(
                    f"{self.root}: not a store, and not empty: it holds {strange}",
                    hint="PYBUILD_ROOT or --root must name a store or a new directory",
                )
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
        from runtime.oci.digest import chain_ids

        chains = chain_ids(image.config.diff_ids)
        directories = [self.layer(chain_id) for chain_id in chains]
        if not all(map(os.path.isdir, directories)):
            from runtime.store.unpacking import unpack

            unpack(self, tuple(zip(image.layers, chains, strict=True)), ())
        return tuple(reversed(directories))

    def apply(self, layer: StoredLayer, chain_id: ChainID, lowers: tuple[str, ...]) -> None:
        """Make the directory of a layer out of its blob, over the directories below it.

        Raises ImageError for one that is not what was promised.
        """
        from runtime.store.unpacking import unpack

        unpack(self, ((layer, chain_id),), lowers)

    def commit_layer(self, made: str, chain_id: ChainID) -> None:
        """Give a finished layer directory (holding `fs`) its name, unless it has been given."""
        try:
            os.rename(made, f"{self.root}/layers/{chain_id.hex}")
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def _strange(names: list[str]) -> str:
    """A name that no process which was just making a store can have left there, or ""."""
    # A runtime that needs no store keeps its filters here.
    known = {folder.partition("/")[0] for folder in _FOLDERS} | {"lost+found", "seccomp"}
    return next((n for n in sorted(names) if n not in known and n[:8] != "version."), "")


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
        try:
            os.unlink(aside)
        except FileNotFoundError:  # a signal came right after the rename
            pass
        raise
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fsync(directory)
    os.close(directory)
