"""Finding out what is to be installed, by dnf 5.

Written from its documentation: there was none to try it with. It takes no plugin and answers no
questions of ours, so it fetches the packages into a directory, and their headers say the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from buildkit.bootstrap import transcript
from buildkit.bootstrap.asked import Asked, PackageHere
from buildkit.bootstrap.fetching import file_sha256
from buildkit.bootstrap.package_files import keep_package
from buildkit.bootstrap.resolved import Module, Resolved, ResolvedRepository, RpmPackage
from buildkit.bootstrap.surroundings import Surroundings
from buildkit.bootstrap.transcript import Log
from buildkit.errors import BuildError, LocatedError
from buildkit.packages import rpm_header as tags
from buildkit.packages.rpm_file import read_header
from buildkit.packages.rpm_header import Header
from buildkit.steps import BootstrapStep
from runtime.store.store import Store

_LOCATIONS = "%{full_nevra}\t%{repoid}\t%{location}\n"


def arguments(
    step: BootstrapStep, asked: Asked, root: str, state: str, files: Iterable[str] = ()
) -> tuple[str, ...]:
    """dnf5's command line: fetch what an installation into `root` takes, and install nothing.

    Raises BuildError for a group that is left out, which dnf5 has no words for.
    """
    argv = [*common(step, root, state), f"--setopt=destdir={state}/fetched"]
    for word in asked.excludes:
        if word.startswith("@"):
            raise BuildError(
                f"dnf5 cannot leave out a group: -{word}", hint="--manager=dnf can, by dnf 4"
            )
        argv.append(f"--exclude={word}")
    argv += ["install", "--assumeyes", "--downloadonly"]
    # Environments are named as groups are.
    argv += [
        "@" + package.text[2:] if package.text.startswith("@^") else package.text
        for package in asked.packages
    ]
    return (*argv, *files)


def enabling_arguments(step: BootstrapStep, root: str, state: str) -> tuple[str, ...]:
    """The command line that lets streams of modules be seen."""
    streams = (module.text for module in step.modules)
    return (*common(step, root, state), "module", "enable", "--assumeyes", *streams)


def common(step: BootstrapStep, root: str, state: str) -> tuple[str, ...]:
    """What every call begins with: configuration and places, all of it ours."""
    # fmt: off
    argv = [
        "dnf5",
        f"--config={state}/dnf.conf",
        f"--installroot={root}",
        f"--setopt=reposdir={state}/repos",
        f"--setopt=varsdir={state}/vars",
        f"--setopt=pluginconfpath={state}/none",
        f"--setopt=cachedir={state}/cache",
        # As root it would use the system's cache, whatever cachedir says.
        f"--setopt=system_cachedir={state}/cache",
        f"--setopt=persistdir={state}/persist",
        f"--setopt=logdir={state}/log",
        f"--setopt=install_weak_deps={int(step.weak)}",
        "--setopt=best=1",
        "--setopt=plugins=0",
        "--refresh",
    ]
    # fmt: on
    if step.arch != os.uname().machine:
        argv.append(f"--forcearch={step.arch}")
    if step.releasever:
        argv.append(f"--releasever={step.releasever}")
    return (*argv, *(f"--setopt={setopt}" for setopt in step.setopts))


def resolve_by_dnf5(
    step: BootstrapStep,
    asked: Asked,
    surroundings: Surroundings,
    files: Mapping[str, PackageHere],
    *,
    variables: Mapping[str, str],
    store: Store,
    log: Log,
) -> Resolved:
    """As `resolving.resolve`, once everything is written that dnf reads.

    `files` are packages of the context and of URLs, by the names that programs have for them.
    """
    from buildkit.bootstrap.resolving import place_of

    root, seen = surroundings.root, surroundings.seen
    fetched = f"{surroundings.state}/fetched"
    os.mkdir(fetched)
    own = {**variables, "HOME": f"{seen}/home"}
    calls = [enabling_arguments(step, root, seen)] if step.modules else []
    if asked.packages or files:
        calls.append(arguments(step, asked, root, seen, files))
    for call in calls:
        if status := surroundings.run(call, own, log.listen):
            failure = transcript.failure(log.text, status)
            raise LocatedError(failure.error, place_of(failure, step, asked))
    said = bytearray()
    query = (*common(step, root, seen), "repoquery", "--available", f"--queryformat={_LOCATIONS}")
    if surroundings.run(query, own, said.extend):
        raise BuildError(f"dnf5 repoquery: {said.decode('utf-8', 'replace').strip()}")
    places: dict[str, tuple[str, str]] = {}
    for line in said.decode("utf-8", "replace").splitlines():
        nevra, _, rest = line.partition("\t")
        repo, _, location = rest.partition("\t")
        places.setdefault(nevra, (repo, location))
    packages = []
    for name in sorted(os.listdir(fetched)):
        path = f"{fetched}/{name}"
        with open(path, "rb") as file:
            package = _package(read_header(file), path, places)
        if not package.repo:  # without one its signature would be nobody's to check
            raise BuildError(f"dnf5 repoquery does not name the repository of {package.label}")
        packages.append(package)
        keep_package(path, package.sha256, store)
    for here in files.values():  # they are not fetched
        with open(here.path, "rb") as file:
            packages.append(_package(read_header(file), here.path, {}))
    metadata = dict(asked.repositories.metadata)
    return Resolved(
        packages=tuple(sorted(packages, key=lambda package: package.id)),
        removed=(),
        repositories=tuple(
            ResolvedRepository(
                id=section.id,
                baseurls=tuple(dict(section.options).get("baseurl", "").split()),
                repomd=metadata.get(section.id, ""),
                keys=tuple(f for key in section.keys for f in key.fingerprints),
            )
            for section in asked.repositories.sections
        ),
        modules=tuple(
            Module(name=name, stream=stream)
            for name, _, stream in (module.text.partition(":") for module in step.modules)
        ),
    )


def _package(header: Header, path: str, places: dict[str, tuple[str, str]]) -> RpmPackage:
    text = header.string
    epoch = header.integer(tags.EPOCH) or 0
    version = f"{text(tags.VERSION)}-{text(tags.RELEASE)}.{text(tags.ARCH)}"
    nevra = f"{text(tags.NAME)}-{epoch}:{version}"
    repo, location = places.get(nevra, ("", path))
    return RpmPackage(
        nevra=nevra,
        repo=repo,
        path=location,
        size=os.stat(path).st_size,
        sha256=file_sha256(path),
        buildtime=header.integer(tags.BUILDTIME) or 0,
        reason="user",
        source=text(tags.SOURCERPM),
    )
