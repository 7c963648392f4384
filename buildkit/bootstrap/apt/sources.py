"""The repositories of a BOOTSTRAP --manager=apt: --repo, .list and .sources (sources.list(5))."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator

from buildkit.bootstrap.access import access_of
from buildkit.bootstrap.fetching import SCHEMES, Reader
from buildkit.bootstrap.keys import Key, read_key
from buildkit.bootstrap.openpgp import fingerprints
from buildkit.bootstrap.repositories import Repositories, collect_sections, located
from buildkit.bootstrap.secrets import Secrets
from buildkit.bootstrap.sections import Section, place_url
from buildkit.errors import BuildError, NetworkError
from buildkit.packages.dpkg_status import stanzas
from buildkit.packages.errors import PackageError
from buildkit.steps import BootstrapStep, Repository
from runtime.record import Record

_LINE = re.compile(r"(?P<type>deb|deb-src)\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<rest>\S.*)")
_NO = ("no", "false", "0", "off", "without", "disable")
# What a source may say beside its place, in deb822's spelling; who is trusted is said by --key.
_OPTIONS = {
    name.lower(): name
    for name in (
        "By-Hash",
        "PDiffs",
        "Check-Valid-Until",
        "Valid-Until-Min",
        "Valid-Until-Max",
        "Check-Date",
        "Date-Max-Future",
    )
}
# In the order in which apt looks for them; the last only in a flat repository without a Release.
_RELEASES = ("InRelease", "Release")
_PACKAGES = ("Packages.xz", "Packages.gz", "Packages")


class _Source(Record):
    """One `deb` line, or one stanza."""

    fields: dict[str, str]  # by deb822's names in lower case

    def words(self, name: str) -> list[str]:
        return self.fields.get(name, "").split()


def read_sources(
    step: BootstrapStep, reader: Reader, secrets: Secrets, *, metadata: bool
) -> Repositories:
    """Read sources, keys and the digests of Release files; raises BuildError or LocatedError.

    Without `metadata`, no server is asked for what its repository holds.
    """
    sections = collect_sections(
        step,
        reader,
        lambda repository, common: _sections(repository, step, common, reader),
        hint="--repo=id=NAME,url=URL,suite=SUITE, or --repo=FILE.sources",
    )
    digests = []
    if metadata:
        for section in sections:
            with located(section.span):
                digests.append((section.id, _metadata(section, reader)))
    return Repositories(
        sections=sections,
        metadata=tuple(digests),
        inputs=tuple(reader.inputs),
        secrets=secrets,
        variables={},
    )


def is_flat(suite: str) -> bool:
    """Whether a suite is the path of a repository without components."""
    return suite.endswith("/")


def _sections(
    repository: Repository, step: BootstrapStep, common: tuple[Key, ...], reader: Reader
) -> Iterator[Section]:
    if repository.url:
        own = (read_key(repository.key, reader),) if repository.key else common
        fields = {
            "uris": repository.url,
            "suites": " ".join(repository.suites) or step.releasever,
            "components": " ".join(repository.components),
        }
        yield _section(repository.id, _Source(fields=fields), own, repository, reader)
        return
    name = repository.file
    text = reader.read(name, "sources of apt").decode("utf-8", "replace")
    try:
        sources = list(_read(text, name))
    except PackageError as error:
        raise BuildError(f"not sources of apt: {error}") from error
    stem = re.sub(r"[^A-Za-z0-9.-]", "-", os.path.basename(name).rpartition(".")[0] or name)
    number = 0
    for source in sources:
        if "deb" not in source.words("types"):
            continue
        if source.fields.get("enabled", "yes").lower() in _NO:
            continue
        if source.words("architectures") and step.arch not in source.words("architectures"):
            continue
        number += 1
        id = stem if number == 1 else f"{stem}-{number}"
        keys = common or _own_keys(source, step, reader)
        section = _section(id, source, keys, repository, reader)
        yield section.replace(secret=reader.is_secret(name))
    if not number:
        raise BuildError(f"{name}: no repository of {step.arch} packages in it")


def _read(text: str, name: str) -> Iterator[_Source]:
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if line and not line.startswith("#")]
    if lines and lines[0].startswith("["):
        raise BuildError(
            f"{name} is a .repo file, which is for dnf",
            hint="apt takes .list and .sources files, and --repo=id=NAME,url=URL,suite=SUITE",
        )
    if not name.endswith(".list") and not (lines and _LINE.match(lines[0])):
        for _, fields in stanzas(text, name):
            yield _Source(fields=fields)
        return
    for line in lines:
        match = _LINE.fullmatch(line.partition(" #")[0].strip())
        if match is None:
            raise BuildError(
                f"{name}: {line!r}: deb [OPTION=VALUE…] URL SUITE COMPONENT… expected"
            )
        url, *rest = match["rest"].split()
        options = dict(word.partition("=")[::2] for word in (match["options"] or "").split())
        fields = {key.lower(): value.replace(",", " ") for key, value in options.items()}
        fields["architectures"] = fields.pop("arch", "")
        fields |= {"types": match["type"], "uris": url, "suites": " ".join(rest[:1])}
        yield _Source(fields=fields | {"components": " ".join(rest[1:])})


def _section(
    id: str, source: _Source, keys: tuple[Key, ...], repository: Repository, reader: Reader
) -> Section:
    urls, suites = source.words("uris"), source.words("suites")
    if not urls or not suites:
        missing = "suite" if urls else "URL"
        raise BuildError(f"repository {id!r} has no {missing}", hint="suite=NAME, or --releasever")
    for suite in suites:
        if is_flat(suite) and source.words("components"):
            raise BuildError(f"repository {id!r}: the suite {suite} has no components")
    flat = all(map(is_flat, suites))
    components = source.words("components") or ([] if flat else ["main"])
    places = [place_url(url.rstrip("/") or "/", "repository", reader) for url in urls]
    options = [("baseurl", " ".join(places)), ("suites", " ".join(suites))]
    options.append(("components", " ".join(components)))
    options += [(key, value) for key, value in source.fields.items() if key in _OPTIONS]
    written = "" if repository.url.startswith(SCHEMES) else repository.url
    return Section(
        id=id,
        options=tuple(options),
        keys=keys,
        secret=False,
        written=written,
        span=repository.span,
    )


def passed_on(section: Section) -> dict[str, str]:
    """Options that apt gets as they were written."""
    return {_OPTIONS[name]: value for name, value in section.options if name in _OPTIONS}


def _own_keys(source: _Source, step: BootstrapStep, reader: Reader) -> tuple[Key, ...]:
    """Those of Signed-By: in the file itself, files of the context or this machine's."""
    text = source.fields.get("signed-by", "")
    if not step.gpgcheck or not text:
        return ()
    if "-----BEGIN" in text:
        content = re.sub(r"^\.$", "", text, flags=re.MULTILINE).strip().encode() + b"\n"
        return (Key(name="Signed-By", content=content, fingerprints=fingerprints(content)),)
    found = []
    for word in text.replace(",", " ").split():
        if not word.startswith("/") and "/" not in word and "." not in word:
            continue  # a fingerprint: of a key that --key gives
        named = f"file://{word}" if word.startswith("/") else word
        try:
            found.append(read_key(named, reader))
        except NetworkError as error:
            hint = "--key=FILE gives it from the context"
            raise NetworkError(error.message, hint=hint) from error
    return tuple(found)


def _metadata(section: Section, reader: Reader) -> str:
    """What identifies the repository's content now: its Release files."""
    content = hashlib.sha256()
    for url in section.option("baseurl").split():
        for suite in section.option("suites").split():
            content.update(hashlib.sha256(_release(section, url, suite, reader)).digest())
    return f"sha256:{content.hexdigest()}"


def _release(section: Section, url: str, suite: str, reader: Reader) -> bytes:
    flat = is_flat(suite)
    place = f"{url}/{suite.strip('/')}" if flat else f"{url}/dists/{suite}"
    place = place.removesuffix("/.")
    names = (*_RELEASES, *_PACKAGES) if flat else _RELEASES
    for name in names:
        try:
            access = access_of(dict(section.options))
            return reader.fetch(f"{place}/{name}", f"repository {section.id!r}", access)
        except NetworkError as error:
            if not ("404 " in error.message or error.message.endswith(os.strerror(2))):
                raise
    what = "repository there" if flat else f"suite {suite!r}"
    shown = place if place.startswith(SCHEMES) else url
    raise BuildError(f"repository {section.id!r} has no {what}: no Release file below {shown}")
