"""A registry in memory, as strict as the specification and with all that is optional in it.

It has what docker-registry 2.8 lacks: uploads that go on after a cut in the middle of a piece, 416
for a piece that is out of order, a least size of pieces, and lists of referrers.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from tests.runtime.registry.fault_proxy import Answer, Exchange
from tests.support import digest_of, to_json


@dataclass
class FakeRegistry:
    """One repository, served as a rule of a fault proxy."""

    least: int = 0  # bytes of a piece
    cuts: list[int] = field(default_factory=list)  # after so many bytes connections end, once each
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    referrers: dict[str, list[object]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, exchange: Exchange) -> None:
        """Answer a request."""
        answer = self.respond(exchange)
        if answer is not None:
            exchange.answer(answer)

    def respond(self, exchange: Exchange) -> Answer | None:
        """Do what a request asks for; without an answer the connection was cut."""
        parts = urlsplit(exchange.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        found = re.fullmatch(r"/v2/app/(blobs/uploads|blobs|manifests|referrers)/(.*)", parts.path)
        assert found, exchange.path
        kind, name = found.groups()
        handlers = {
            "blobs/uploads": self._upload,
            "blobs": self._blob,
            "manifests": self._manifest,
            "referrers": self._referrers,
        }
        return handlers[kind](exchange, name, query)

    def _blob(self, exchange: Exchange, name: str, query: dict[str, str]) -> Answer:
        content = self.blobs.get(name)
        if content is None:
            return Answer(404)
        return Answer(200, {"Content-Length": str(len(content))}, content)

    def _upload(self, exchange: Exchange, name: str, query: dict[str, str]) -> Answer | None:
        if exchange.method == "POST":
            with self.lock:
                name = f"session-{len(self.uploads)}"
                self.uploads[name] = b""
            wanted = {"OCI-Chunk-Min-Length": str(self.least)} if self.least else {}
            return Answer(202, self._where(name) | wanted)
        if name not in self.uploads:
            return Answer(404)
        if exchange.method == "GET":
            return Answer(204, self._where(name))
        if exchange.method == "DELETE":
            del self.uploads[name]
            return Answer(204)
        have = len(self.uploads[name])
        start = int(exchange.headers.get("Content-Range", str(have)).partition("-")[0])
        if start != have:
            exchange.rfile.read(exchange.size)
            return Answer(416, self._where(name))
        with self.lock:
            cut = self.cuts.pop(0) if self.cuts and exchange.size > self.cuts[0] else 0
        if cut:
            self.uploads[name] += exchange.rfile.read(cut)
            exchange.cut()
            return None
        self.uploads[name] += exchange.rfile.read(exchange.size)
        if exchange.method == "PATCH":
            return Answer(202, self._where(name))
        content = self.uploads.pop(name)
        if query["digest"] != digest_of(content):
            return Answer(400, {}, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
        self.blobs[query["digest"]] = content
        return Answer(201, {"Location": f"/v2/app/blobs/{query['digest']}"})

    def _where(self, name: str) -> dict[str, str]:
        have = len(self.uploads[name])
        return {"Location": f"/v2/app/blobs/uploads/{name}?at={have}", "Range": f"0-{have - 1}"}

    def _manifest(self, exchange: Exchange, name: str, query: dict[str, str]) -> Answer:
        if exchange.method == "PUT":
            content = exchange.rfile.read(exchange.size)
            kind = exchange.headers["Content-Type"]
            self.manifests[name] = self.manifests[digest_of(content)] = (kind, content)
            table = json.loads(content)
            if "subject" not in table:
                return Answer(201)
            subject = table["subject"]["digest"]
            entry = {"mediaType": kind, "digest": digest_of(content), "size": len(content)}
            entry |= {"artifactType": table["artifactType"]}
            self.referrers.setdefault(subject, []).append(entry)
            return Answer(201, {"OCI-Subject": subject})
        if name not in self.manifests:
            return Answer(404)
        kind, content = self.manifests[name]
        return Answer(200, {"Content-Type": kind, "Content-Length": str(len(content))}, content)

    def _referrers(self, exchange: Exchange, name: str, query: dict[str, str]) -> Answer:
        kind = "application/vnd.oci.image.index.v1+json"
        listed = self.referrers.get(name, [])
        index = {"schemaVersion": 2, "mediaType": kind, "manifests": listed}
        return Answer(200, {"Content-Type": kind}, to_json(index))
