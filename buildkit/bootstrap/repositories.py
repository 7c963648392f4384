"""The repositories of a BOOTSTRAP: from what was written to one .repo file of our own.

dnf sees only that file: nothing of the host's configuration, nor of the target's.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from buildkit.bootstrap.access import Access, access_of, default_ca
from buildkit.bootstrap.fetching import SCHEMES, Reader, local_path
from buildkit.bootstrap.openpgp import fingerprints
from buildkit.errors import BuildError, LocatedError, NetworkError
from buildkit.steps import BootstrapStep, Package, Repository
from grammar import Span
from runtime.record import Record

if TYPE_CHECKING:
    from buildkit.inputs import Input

_REVISION = re.compile(rb"<revision>(\d{1,11})</revision>")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_OFF = ("0", "false", "no", "off")
# Options that say where from and who may, and nothing of what is got.
_OF_CONNECTIONS = frozenset(Access._fields)
_FILES = ("sslcacert", "sslclientcert", "sslclientkey")


class Key(Record):
    """A public key, as its file holds it."""

    name: str
    content: bytes
    fingerprints: tuple[str, ...]


class Section(Record):
    """One repository as dnf will see it, but for what secrets add."""

    id: str
    options: tuple[tuple[str, str], ...]
    keys: tuple[Key, ...]  # of its packages; empty: they are not checked
    written: str  # what was given as its place, if that is one in the context
    secret: bool  # from a file that is one: for no key, lock or log
    span: Span  # of the --repo it came from


class Secrets(Record):
    """What --mount=type=secret gave: files by their targets, variables by their names."""

    files: Mapping[str, bytes]
    variables: Mapping[str, str]

    def __repr__(self) -> str:
        return "Secrets(…)"


class Repositories(Record):
    """All that a BOOTSTRAP installs from, and what identifies its present content."""

    sections: tuple[Section, ...]
    metadata: tuple[tuple[str, str], ...]  # repository id, digest of its repomd.xml
    inputs: tuple[Input, ...]  # all documents that were read
    secrets: Secrets
    variables: Mapping[str, str]  # releasever and its like

    @property
    def keys(self) -> tuple[Key, ...]:
        """Of all of them, each once."""
        found = {key.content: key for section in self.sections for key in section.keys}
        return tuple(found.values())

    @property
    def parts(self) -> list[object]:
        """For a cache key: without what secrets hold, or what connections need."""
        return [[s.id, [] if s.secret else [list(o) for o in _portable(s)]] for s in self.sections]

    def local_paths(self) -> tuple[str, ...]:
        """Files and directories of this machine that the sections name and that exist."""
        urls = [
            _substituted(url, self.variables)
            for section in self.sections
            for option, value in section.options
            if option in ("baseurl", "metalink", "mirrorlist")
            for url in value.split()
        ]
        paths = {local_path(url) for url in urls if url.startswith("file:")}
        paths |= {v for s in self.sections for o, v in s.options if o in _FILES}
        if ca := default_ca():
            paths.add(os.path.abspath(ca))
        return tuple(sorted(path for path in paths if os.path.exists(path)))

    def access(self, id: str, secrets_at: str) -> Access:
        """How the server of a repository is spoken to; files of secrets are below a directory."""
        for section in self.sections:
            if section.id == id:
                return access_of(self.filled_in(section, secrets_at))
        return access_of({})

    def filled_in(self, section: Section, secrets_at: str) -> dict[str, str]:
        """A section's options with what secrets say."""
        found = {}
        for name, value in section.options:
            text = _substituted(value, self.secrets.variables)
            if name in _FILES and text in self.secrets.files:
                text = f"{secrets_at}/{secret_name(text)}"
            found[name] = text
        return found


def secret_name(target: str) -> str:
    """The name of the file that a secret with this target gets."""
    return target.strip("/").replace("/", "-")


