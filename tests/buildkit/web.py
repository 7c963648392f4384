"""A web server on loopback that does what a test tells it, in a thread."""

from __future__ import annotations

import base64
import http.server
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path


class Request(http.server.BaseHTTPRequestHandler):
    """One request, to be answered by the server's `answer`."""

    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Note the request, and let the test answer."""
        self.close_connection = True
        self.server.site.requests.append(self)
        self.server.site.answer(self)

    do_POST = do_GET

    def send(
        self,
        content: bytes = b"",
        status: int = 200,
        *,
        length: int | None = None,
        **headers: str,
    ) -> None:
        """Answer; `length` is said instead of the true one, and a `_` in a header is a dash."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    site: Site

    def handle_error(self, *_: object) -> None:
        """A client that went away is what some tests want."""


@dataclass
class Site:
    """What the server has: paths with their content, or an `answer` of the test's own."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, Mapping[str, str]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    answer: Callable[[Request], None] = lambda _: None

    def serve(self, request: Request) -> None:
        """Answer with a file, or with 304 where its ETag or time is what the client has."""
        path = request.path.partition("?")[0]
        headers = self.headers.get(path, {})
        if path not in self.files:
            request.send(status=404)
            return
        for name, asked in (("ETag", "If-None-Match"), ("Last_Modified", "If-Modified-Since")):
            if name in headers and request.headers[asked] == headers[name]:
                request.send(b"", 304, length=0, **headers)
                return
        content = self.files[path]
        request.send(content, 200, length=len(content), **headers)

    def add(self, directory: Path, prefix: str = "") -> None:
        """Serve all files below a directory."""
        for path in directory.rglob("*"):
            if path.is_file():
                self.files[f"{prefix}/{path.relative_to(directory)}"] = path.read_bytes()

    def demand(self, user: str, password: str, header: str = "Authorization") -> None:
        """Serve nobody else (RFC 7617); a proxy has another header."""
        expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

        def answer(request: Request) -> None:
            if request.headers[header] == expected:
                self.serve(request)
            elif header == "Authorization":
                request.send(status=401, WWW_Authenticate='Basic realm="packages"')
            else:
                request.send(status=407, Proxy_Authenticate='Basic realm="proxy"')

        self.answer = answer

    def modified(self, path: str, seconds: int) -> None:
        """Let a file have a Last-Modified."""
        stamp = {"Last_Modified": formatdate(seconds, usegmt=True)}
        self.headers[path] = {**self.headers.get(path, {}), **stamp}


@contextmanager
def running_site(tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    """A site that is served until the end of the block."""
    site = Site()
    site.answer = site.serve
    with _Server(("127.0.0.1", 0), Request) as server:
        server.site = site
        scheme, port = "https" if tls else "http", server.server_address[1]
        site.url = f"{scheme}://127.0.0.1:{port}"
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
