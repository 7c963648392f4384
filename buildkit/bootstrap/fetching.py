"""Documents that a BOOTSTRAP needs: from the context, this machine or a server.

requests is loaded only for a server: a build from local repositories does without.
"""

from __future__ import annotations

import os

from buildkit.bootstrap.access import Access, access_of
from buildkit.bootstrap.secrets import Secrets
from buildkit.errors import BuildError, NetworkError
from buildkit.urls import without_password
from runtime.oci.digest import digest_of
from runtime.sandbox.rootpath import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.inputs import Input

SCHEMES = ("http://", "https://", "ftp://", "file:")
TIMEOUT_S = 30
_MAX_DOCUMENT = 1 << 24  # bytes


_NO_SECRETS = Secrets(files={}, variables={})


class Reader:
    """Reads documents and remembers what they were."""

    def __init__(
        self, context: str, secrets: Secrets = _NO_SECRETS, *, locked: bool = False
    ) -> None:
        """`context` is the directory that names without a scheme are looked for in.

        Files of secrets are documents too: read, and not remembered. Where the packages are
        `locked`, so are their keys, and servers need not be asked for them.
        """
        self.locked = locked
        self._context = context
        self._secrets = secrets
        self.inputs: list[Input] = []

    def is_secret(self, name: str) -> bool:
        """Whether a name is that of a secret."""
        return name in self._secrets.files

    def read(self, name: str, what: str) -> bytes:
        """Content of a URL or of a file of the context; `what` is how errors call it."""
        if name in self._secrets.files:
            return self._secrets.files[name]
        if name.startswith(SCHEMES):
            return self.fetch(name, what)
        path = self.place(name, what)
        if not os.path.isfile(path):
            raise BuildError(f"{what} {name!r}: not a file")
        return self._file(path, what)

    def fetch(self, url: str, what: str, access: Access | None = None) -> bytes:
        """Content of a URL; raises NetworkError that says what was wanted, and why not."""
        if url.startswith("file:"):
            return self._file(local_path(url), what)
        try:
            content = fetch(url, access)
        except NetworkError as error:
            message = self._secrets.hidden(f"{what}: {error.message}")
            raise NetworkError(message, hint=error.hint) from None
        shown = self._secrets.hidden(without_password(url))
        if shown != url or (access is not None and access.is_private):
            # What was sent for is not written down: the next build looks for itself.
            self.inputs.append(("private", shown))
        else:
            self.inputs.append(("url", url, str(digest_of(content))))
        return content

    def place(self, path: str, what: str, *, is_there: bool = True) -> str:
        """The real path of something in the context, which it cannot leave.

        What need not be there (not `is_there`) would be at the path that is returned.
        """
        context_fd = os.open(self._context, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = open_in_root(context_fd, path)
        except OSError as error:
            if not is_there and isinstance(error, FileNotFoundError):
                return self._context + os.path.normpath(f"/{path}")
            message = f"{what} {path!r}: {error.strerror} in the context {self._context}"
            raise BuildError(message) from error
        finally:
            os.close(context_fd)
        try:
            return os.readlink(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)

    def _file(self, path: str, what: str) -> bytes:
        try:
            with open(path, "rb") as file:
                content = file.read(_MAX_DOCUMENT)
        except OSError as error:
            raise NetworkError(f"{what}: {path}: {error.strerror}") from error
        self.inputs.append(("file", path, str(digest_of(content))))
        return content


def fetch(url: str, access: Access | None = None) -> bytes:
    """Content of an http, https or ftp URL; raises NetworkError."""
    import requests

    arguments = (access or access_of({})).arguments()
    try:
        response = requests.get(url, timeout=TIMEOUT_S, **arguments)
        response.raise_for_status()
    except (requests.RequestException, OSError) as error:  # OSError: no such CA file
        message = f"{without_password(url)}: {reason(error)}"
        raise NetworkError(message, hint=_hint(error)) from error
    return response.content


def _hint(error: Exception) -> str | None:
    import requests

    if isinstance(error, requests.exceptions.SSLError):
        return "SSL_CERT_FILE, or sslcacert= of a .repo file, names the CA that is to be trusted"
    response = getattr(error, "response", None)
    if response is not None and response.status_code in (401, 403):
        return "a --mount=type=secret says who asks, with username= and password= or in the URL"
    return None


def file_sha256(path: str) -> str:
    """The SHA-256 of a file, hexadecimal."""
    import hashlib

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def local_path(url: str) -> str:
    """The path of a file: URL."""
    from urllib.parse import unquote, urlsplit

    return unquote(urlsplit(url).path)


def reason(error: Exception) -> str:
    """The innermost words of an exception of requests, without its object dumps."""
    import re

    text = str(error)
    found = re.search(
        r"(\[Errno -?\d+\] [^'\")]+|\d{3} (?:Client|Server) Error: [^:]+?(?= for url:)|"
        r"certificate verify failed: [^()]+?(?= \()|Tunnel connection failed: [^'\")]+)",
        text,
    )
    if found is None and isinstance(error, OSError) and "TLS CA" in text:
        return text
    return found[1] if found else type(error).__name__
