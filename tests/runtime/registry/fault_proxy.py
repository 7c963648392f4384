"""A proxy between a client and a registry (or nothing at all) that fails as its script says.

A script is a list of rules; the first one that fits a request and is not used up acts, what fits
none is passed on. All that was asked is noted.
"""

from __future__ import annotations

import gzip
import http.client
import http.server
import io
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message


@dataclass
class Answer:
    """A registry's answer, or one that is made up."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    reason: str = ""


@dataclass
class Asked:
    """A request as it was noted."""

    method: str
    path: str
    headers: Message
    client: tuple[str, int]


Act = Callable[["Exchange"], None]


@dataclass
class Rule:
    """What happens to requests of a method (any if empty) whose path a pattern is found in."""

    act: Act
    method: str = ""
    path: str = ""
    times: int = 1  # it acts; 0 is always
    after: int = 0  # so many requests that fit were let through
    used: int = 0

    def fits(self, exchange: Exchange) -> bool:
        """Whether to act, which is counted."""
        if self.method not in ("", exchange.method) or not re.search(self.path, exchange.path):
            return False
        self.used += 1
        return self.used > self.after and not (self.times and self.used > self.after + self.times)


class Exchange(http.server.BaseHTTPRequestHandler):
    """One request."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        """Note it, then do what the script says."""
        self.method = self.command
        proxy = self.server.proxy
        with proxy.lock:
            asked = Asked(self.method, self.path, self.headers, self.client_address)
            proxy.requests.append(asked)
            rule = next((rule for rule in proxy.rules if rule.fits(self)), None)
        if rule is None:
            self.answer(self.forward())
        else:
            rule.act(self)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    @property
    def size(self) -> int:
        """Of the request's body, in bytes."""
        return int(self.headers["Content-Length"] or 0)

    def forward(self, *, most: int | None = None) -> Answer:
        """The registry's answer; with `most` only so many bytes of the body reach it, and none."""
        body = self.rfile.read(self.size)
        upstream = self.server.proxy.upstream
        if not upstream:
            return Answer(404)
        connection = http.client.HTTPConnection(upstream)
        try:
            connection.putrequest(
                self.method, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            connection.send(body[:most])
            if most is not None:
                return Answer(0)
            found = connection.getresponse()
            headers = dict(found.getheaders())
            headers.pop("Transfer-Encoding", None)
            return Answer(found.status, headers, found.read(), found.reason)
        finally:
            connection.close()

    def answer(self, answer: Answer, *, most: int | None = None, length: bool = True) -> None:
        """Send an answer; with `most` the connection ends after so many bytes of its body."""
        self.send_response(answer.status, answer.reason or None)
        has_length = any(name.lower() == "content-length" for name in answer.headers)
        for name, value in answer.headers.items():
            if name.lower() != "content-length" or length:
                self.send_header(name, value)
        if length and not has_length:
            self.send_header("Content-Length", str(len(answer.body)))
        if not length or most is not None:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.method != "HEAD":
            self.write(answer.body[:most])
        if not length or most is not None:
            self.cut()

    def write(self, body: bytes) -> None:
        """Send a part of a body, which is counted."""
        self.wfile.write(body)
        proxy = self.server.proxy
        with proxy.lock:
            proxy.sent[self.path] = proxy.sent.get(self.path, 0) + len(body)

    def cut(self) -> None:
        """End the connection."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    proxy: FaultProxy
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that went away is what some tests want."""


@dataclass
class FaultProxy:
    """The script, and what was asked."""

    host: str = ""
    upstream: str = ""
    rules: list[Rule] = field(default_factory=list)
    requests: list[Asked] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)  # bytes of bodies, by path
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)

    def on(
        self, act: Act, method: str = "", path: str = "", *, times: int = 1, after: int = 0
    ) -> None:
        """Add a rule."""
        self.rules.append(Rule(act, method, path, times, after))

    def asked(self, method: str = "", path: str = "") -> list[str]:
        """Method and path of the requests that fit."""
        return [
            f"{one.method} {one.path}"
            for one in self.requests
            if method in ("", one.method) and re.search(path, one.path)
        ]


