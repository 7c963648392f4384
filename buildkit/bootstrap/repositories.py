"""The repositories of a BOOTSTRAP: from what was written to one .repo file of our own.

dnf sees only that file: nothing of the host's configuration, nor of the target's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from buildkit.bootstrap.access import Access, access_of, default_ca
from buildkit.bootstrap.fetching import Reader, local_path
from buildkit.bootstrap.keys import Key, read_key
from buildkit.bootstrap.metadata import present_metadata
from buildkit.bootstrap.secrets import Secrets, secret_name, write_secrets
from buildkit.bootstrap.sections import (
    Section,
    base_architecture,
    portable,
    read_sections,
    repository_parser,
    substituted,
    with_setopts,
)
from buildkit.errors import BuildError, LocatedError
from buildkit.steps import BootstrapStep, Package, Repository
from grammar import Span
from runtime.record import Record
from runtime.store.store import Store
from runtime.store.workspace import Workspace

if TYPE_CHECKING:
    from buildkit.inputs import Input

_FILES = ("sslcacert", "sslclientcert", "sslclientkey")


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
        return [[s.id, [] if s.secret else [list(o) for o in portable(s)]] for s in self.sections]

    def local_paths(self) -> tuple[str, ...]:
        """Files and directories of this machine that the sections name and that exist."""
        urls = [
            substituted(url, self.variables)
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
            text = substituted(value, self.secrets.variables)
            if name in _FILES and text in self.secrets.files:
                text = f"{secrets_at}/{secret_name(text)}"
            found[name] = text
        return found


def read_repositories(
    step: BootstrapStep, reader: Reader, secrets: Secrets, store: Store, *, metadata: bool
) -> Repositories:
    """Read .repo files, keys and the metadata's digests; raises BuildError or LocatedError.

    Without `metadata`, no server is asked for what its repository holds.
    """
    variables = {
        "releasever": step.releasever,
        "basearch": base_architecture(step.arch),
        "arch": step.arch,
    }
    sections = collect_sections(
        step,
        reader,
        lambda repository, common: (
            with_setopts(section, step.setopts)
            for section in read_sections(repository, step, common, reader, variables)
        ),
        hint="--repo=FILE.repo or --repo=id=NAME,url=URL",
    )
    found = Repositories(
        sections=sections,
        metadata=(),
        inputs=tuple(reader.inputs),
        secrets=secrets,
        variables=variables,
    )
    if not metadata:
        return found
    digests = []
    with secret_files(secrets, sections, store) as place:
        for section in sections:
            with located(section.span):
                document = present_metadata(section, found, reader, place)
            digests.append((section.id, "sha256:" + hashlib.sha256(document).hexdigest()))
    return found.replace(metadata=tuple(digests), inputs=tuple(reader.inputs))


def collect_sections(
    step: BootstrapStep,
    reader: Reader,
    read: Callable[[Repository, tuple[Key, ...]], Iterable[Section]],
    *,
    hint: str,
) -> tuple[Section, ...]:
    """Of all --repo, each with who may sign for it; raises BuildError or LocatedError.

    `read` is given a --repo and the keys of --key, `hint` says what a --repo may be.
    """
    common = []
    for word in step.keys:
        with located(word.span):
            common.append(read_key(word.text, reader))
    sections: list[Section] = []
    for repository in step.repositories:
        with located(repository.span):
            sections.extend(read(repository, tuple(common)))
    if not sections and not are_files(step.packages):
        raise BuildError("BOOTSTRAP without a repository", hint=hint)
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
    return tuple(sections)


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
    config = repository_parser()
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


@contextmanager
def located(span: Span) -> Iterator[None]:
    """Give a BuildError a place."""
    try:
        yield
    except BuildError as error:
        raise LocatedError(error, span) from error


@contextmanager
def secret_files(secrets: Secrets, sections: Iterable[Section], store: Store) -> Iterator[str]:
    """With the files of secrets where a connection needs them, for as long as it takes."""
    targets = {value for s in sections for name, value in s.options if name in _FILES}
    if not targets & secrets.files.keys():
        yield ""
        return
    with Workspace(store) as work:  # so that the next one sweeps it if this one is killed
        write_secrets(secrets, f"{work.path}/secrets")
        yield f"{work.path}/secrets"


def are_files(packages: tuple[Package, ...]) -> bool:
    return bool(packages) and all("/" in package.text for package in packages)
