"""Finding out what is to be installed, by apt-get in a root of its own (`config`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import unquote

from buildkit.bootstrap.apt import transcript
from buildkit.bootstrap.apt.config import LOCAL, configure
from buildkit.bootstrap.apt.mirror import LocalDeb, read_local, write_mirror
from buildkit.bootstrap.asked import Asked
from buildkit.bootstrap.repositories import Repositories
from buildkit.bootstrap.resolved import DebPackage, Resolved, ResolvedRepository, read_package
from buildkit.bootstrap.surroundings import Surroundings
from buildkit.bootstrap.transcript import Log
from buildkit.errors import BuildError, LocatedError
from buildkit.steps import BootstrapStep
from grammar import Span

# 'URL' FILE SIZE DIGEST
_URI = re.compile(r"^'(?P<url>[^']+)' (?P<file>\S+) (?P<size>\d+) (?:SHA256:(?P<sha>\w+))?$", re.M)


def resolve(
    step: BootstrapStep,
    asked: Asked,
    surroundings: Surroundings,
    *,
    pins: Mapping[str, str],
    variables: Mapping[str, str],
    output: Callable[[bytes], None],
) -> Resolved:
    """The packages that a BOOTSTRAP leads to, but for their build times.

    `pins` are the only versions (NAME_VERSION_ARCH) that some packages (NAME.ARCH) may have.
    Raises LocatedError for a word or a repository.
    """
    local = [_local(file.path, file.sha256, file.span) for file in asked.files]
    _check_architectures(step, asked, local)
    own = configure(step, asked, pins, surroundings.state, surroundings.seen)
    write_mirror(f"{surroundings.state}/apt/{LOCAL}", local)
    urls = _urls(asked.repositories)
    log = Log(output)
    arguments = ("apt-get", "--quiet", "--error-on=any", "update")
    status = surroundings.run(arguments, {**variables, **own}, log.listen)
    if status:
        raise _located(transcript.failure(log.text, status, urls), step, asked)
    log = Log(lambda _: None)
    words = [_essential(asked.excludes), *(package.text for package in asked.packages)]
    words += [_version_of(one) for one in local]
    installs = ("apt-get", "--quiet", "--yes", "--print-uris", "install", "--", *words)
    status = surroundings.run(installs, {**variables, **own}, log.listen)
    if status:
        raise _located(transcript.failure(log.text, status, urls), step, asked)
    packages = list(_packages(log.text, asked, local, urls, f"{surroundings.seen}/apt/{LOCAL}/"))
    if not packages:
        raise BuildError(
            "apt finds nothing to install: no package is essential, and none is named"
        )
    _check_pins(packages, pins)
    return Resolved(
        packages=tuple(sorted(packages, key=lambda package: package.id)),
        removed=(),
        repositories=_resolved_repositories(asked.repositories),
    )


def place_of(
    words: Iterable[str], repository: str | None, step: BootstrapStep, asked: Asked
) -> Span:
    """The word of the instruction that a failure is about, else the whole instruction."""
    for section in asked.repositories.sections:
        if repository and section.id == repository:
            return section.span
    for word in words:
        name = word.partition(":")[0].partition("_")[0]
        for package in asked.packages:
            if re.split("[:=/]", package.text)[0] in (word, name):
                return package.span
        for file in asked.files:
            if file.word.rpartition("/")[2].split("_")[0].removesuffix(".deb") == name:
                return file.span
    return step.about.span


def _located(failed: transcript.Failure, step: BootstrapStep, asked: Asked) -> LocatedError:
    return LocatedError(failed.error, place_of(failed.words, failed.repository, step, asked))


def _local(path: str, sha256: str, span: Span) -> LocalDeb:
    try:
        return read_local(path, sha256)
    except BuildError as error:
        raise LocatedError(error, span) from error


def _check_architectures(step: BootstrapStep, asked: Asked, local: list[LocalDeb]) -> None:
    for file, one in zip(asked.files, local, strict=True):
        arch = one.file.fields["architecture"]
        if arch not in (step.arch, "all"):
            error = BuildError(f"package {one.id}: is for {arch}, not for {step.arch}")
            raise LocatedError(error, file.span)


def _version_of(one: LocalDeb) -> str:
    return f"{one.file.fields['package']}={one.file.fields['version']}"


def _essential(excludes: tuple[str, ...]) -> str:
    """The pattern of what every system has, but for what is left out (apt-patterns(7))."""
    left_out = "".join(f",?not(?name(^{_expression(name)}$))" for name in excludes)
    return f"?and(?essential{left_out})"


def _expression(glob: str) -> str:
    """The regular expression of a pattern that has * and ? in it."""
    escaped = re.sub(r"[.+^$(){}|\\]", r"[\g<0>]", glob)
    return escaped.replace("*", ".*").replace("?", ".")


def _urls(repositories: Repositories) -> dict[str, str]:
    """The ids of repositories by their URLs, as apt writes them."""
    found: dict[str, str] = {}
    for section in repositories.sections:
        for url in section.option("baseurl").split():
            found.setdefault(_plain(url), section.id)
    return found


def _plain(url: str) -> str:
    """One spelling for each URL: apt shows no passwords, and one slash of file:///."""
    url = re.sub(r"^([a-z+]+://)[^/@]*@", r"\1", url)
    return unquote(re.sub("^file:/+", "file:/", url)).rstrip("/")


def _packages(
    said: str, asked: Asked, local: list[LocalDeb], urls: dict[str, str], local_at: str
) -> Iterable[DebPackage]:
    named = {re.split("[:=/]", package.text)[0] for package in asked.packages}
    names = {file.sha256: file.name for file in asked.files}
    here = {one.sha256: one for one in local}
    for match in _URI.finditer(said):
        deb = unquote(match["file"]).removesuffix(".deb")
        url = _plain(match["url"])
        if not match["sha"]:
            raise BuildError(f"the repository of {deb} names its packages by no SHA-256")
        known: dict[str, object] = {
            "sha256": match["sha"],
            "size": int(match["size"]),
            "buildtime": 0,
            "source": "",
            "reason": "user" if deb.split("_")[0] in named else "dependency",
        }
        if url.startswith(f"file:{local_at}"):
            one = here[match["sha"]]
            known |= {"deb": one.id, "repo": "", "path": names[one.sha256], "reason": "user"}
        else:
            repo = transcript.repository_of(url, urls)
            base = next(u for u in sorted(urls, key=len, reverse=True) if url.startswith(f"{u}/"))
            known |= {"deb": deb, "repo": repo, "path": url[len(base) + 1 :].removeprefix("./")}
        package = read_package(known)
        assert isinstance(package, DebPackage)
        yield package


def _check_pins(packages: Iterable[DebPackage], pins: Mapping[str, str]) -> None:
    for package in packages:
        wanted = pins.get(package.slot, package.id)
        if wanted != package.id:
            raise BuildError(
                f"{wanted} is locked, and the repositories have {package.id}",
                hint="--update NAME takes the version that is there",
            )


def _resolved_repositories(repositories: Repositories) -> tuple[ResolvedRepository, ...]:
    metadata = dict(repositories.metadata)
    found = (
        ResolvedRepository(
            id=section.id,
            baseurls=(section.written,)
            if section.written
            else tuple(section.option("baseurl").split()),
            repomd=metadata.get(section.id, ""),
            keys=tuple(f for key in section.keys for f in key.fingerprints),
        )
        for section in repositories.sections
    )
    return tuple(sorted(found, key=lambda repository: repository.id))
