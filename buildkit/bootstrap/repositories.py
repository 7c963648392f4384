"""The repositories of a BOOTSTRAP: from what was written to one .repo file of our own.

dnf sees only that file: nothing of the host's configuration, nor of the target's.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from buildkit.bootstrap.fetching import SCHEMES, Reader, local_path
from buildkit.errors import BuildError, LocatedError
from buildkit.steps import BootstrapStep, Repository
from grammar import Span
from runtime.record import Record

if TYPE_CHECKING:
    from buildkit.inputs import Input

_REVISION = re.compile(rb"<revision>(\d{1,11})</revision>")


class Section(Record):
    """One repository as dnf will see it."""

    id: str
    options: tuple[tuple[str, str], ...]
    own_key: bool = False  # key= stands beside its url=, and beats --key
    span: Span  # of the --repo it came from


class Key(Record):
    """A public key, as its file holds it."""

    name: str
    content: bytes


class Repositories(Record):
    """All that a BOOTSTRAP installs from, and what identifies its present content."""

    sections: tuple[Section, ...]
    keys: tuple[Key, ...]
    metadata: tuple[tuple[str, str], ...]  # repository id, digest of its repomd.xml
    revision: int  # newest of the repositories' own times, seconds; 0 if none says
    inputs: tuple[Input, ...]  # all documents that were read

    def local_paths(self) -> tuple[str, ...]:
        """Files and directories of this machine that the sections name and that exist."""
        urls = [
            url
            for section in self.sections
            for option, value in section.options
            if option in ("baseurl", "gpgkey", "metalink", "mirrorlist")
            for url in value.split()
        ]
        paths = {local_path(url) for url in urls if url.startswith("file:")}
        return tuple(sorted(path for path in paths if os.path.exists(path)))


def read_repositories(step: BootstrapStep, context: str) -> Repositories:
    """Read .repo files, keys and the metadata's digests; raises BuildError or LocatedError."""
    reader = Reader(context)
    keys = tuple(_key(name, reader) for name in step.keys)
    sections: list[Section] = []
    for repository in step.repositories:
        with _located(repository.span):
            sections.extend(_sections(repository, reader))
    if not sections:
        raise BuildError(
            "BOOTSTRAP without a repository", hint="--repo=FILE.repo or --repo=id=NAME,url=URL"
        )
    ids = [section.id for section in sections]
    for number, section in enumerate(sections):
        if section.id in ids[:number]:
            raise LocatedError(
                BuildError(f"repository {section.id!r} is given twice"), section.span
            )
    metadata, revision = [], 0
    for section in sections:
        with _located(section.span):
            document = _metadata(section, step, reader)
        metadata.append((section.id, "sha256:" + hashlib.sha256(document).hexdigest()))
        found = _REVISION.search(document)
        revision = max(revision, int(found[1]) if found else 0)
    return Repositories(
        sections=tuple(sections),
        keys=keys,
        metadata=tuple(metadata),
        revision=revision,
        inputs=tuple(reader.inputs),
    )


def write_repositories(
    repositories: Repositories, step: BootstrapStep, seen_as: str, state: str
) -> None:
    """Write a .repo file and the keys that it names below `state`, which dnf has at `seen_as`."""
    os.mkdir(f"{state}/keys")
    key_urls = []
    for number, key in enumerate(repositories.keys):
        with open(f"{state}/keys/{number}.asc", "wb") as file:
            file.write(key.content)
        key_urls.append(f"file://{seen_as}/keys/{number}.asc")
    os.mkdir(f"{state}/repos")
    config = _parser()
    for section in repositories.sections:
        options = dict(section.options)
        options["enabled"] = "1"
        options["gpgcheck"] = "1" if step.gpgcheck else "0"
        if key_urls and not section.own_key:
            options["gpgkey"] = " ".join(key_urls)
        if step.gpgcheck and not options.get("gpgkey"):
            raise LocatedError(
                BuildError(
                    f"repository {section.id!r} has no key to verify its packages with",
                    hint="--key=FILE or --repo=…,key=FILE gives one; --nogpgcheck goes without",
                ),
                section.span,
            )
        config[section.id] = options
    with open(f"{state}/repos/pybuild.repo", "w", encoding="utf-8") as file:
        config.write(file)


@contextmanager
def _located(span: Span) -> Iterator[None]:
    """Give a BuildError a place."""
    try:
        yield
    except BuildError as error:
        raise LocatedError(error, span) from error


def _parser() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    return parser


def _sections(repository: Repository, reader: Reader) -> Iterator[Section]:
    if repository.url:
        options = {"name": repository.id, "baseurl": _url(repository.url, "repository", reader)}
        if repository.key:
            options["gpgkey"] = _url(repository.key, "key", reader)
        if repository.priority is not None:
            options["priority"] = str(repository.priority)
        yield Section(
            id=repository.id,
            options=tuple(options.items()),
            own_key=bool(repository.key),
            span=repository.span,
        )
        return
    name = repository.file
    text = reader.read(name, "repository file")
    parser = _parser()
    try:
        parser.read_string(text.decode("utf-8"), source=name)
    except (configparser.Error, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise BuildError(f"{name}: not a repository file: {reason}") from error
    if not parser.sections():
        raise BuildError(f"{name}: no [repository] in it")
    for section in parser.sections():
        if parser.get(section, "enabled", fallback="1").strip() not in ("0", "false", "no"):
            yield Section(id=section, options=tuple(parser.items(section)), span=repository.span)


def _url(url: str, what: str, reader: Reader) -> str:
    """A URL without a scheme is a place in the context."""
    return url if url.startswith(SCHEMES) else "file://" + quote(reader.place(url, what))


def _key(name: str, reader: Reader) -> Key:
    content = reader.read(name, "key")
    if b"BEGIN PGP PUBLIC KEY BLOCK" not in content:
        raise BuildError(f"key {name!r}: not an armored public key (-----BEGIN PGP PUBLIC KEY…)")
    return Key(name=name, content=content)


def _metadata(section: Section, step: BootstrapStep, reader: Reader) -> bytes:
    """What identifies the repository's content now: its repomd.xml, or its metalink's text."""
    options = dict(section.options)
    for option in ("baseurl", "metalink", "mirrorlist"):
        urls = options.get(option, "").split()
        if urls:
            url = urls[0].rstrip("/") + ("/repodata/repomd.xml" if option == "baseurl" else "")
            return reader.fetch(_substitute(url, step), f"repository {section.id!r}")
    raise BuildError(f"repository {section.id!r} has no baseurl, metalink or mirrorlist")


def _substitute(url: str, step: BootstrapStep) -> str:
    values = {"releasever": step.releasever, "basearch": step.arch, "arch": step.arch}
    return re.sub(r"\$(\w+)|\$\{(\w+)\}", lambda m: values.get(m[1] or m[2], m[0]), url)
