"""Files that ADD fetches from http and https URLs, kept in the store.

A file that is known is asked for with the validators that came with it (RFC 9110 section 13), so
that it is sent again only if it became another one. What breaks off is resumed where the server
can (section 14). Everything is streamed: no file is ever in memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import time

import requests

from buildkit.bootstrap.fetching import TIMEOUT_S, reason
from buildkit.errors import NetworkError
from buildkit.urls import without_password
from runtime import VERSION
from runtime.oci.digest import digest_of
from runtime.record import Record
from runtime.store.store import write_atomically
from runtime.store.workspace import Workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.counting import Count
    from buildkit.inputs import Input
    from grammar.values import Checksum
    from runtime.store.store import Store

_CHUNK = 1 << 20
_DELAYS_S = (0.5, 1, 2)  # before another try; one that brought more of the file begins anew
_MOST_TRIES = 100
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # statuses that may be others the next time


class Download(Record):
    """A file in the store, and what its server said of it."""

    digest: str
    size: int
    etag: str
    last_modified: str

    def place(self, store: Store) -> str:
        """Its path."""
        return f"{store.root}/downloads/{self.digest.partition(':')[2]}"

    def mtime(self, epoch: int) -> int:
        """When it was last modified, in seconds; `epoch` if that is later or was not said."""
        from email.utils import parsedate_to_datetime

        try:
            said = int(parsedate_to_datetime(self.last_modified).timestamp())
        except (ValueError, TypeError, OverflowError):
            return epoch
        return max(0, min(said, epoch))


def download(
    url: str, store: Store, checksum: Checksum | None = None, count: Count | None = None
) -> Download:
    """Fetch a file into the store unless it is there and still the same.

    With a checksum, what has it is never asked for again. Raises NetworkError.
    """
    known = _look_up(url, store)
    if known is not None and checksum is not None and _checksum(known, store, checksum):
        return known
    with Workspace(store) as work:
        path = f"{work.path}/download"
        try:
            found = _Transfer(url, path, known, count).run()
        except NetworkError as error:
            raise NetworkError(f"{without_password(url)}: {error.message}") from error
        if checksum is not None:
            _verify(found or known, path if found else "", store, checksum, url)
        if found is None:
            assert known is not None
            return known
        os.makedirs(f"{store.root}/downloads", mode=0o755, exist_ok=True)
        os.rename(path, found.place(store))
    fields = {field: getattr(found, field) for field in Download._fields}
    write_atomically(_record(url, store), json.dumps(fields, sort_keys=True).encode())
    return found


def download_input(url: str, epoch: int, store: Store) -> Input:
    """What a URL without a checksum leads to, in the form that `inputs` has."""
    found = download(url, store)
    return "download", url, epoch, found.digest, found.mtime(epoch)


def _record(url: str, store: Store) -> str:
    return f"{store.root}/cache/url-{digest_of(url.encode('utf-8', 'surrogateescape')).hex}"


def _look_up(url: str, store: Store) -> Download | None:
    try:
        with open(_record(url, store), "rb") as file:
            found = Download(**json.load(file))
        size = os.stat(found.place(store)).st_size
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return found if size == found.size else None


def _checksum(known: Download, store: Store, checksum: Checksum) -> bool:
    if checksum.algorithm == "sha256":
        return known.digest == f"sha256:{checksum.hex}"
    return _hash_file(known.place(store), checksum.algorithm) == checksum.hex


def _hash_file(path: str, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _verify(found: Download | None, path: str, store: Store, checksum: Checksum, url: str) -> None:
    assert found is not None
    if checksum.algorithm == "sha256":
        digest = found.digest.partition(":")[2]
    else:
        digest = _hash_file(path or found.place(store), checksum.algorithm)
    if digest != checksum.hex:
        algorithm = checksum.algorithm
        raise NetworkError(
            f"{without_password(url)}: its digest is {algorithm}:{digest}, "
            f"--checksum says {algorithm}:{checksum.hex}"
        )


class _PassingError(Exception):
    """What may be better at the next try."""


class _Transfer:
    """Fetches one file into a path, in as many tries as it takes."""

    def __init__(self, url: str, path: str, known: Download | None, count: Count | None) -> None:
        self._url = url
        self._path = path
        self._known = known
        self._count = count
        self._have = 0  # bytes
        self._furthest = 0  # that any try came to
        self._hash = hashlib.sha256()
        self._etag = ""
        self._last_modified = ""

    def run(self) -> Download | None:
        """The new file, or None if the known one is still the same; raises NetworkError."""
        failures = 0
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.fchmod(fd, 0o600)  # whatever the umask: a file from a URL has this mode
        try:
            with requests.Session() as session:
                for _ in range(_MOST_TRIES):
                    before = self._furthest
                    try:
                        if not self._try(session, fd):
                            return None
                        os.fsync(fd)
                        break
                    except _PassingError as error:
                        failures = 1 if self._furthest > before else failures + 1
                        if failures > len(_DELAYS_S):
                            raise NetworkError(str(error)) from error
                        time.sleep(_DELAYS_S[failures - 1])
                else:
                    raise NetworkError(f"not complete after {_MOST_TRIES} tries")
        finally:
            os.close(fd)
        return Download(
            digest=f"sha256:{self._hash.hexdigest()}",
            size=self._have,
            etag=self._etag,
            last_modified=self._last_modified,
        )

    def _try(self, session: requests.Session, fd: int) -> bool:
        """One try; False if the server says that the known file is still the same."""
        expected = None
        try:
            headers = self._headers()
            with session.get(
                self._url, headers=headers, stream=True, timeout=TIMEOUT_S
            ) as response:
                if response.status_code == 304 and self._known and "Range" not in headers:
                    return False
                expected = self._begin(response, fd, resuming="Range" in headers)
                # iter_content would decode what the server says is encoded, and lose the last
                # piece of what breaks off.
                for piece in response.raw.stream(_CHUNK, decode_content=False):
                    self._take(fd, piece)
                    if self._count is not None:
                        self._count.set(self._have, of=expected or 0)
        except requests.exceptions.SSLError as error:
            raise NetworkError(reason(error)) from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _PassingError(reason(error)) from error
        except requests.RequestException as error:
            raise NetworkError(reason(error)) from error
        # What comes out of urllib3 as it is, for it is read as it is.
        except requests.exceptions.BaseHTTPError as error:  # type: ignore[attr-defined]
            raise _PassingError(self._cut(expected)) from error
        if expected is not None and self._have != expected:
            raise _PassingError(self._cut(expected))
        return True

    def _cut(self, expected: int | None) -> str:
        of = "" if expected is None else f" of {expected}"
        return f"the connection ended after {self._have}{of} bytes"

    def _headers(self) -> dict[str, str]:
        # No compression on the way: sizes and ranges are those of the file.
        headers = {"Accept-Encoding": "identity", "User-Agent": f"pybuild/{VERSION}"}
        validator = self._etag or self._last_modified
        if self._have and validator and not validator.startswith("W/"):
            headers["Range"] = f"bytes={self._have}-"
            headers["If-Range"] = validator
        elif self._known and not self._have:
            if self._known.etag:
                headers["If-None-Match"] = self._known.etag
            if self._known.last_modified:
                headers["If-Modified-Since"] = self._known.last_modified
        return headers

    def _begin(self, response: requests.Response, fd: int, *, resuming: bool) -> int | None:
        """Look at the head of an answer; the size that the whole file is to have, if known."""
        status = response.status_code
        if status in _PASSING or (status == 416 and resuming):
            if status == 416:
                self._start_again(fd)
            raise _PassingError(f"{status} {response.reason}")
        if status == 206 and resuming:
            start, total = _content_range(response)
            if start == self._have:
                return total
            self._start_again(fd)
            raise _PassingError("the server sent another part than it was asked for")
        if status != 200:
            raise NetworkError(f"{status} {response.reason}")
        self._start_again(fd)
        self._etag = response.headers.get("ETag", "")
        self._last_modified = response.headers.get("Last-Modified", "")
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isascii() and length.isdigit() else None

    def _start_again(self, fd: int) -> None:
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        self._have = 0
        self._hash = hashlib.sha256()
        self._etag = self._last_modified = ""

    def _take(self, fd: int, piece: bytes) -> None:
        self._hash.update(piece)
        self._have += len(piece)
        self._furthest = max(self._furthest, self._have)
        while piece:
            piece = piece[os.write(fd, piece) :]


def _content_range(response: requests.Response) -> tuple[int, int | None]:
    """Start and total of `Content-Range: bytes 5-9/10`; -1 for a start that is not said."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    start = span.partition("-")[0]
    if unit != "bytes" or not (start.isascii() and start.isdigit()):
        return -1, None
    return int(start), int(total) if total.isascii() and total.isdigit() else None
