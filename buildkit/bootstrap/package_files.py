"""The files of packages: in the store by their digest, shared by all builds, or where they are.

A file of this machine (a repository on its disk) is taken where it is, after a look at its digest.
What is fetched is kept under its digest, and what breaks off is resumed, by this build or a later
one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urljoin

from buildkit.bootstrap.access import Access
from buildkit.bootstrap.fetching import TIMEOUT_S, file_sha256, local_path, reason
from buildkit.bootstrap.resolved import AnyPackage, Resolved
from buildkit.counting import Count
from buildkit.errors import BuildError, DiskError, NetworkError
from buildkit.processes import call_in_child
from buildkit.urls import without_password
from runtime import VERSION
from runtime.record import Record
from runtime.store.store import Store

_AT_ONCE = 6  # transfers; servers of distributions ask for no more
_CHUNK = 1 << 18  # bytes
_DELAYS_S = (0.3, 1, 2)  # before another try at one place
_PASSING = (408, 425, 429, 500, 502, 503, 504)


class Wanted(Record):
    """One package, and where it may be found."""

    package: AnyPackage
    urls: tuple[str, ...]
    access: Access


class PlacedPackage(Record):
    """A package whose file is here and is the right one."""

    package: AnyPackage
    path: str


class RefusedPackage(BuildError):
    """A package that is not installed, because of what it is."""

    package: AnyPackage


class UnfetchedPackage(NetworkError):
    """A package that cannot be had."""

    package: AnyPackage

    @staticmethod
    def of(package: AnyPackage, message: str, hint: str | None = None) -> UnfetchedPackage:
        """Make one; processes hand on errors that are made of message and hint."""
        made = UnfetchedPackage(message, hint=hint)
        made.package = package
        return made


def directory(store: Store) -> str:
    """Where packages are kept."""
    return f"{store.root}/packages"


def vendored_name(package: AnyPackage) -> str:
    """Where a directory of vendored packages has one."""
    return f"{package.repo or 'context'}/{os.path.basename(package.path)}"


def place_packages(
    resolved: Resolved,
    access: Callable[[str], Access],
    store: Store,
    count: Count | None,
    *,
    vendored: str = "",
    promised: str = "the metadata of repository {repo!r}",
) -> tuple[PlacedPackage, ...]:
    """Find or fetch the files of all packages; raises RefusedPackage or UnfetchedPackage.

    `vendored` is a directory that may have them; `promised` is who said what they must be.
    """
    os.makedirs(directory(store), exist_ok=True)
    bases = {repository.id: repository.baseurls for repository in resolved.repositories}
    placed, missing = [], []
    for package in resolved.packages:
        urls = tuple(_url(base, package.path) for base in bases.get(package.repo, ()))
        path = _present(package, urls, store, vendored, promised)
        placed.append(PlacedPackage(package=package, path=path or _kept(package, store)))
        if not path:
            if all(url.startswith("file:") for url in urls):
                where = " and ".join(map(local_path, urls)) or package.path or "its file"
                raise UnfetchedPackage.of(package, f"package {package.label}: no {where}")
            missing.append(Wanted(package=package, urls=urls, access=access(package.repo)))
    if missing:
        # In a child: whoever forks must have no threads.
        failed = call_in_child(lambda: _fetch_all(missing, store, count))
        if failed is not None:
            raise failed
    return tuple(placed)


def keep_package(path: str, sha256: str, store: Store) -> None:
    """Take a file of the store's filesystem in that somebody else has fetched."""
    os.makedirs(directory(store), exist_ok=True)
    os.rename(path, f"{directory(store)}/{sha256}.rpm")


def _kept(package: AnyPackage, store: Store) -> str:
    return f"{directory(store)}/{package.sha256}{package.suffix}"


def _url(base: str, path: str) -> str:
    return urljoin(base.rstrip("/") + "/", quote(path))


def _present(
    package: AnyPackage, urls: Sequence[str], store: Store, vendored: str, promised: str
) -> str:
    """The path of a file that is here; empty if there is none."""
    kept = _kept(package, store)
    if os.path.exists(kept):
        os.utime(kept)  # for who prunes what was not used for long
        return kept
    places = [f"{vendored}/{vendored_name(package)}"] if vendored else []
    places += [local_path(url) for url in urls if url.startswith("file:")]
    if not package.repo:
        places.append(package.path)
    for place in places:
        if not os.path.isfile(place):
            continue
        found = file_sha256(place)
        if found != package.sha256:
            error = RefusedPackage(
                f"package {package.label} is not the one that "
                f"{promised.format(repo=package.repo)} promises: {place} has "
                f"sha256:{found}, not sha256:{package.sha256}",
                hint="the repository changed after its metadata was made, or is damaged",
            )
            error.package = package
            raise error
        return place
    return ""


def _fetch_all(
    wanted: Sequence[Wanted], store: Store, count: Count | None
) -> UnfetchedPackage | None:
    """Fetch them at once; returns what stands in the way of one."""
    total = sum(one.package.size for one in wanted)
    done: dict[str, int] = {}

    def show(package: AnyPackage, size: int) -> None:
        done[package.sha256] = size
        if count is not None:
            have = sum(done.values())
            complete = sum(done.get(w.package.sha256, 0) == w.package.size for w in wanted)
            count.set(have, of=total, packages=complete)

    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        # The largest first, so that none of them is left for the end.
        order = sorted(wanted, key=lambda one: -one.package.size)
        for future in [pool.submit(_Transfer(one, store, show).run) for one in order]:
            future.result()
        return None
    except UnfetchedPackage as error:
        return error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