def read_repositories(
    step: BootstrapStep, reader: Reader, secrets: Secrets, *, metadata: bool
) -> Repositories:
    """Read .repo files, keys and the metadata's digests; raises BuildError or LocatedError.

    Without `metadata`, no server is asked for what its repository holds.
    """
    variables = {"releasever": step.releasever, "basearch": step.arch, "arch": step.arch}
    common = []
    for word in step.keys:
        with located(word.span):
            common.append(read_key(word.text, reader))
    sections: list[Section] = []
    for repository in step.repositories:
        with located(repository.span):
            sections.extend(_sections(repository, step, tuple(common), reader, variables))
    if not sections and not are_files(step.packages):
        raise BuildError(
            "BOOTSTRAP without a repository", hint="--repo=FILE.repo or --repo=id=NAME,url=URL"
        )
    ids = [section.id for section in sections]
    for number, section in enumerate(sections):
        if section.id in ids[:number]:
            raise LocatedError(
                BuildError(f"repository {section.id!r} is given twice"), section.span
            )
    for section in sections:
        if step.gpgcheck and not section.keys:
            error = BuildError(
                f"repository {section.id!r} has no key to verify its packages with",
                hint="--key=FILE or --repo=…,key=FILE gives one; --nogpgcheck goes without",
            )
            raise LocatedError(error, section.span)
    found = Repositories(
        sections=tuple(sections),
        metadata=(),
        inputs=tuple(reader.inputs),
        secrets=secrets,
        variables=variables,
    )
    if not metadata:
        return found
    digests = []
    with secret_files(secrets, sections) as place:
        for section in sections:
            with located(section.span):
                document = _metadata(section, found, reader, place)
            digests.append((section.id, "sha256:" + hashlib.sha256(document).hexdigest()))
    return found.replace(metadata=tuple(digests), inputs=tuple(reader.inputs))