def status(code: int, body: bytes = b"", **headers: str) -> Act:
    """Answer without asking the registry; a `_` in a header is a dash."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def act(exchange: Exchange) -> None:
        exchange.rfile.read(exchange.size)
        exchange.answer(Answer(code, dict(named), body))

    return act


def changed(change: Callable[[Answer], Answer | None]) -> Act:
    """Pass on what `change` makes of the registry's answer."""

    def act(exchange: Exchange) -> None:
        answer = exchange.forward()
        exchange.answer(change(answer) or answer)

    return act


def header(name: str, value: str | None) -> Act:
    """Give the registry's answer another header, or take one away."""

    def change(answer: Answer) -> None:
        kept = {n: v for n, v in answer.headers.items() if n.lower() != name.lower()}
        answer.headers = kept if value is None else {**kept, name: value}

    return changed(change)


def cut_answer(most: int, *, length: bool = True) -> Act:
    """The registry's answer breaks off after so many bytes, with or without a Content-Length."""

    def act(exchange: Exchange) -> None:
        exchange.answer(exchange.forward(), most=most, length=length)

    return act


def slow_answer(pieces: int, seconds: float) -> Act:
    """The registry's answer comes in so many pieces, with so much time between them."""

    def act(exchange: Exchange) -> None:
        answer = exchange.forward()
        body, answer.body = answer.body, b""
        answer.headers["Content-Length"] = str(len(body))
        exchange.answer(answer)
        size = -(-len(body) // pieces)
        for at in range(0, len(body), size):
            exchange.write(body[at : at + size])
            exchange.wfile.flush()
            time.sleep(seconds)

    return act


def slow_request(pieces: int, seconds: float) -> Act:
    """The body is read in so many pieces, with so much time between them, then passed on."""

    def act(exchange: Exchange) -> None:
        size, body = exchange.size, b""
        while len(body) < size:
            piece = exchange.rfile.read(min(-(-size // pieces), size - len(body)))
            if not piece:  # the client is gone
                exchange.close_connection = True
                return
            body += piece
            time.sleep(seconds)
        exchange.rfile = io.BytesIO(body)
        exchange.answer(exchange.forward())
        exchange.close_connection = True

    return act


def cut_request(most: int) -> Act:
    """So many bytes of the body reach the registry, then all connections end."""

    def act(exchange: Exchange) -> None:
        exchange.forward(most=most)
        exchange.cut()

    return act


def lost_answer(exchange: Exchange) -> None:
    """The registry does it, but nobody hears of that."""
    exchange.forward()
    exchange.cut()


def dropped(exchange: Exchange) -> None:
    """The connection ends at once."""
    exchange.cut()


def stalled(exchange: Exchange) -> None:
    """There is no answer for as long as the test lasts."""
    exchange.server.proxy.over.wait()
    exchange.close_connection = True


def flipped(at: int) -> Act:
    """One byte is another."""

    def change(answer: Answer) -> None:
        body = bytearray(answer.body)
        body[at] ^= 1
        answer.body = bytes(body)

    return changed(change)


def chunked(most: int | None = None) -> Act:
    """The answer comes in chunks without a length; with `most` it breaks off in one of them."""

    def act(exchange: Exchange) -> None:
        answer = exchange.forward()
        exchange.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() != "content-length":
                exchange.send_header(name, value)
        exchange.send_header("Transfer-Encoding", "chunked")
        exchange.end_headers()
        body = answer.body[:most]
        for at in range(0, len(body), 10_000):
            piece = body[at : at + 10_000]
            exchange.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if most is None:
            exchange.wfile.write(b"0\r\n\r\n")
        else:
            exchange.wfile.write(b"1000\r\n")
            exchange.cut()

    return act


def gzipped(answer: Answer) -> None:
    """A change: the body is compressed on the way, though nobody asked for that."""
    answer.body = gzip.compress(answer.body)
    answer.headers = {n: v for n, v in answer.headers.items() if n != "Content-Length"}
    answer.headers["Content-Encoding"] = "gzip"


@contextmanager
def running_proxy(upstream: str = "") -> Iterator[FaultProxy]:
    """A proxy until the end of the block."""
    proxy = FaultProxy(upstream=upstream)
    with _Server(("127.0.0.1", 0), Exchange) as server:
        server.proxy = proxy
        proxy.host = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield proxy
        finally:
            proxy.over.set()
            server.shutdown()
            thread.join()
