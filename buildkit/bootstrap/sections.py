"""The sections of .repo files: what of one repository dnf will see, but for secrets."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from buildkit.bootstrap.access import Access
from buildkit.bootstrap.fetching import SCHEMES, Reader
from buildkit.bootstrap.keys import Key, read_key
from buildkit.errors import BuildError, NetworkError
from buildkit.steps import BootstrapStep, Repository
from buildkit.urls import credentials, without_password
from grammar import Span
from runtime.record import Record

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_OFF = ("0", "false", "no", "off")
# Options that say where from and who may, and nothing of what is got.
OF_CONNECTIONS = frozenset(Access._fields)


class Section(Record):
    """One repository as dnf will see it, but for what secrets add."""

    id: str
    options: tuple[tuple[str, str], ...]
    keys: tuple[Key, ...]  # of its packages; empty: they are not checked
    written: str  # what was given as its place, if that is one in the context
    secret: bool  # from a file that is one: for no key, lock or log
    span: Span  # of the --repo it came from

    def option(self, name: str) -> str:
        """The value of an option, empty if it is not there."""
        return dict(self.options).get(name, "")


def read_sections(
    repository: Repository,
    step: BootstrapStep,
    common: tuple[Key, ...],
    reader: Reader,
    variables: Mapping[str, str],
) -> Iterator[Section]:
    """What a --repo names: its sections that are enabled; raises BuildError."""
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
    parser = repository_parser()
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


def portable(section: Section) -> Iterator[tuple[str, str]]:
    """The options that say what is got, as they were written: the same in every checkout."""
    for name, value in section.options:
        if name not in OF_CONNECTIONS:
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
            found.append(read_key(substituted(url, variables), reader))
        except NetworkError as error:
            hint = "--key=FILE gives it from the context" if url.startswith("file:") else None
            raise type(error)(error.message, hint=hint or error.hint) from error
    return tuple(found)


def with_setopts(section: Section, setopts: tuple[str, ...]) -> Section:
    """With what --setopt says of its connections, which are not dnf's alone.

    Who somebody is stands in options of its own, not in URLs, which are shown and written down.
    """
    import fnmatch

    options = dict(section.options)
    for option in ("baseurl", "metalink", "mirrorlist"):
        urls = options.get(option, "").split()
        for url in urls:
            user, password = credentials(url)
            if user:
                options.setdefault("username", user)
                options.setdefault("password", password)
        if urls:
            options[option] = " ".join(map(without_password, urls))
    for setopt in setopts:
        name, _, value = setopt.partition("=")
        pattern, dot, option = name.rpartition(".")
        if dot and fnmatch.fnmatchcase(section.id, pattern):
            options[option] = value
        elif not dot and option in OF_CONNECTIONS:
            options.setdefault(option, value)
    return section.replace(options=tuple(options.items()))


def base_architecture(arch: str) -> str:
    """What dnf puts in the place of `$basearch` (dnf.rpm.basearch)."""
    if re.fullmatch(r"i[3-6]86|athlon|geode", arch):
        return "i386"
    if re.fullmatch(r"armv[678]h\w+", arch):
        return "armhfp"
    return "arm" if re.fullmatch(r"armv\w+", arch) else arch


def place_url(url: str, what: str, reader: Reader) -> str:
    """A URL without a scheme is a place in the context.

    Where the packages are locked they may all be vendored, and the place be gone.
    """
    if url.startswith(SCHEMES):
        return url
    return "file://" + quote(reader.place(url, what, is_there=not reader.locked))


def substituted(text: str, values: Mapping[str, str]) -> str:
    """A text with the values of `$NAME` and `${NAME}`; unknown ones stay."""
    return _VARIABLE.sub(lambda m: values.get(m[1] or m[2], m[0]), text)


def repository_parser() -> configparser.RawConfigParser:
    """A reader and writer of .repo files."""
    parser = configparser.RawConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    return parser