def write_repositories(repositories: Repositories, seen_as: str, state: str) -> None:
    """Write a .repo file and the keys that it names below `state`, which dnf has at `seen_as`."""
    os.mkdir(f"{state}/keys")
    urls = {}
    for number, key in enumerate(repositories.keys):
        with open(f"{state}/keys/{number}.asc", "wb") as file:
            file.write(key.content)
        urls[key.content] = f"file://{seen_as}/keys/{number}.asc"
    write_secrets(repositories.secrets, f"{state}/secrets")
    os.mkdir(f"{state}/repos")
    config = _parser()
    for section in repositories.sections:
        options = repositories.filled_in(section, f"{seen_as}/secrets")
        options["enabled"] = "1"
        options["gpgkey"] = " ".join(urls[key.content] for key in section.keys)
        if ca := default_ca():
            options.setdefault("sslcacert", os.path.abspath(ca))
        config[section.id] = options
    with open(f"{state}/repos/pybuild.repo", "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        config.write(file)


def write_secrets(secrets: Secrets, place: str) -> None:
    """Write the files of secrets into a new directory, for its owner's eyes only."""
    os.mkdir(place, 0o700)
    for target, content in secrets.files.items():
        fd = os.open(f"{place}/{secret_name(target)}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(fd, "wb") as file:
            file.write(content)


def read_key(name: str, reader: Reader) -> Key:
    """`FILE` or URL of a key, perhaps with `#FINGERPRINT`; raises BuildError."""
    name, _, wanted = name.partition("#")
    content = reader.read(name, "key")
    try:
        found = fingerprints(content)
    except BuildError as error:
        raise BuildError(f"key {name!r}: {error.message}") from None
    wanted = wanted.replace(" ", "").removeprefix("0x").upper()
    if wanted and wanted not in found:
        raise BuildError(
            f"key {name!r} has the fingerprint {', '.join(found)}, not {wanted}",
            hint="a fingerprint is all 40 hexadecimal digits, or 64" if len(wanted) < 40 else None,
        )
    return Key(name=name, content=content, fingerprints=found)


@contextmanager
def located(span: Span) -> Iterator[None]:
    """Give a BuildError a place."""
    try:
        yield
    except BuildError as error:
        raise LocatedError(error, span) from error


@contextmanager
def secret_files(secrets: Secrets, sections: list[Section]) -> Iterator[str]:
    """With the files of secrets where a connection needs them, for as long as it takes."""
    targets = {value for s in sections for name, value in s.options if name in _FILES}
    if not targets & secrets.files.keys():
        yield ""
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="pybuild-") as directory:
        write_secrets(secrets, f"{directory}/secrets")
        yield f"{directory}/secrets"


def _parser() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    return parser


def are_files(packages: tuple[Package, ...]) -> bool:
    return bool(packages) and all("/" in package.text for package in packages)


def _sections(
    repository: Repository,
    step: BootstrapStep,
    common: tuple[Key, ...],
    reader: Reader,
    variables: Mapping[str, str],
) -> Iterator[Section]:
    if repository.url:
        options = {
            "name": repository.id,
            "baseurl": place_url(repository.url, "repository", reader),
        }
        if repository.priority is not None:
            options["priority"] = str(repository.priority)
        own = (read_key(repository.key, reader),) if repository.key else ()
        yield _section(repository.id, options, own or common, step, repository)
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
    for id in parser.sections():
        options = dict(parser.items(id))
        if options.get("enabled", "1").strip().lower() not in _OFF:
            keys = common or _own_keys(options, step, reader, variables)
            secret = reader.is_secret(name)
            yield _section(id, options, keys, step, repository).replace(secret=secret)


def _section(
    id: str,
    options: dict[str, str],
    keys: tuple[Key, ...],
    step: BootstrapStep,
    repository: Repository,
) -> Section:
    options["gpgcheck"] = "1" if step.gpgcheck else "0"
    options.pop("gpgkey", None)
    url = repository.url
    return Section(
        id=id,
        options=tuple(options.items()),
        keys=keys,
        written="" if not url or url.startswith(SCHEMES) else url,
        secret=False,
        span=repository.span,
    )


def _portable(section: Section) -> Iterator[tuple[str, str]]:
    """The options that say what is got, as they were written: the same in every checkout."""
    for name, value in section.options:
        if name not in _OF_CONNECTIONS:
            yield name, section.written if name == "baseurl" and section.written else value


def _own_keys(
    options: Mapping[str, str], step: BootstrapStep, reader: Reader, variables: Mapping[str, str]
) -> tuple[Key, ...]:
    """Those that a .repo file names; with --nogpgcheck only what a signed repomd.xml needs."""
    signed = options.get("repo_gpgcheck", "0").strip().lower() not in _OFF
    if not step.gpgcheck and not signed:
        return ()
    found = []
    for url in options.get("gpgkey", "").replace(",", " ").split():
        try:
            found.append(read_key(_substituted(url, variables), reader))
        except NetworkError as error:
            hint = "--key=FILE gives it from the context" if url.startswith("file:") else None
            raise type(error)(error.message, hint=hint or error.hint) from error
    return tuple(found)


def place_url(url: str, what: str, reader: Reader) -> str:
    """A URL without a scheme is a place in the context."""
    return url if url.startswith(SCHEMES) else "file://" + quote(reader.place(url, what))


def _metadata(section: Section, found: Repositories, reader: Reader, secrets_at: str) -> bytes:
    """What identifies the repository's content now: its repomd.xml, or its metalink's text."""
    options = found.filled_in(section, secrets_at)
    for option in ("baseurl", "metalink", "mirrorlist"):
        urls = options.get(option, "").split()
        if urls:
            url = urls[0].rstrip("/") + ("/repodata/repomd.xml" if option == "baseurl" else "")
            url = _substituted(url, found.variables)
            return reader.fetch(url, f"repository {section.id!r}", access_of(options))
    raise BuildError(f"repository {section.id!r} has no baseurl, metalink or mirrorlist")


def _substituted(text: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda m: values.get(m[1] or m[2], m[0]), text)