class _PassingError(Exception):
    """What may be better at the next try."""


class _Transfer:
    """Fetches one package into the store."""

    def __init__(
        self, wanted: Wanted, store: Store, show: Callable[[AnyPackage, int], None]
    ) -> None:
        self._wanted = wanted
        self._package = wanted.package
        self._kept = _kept(wanted.package, store)
        self._show = show
        self._sha = hashlib.sha256()
        self._have = 0

    def run(self) -> None:
        """Do it; raises UnfetchedPackage or DiskError."""
        try:
            fd = os.open(f"{self._kept}.part", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)  # another build may want the same
                if os.path.exists(self._kept):  # by now
                    os.unlink(f"{self._kept}.part")
                else:
                    self._take_up(fd)
                    self._try_all(fd)
                    os.fsync(fd)
                    os.rename(f"{self._kept}.part", self._kept)
            finally:
                os.close(fd)
        except OSError as error:
            raise DiskError(f"{self._kept}: {error.strerror}") from error

    def _take_up(self, fd: int) -> None:
        """Go on with what is there already."""
        while piece := os.read(fd, _CHUNK):
            self._sha.update(piece)
            self._have += len(piece)
        if self._have >= self._package.size and not self._is_right():
            self._start_again(fd)

    def _try_all(self, fd: int) -> None:
        # One round after another, so that nobody waits for a mirror while there are others.
        problems: dict[str, str] = {}
        urls = list(dict.fromkeys(self._wanted.urls))
        for delay in (0, *_DELAYS_S):
            if not urls:
                break
            time.sleep(delay)
            for url in tuple(urls):
                if self._is_right():
                    return
                try:
                    self._try(url, fd)
                    if self._is_right():
                        return
                    problem = f"has sha256:{self._sha.hexdigest()}, not {self._package.sha256}"
                    self._start_again(fd)
                    urls.remove(url)
                except _PassingError as error:
                    problem = str(error)
                except NetworkError as error:
                    problem = error.message
                    urls.remove(url)
                problems[url] = f"{without_password(url)}: {problem}"
        raise UnfetchedPackage.of(
            self._package,
            f"package {self._package.label}: {'; '.join(problems.values())}",
            hint="the repository changed meanwhile: try again; with a lock file, "
            "`pybuild lock --vendor DIR` keeps packages that repositories drop",
        )

    def _is_right(self) -> bool:
        return self._have == self._package.size and self._sha.hexdigest() == self._package.sha256

    def _start_again(self, fd: int) -> None:
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        self._sha = hashlib.sha256()
        self._have = 0

    def _try(self, url: str, fd: int) -> None:
        import requests

        if not url.startswith(("http://", "https://")):
            raise NetworkError("only http, https and file can be fetched")
        headers = {"Accept-Encoding": "identity", "User-Agent": f"pybuild/{VERSION}"}
        if self._have:
            headers["Range"] = f"bytes={self._have}-"
        arguments = self._wanted.access.arguments()
        try:
            with requests.get(
                url, headers=headers, stream=True, timeout=TIMEOUT_S, **arguments
            ) as response:
                self._begin(response, fd)
                for piece in response.raw.stream(_CHUNK, decode_content=False):
                    self._take(fd, piece)
        except (requests.exceptions.SSLError, requests.exceptions.InvalidURL) as error:
            raise NetworkError(reason(error)) from error
        except (requests.RequestException, OSError) as error:
            raise _PassingError(reason(error)) from error
        except requests.exceptions.BaseHTTPError as error:  # type: ignore[attr-defined]
            raise _PassingError(
                f"the connection ended after {self._have} of {self._package.size} bytes"
            ) from error
        if self._have < self._package.size:
            raise _PassingError(
                f"the connection ended after {self._have} of {self._package.size} bytes"
            )

    def _begin(self, response: object, fd: int) -> None:
        status = response.status_code  # type: ignore[attr-defined]
        where = response.headers.get("Content-Range", "")  # type: ignore[attr-defined]
        if status == 206 and where.startswith(f"bytes {self._have}-"):
            return
        self._start_again(fd)
        if status == 206 or status == 416 or status in _PASSING:
            raise _PassingError(f"{status} {response.reason}")  # type: ignore[attr-defined]
        if status != 200:
            raise NetworkError(f"{status} {response.reason}")  # type: ignore[attr-defined]

    def _take(self, fd: int, piece: bytes) -> None:
        if self._have + len(piece) > self._package.size:
            raise NetworkError(f"is larger than the {self._package.size} bytes that were promised")
        self._sha.update(piece)
        self._have += len(piece)
        self._show(self._package, self._have)
        view = memoryview(piece)
        try:
            while view:
                view = view[os.write(fd, view) :]
        except OSError as error:
            raise DiskError(f"{self._kept}: {error.strerror}") from error


def remember_signed(placed: Iterable[PlacedPackage], keys: str, store: Store) -> None:
    """Write down that the signatures of packages are good under keys (an identity of these)."""
    for one in placed:
        with open(_memo(one.package, keys, store), "wb"):
            pass


def is_known_signed(package: AnyPackage, keys: str, store: Store) -> bool:
    """Whether that was written down."""
    try:
        os.utime(_memo(package, keys, store))
    except FileNotFoundError:
        return False
    return True


def _memo(package: AnyPackage, keys: str, store: Store) -> str:
    return f"{directory(store)}/{package.sha256}.{keys}.signed"
