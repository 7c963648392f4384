"""Finding out what is to be installed, by dnf 4 in a process of its own that speaks JSON."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

from buildkit.bootstrap import transcript
from buildkit.bootstrap.asked import Asked, PackageHere
from buildkit.bootstrap.full_disk import program_error
from buildkit.bootstrap.managers import Manager
from buildkit.bootstrap.repositories import Repositories, write_repositories
from buildkit.bootstrap.resolved import (
    AnyPackage,
    Resolved,
    ResolvedRepository,
    read_resolved,
)
from buildkit.bootstrap.surroundings import Surroundings
from buildkit.bootstrap.transcript import Log
from buildkit.errors import BuildError, LocatedError
from buildkit.steps import BootstrapStep
from grammar import Span
from runtime.store.store import Store


def resolve(
    manager: Manager,
    step: BootstrapStep,
    asked: Asked,
    surroundings: Surroundings,
    *,
    dbpath: str | None,
    pins: Mapping[str, str],
    variables: Mapping[str, str],
    store: Store,
    log: Log,
) -> Resolved:
    """The packages that a BOOTSTRAP leads to; `dbpath` is where the root has its database, if any.

    `pins` are the only versions (NEVRA) that some packages (NAME.ARCH) may have. Raises
    LocatedError for a word or a repository.
    """
    configure(asked.repositories, surroundings, dbpath)
    files = _link_files(asked, surroundings)
    if manager.kind == "dnf5":
        from buildkit.bootstrap.dnf5 import resolve_by_dnf5

        return resolve_by_dnf5(
            step, asked, surroundings, files, variables=variables, store=store, log=log
        )
    state, seen = surroundings.state, surroundings.seen
    script = resources.files("buildkit.bootstrap").joinpath("dnf_resolver.py")
    with open(f"{state}/dnf_resolver.py", "w", encoding="utf-8") as file:
        file.write(script.read_text(encoding="utf-8"))
    with open(f"{state}/request.json", "w", encoding="utf-8") as file:
        json.dump(_request(step, asked, surroundings, files, dbpath, pins), file)
    arguments = (
        manager.interpreter,
        f"{seen}/dnf_resolver.py",
        f"{seen}/request.json",
        f"{seen}/answer.json",
    )
    # The home is the only way to rpm's macros.
    own = {"HOME": f"{seen}/home", "PYTHONDONTWRITEBYTECODE": "1"}
    own |= _without_proxy(asked.repositories, variables)
    status = surroundings.run(arguments, {**variables, **own}, log.listen)
    try:
        with open(f"{state}/answer.json", encoding="utf-8") as file:
            answer = json.load(file)
    except (FileNotFoundError, json.JSONDecodeError):  # or half of it, on a full disk
        lines = log.text.strip().splitlines()
        said = lines[-1] if lines else f"ended with status {status}"
        raise program_error(f"dnf: {said}", log.text) from None
    if "error" in answer:
        log.listen(f"{answer['error']['text'].strip()}\n".encode())
        raise _located(answer["error"], log.text, step, asked)
    return _resolved(answer, asked, files)


def _without_proxy(repositories: Repositories, variables: Mapping[str, str]) -> dict[str, str]:
    """For repositories with proxy=_none_: to libdnf that is what the environment says."""
    from urllib.parse import urlsplit

    hosts = [
        urlsplit(url).hostname or ""
        for section in repositories.sections
        if section.option("proxy") == "_none_"
        for option in ("baseurl", "metalink", "mirrorlist")
        for url in section.option(option).split()
    ]
    if not hosts:
        return {}
    given = variables.get("no_proxy") or variables.get("NO_PROXY") or ""
    return {"no_proxy": ",".join([*filter(None, [given]), *hosts])}


def configure(repositories: Repositories, surroundings: Surroundings, dbpath: str | None) -> None:
    """Write all that dnf reads below the state."""
    state = surroundings.state
    write_repositories(repositories, surroundings.seen, state)
    with open(f"{state}/dnf.conf", "w", encoding="utf-8") as file:
        file.write("[main]\n")
    if dbpath is not None:
        with open(f"{state}/home/.rpmmacros", "w", encoding="utf-8") as file:
            file.write(f"%_dbpath {dbpath}\n")


def visible_files(asked: Asked) -> tuple[str, ...]:
    """Paths of this machine that whoever resolves must see."""
    return (*asked.repositories.local_paths(), *(file.path for file in asked.files))


def _request(
    step: BootstrapStep,
    asked: Asked,
    surroundings: Surroundings,
    files: Mapping[str, PackageHere],
    dbpath: str | None,
    pins: Mapping[str, str],
) -> dict[str, Any]:
    return {
        "state": surroundings.seen,
        "installroot": surroundings.root,
        "has_database": dbpath is not None,
        "packages": [package.text for package in asked.packages],
        "files": list(files),
        "excludes": [word for word in asked.excludes if not word.startswith("@")],
        "left_out": [word for word in asked.excludes if word.startswith("@")],
        "modules": [module.text for module in step.modules],
        "setopts": [setopt.split("=", 1) for setopt in step.setopts],
        "releasever": step.releasever,
        "arch": step.arch,
        "weak": step.weak,
        "pins": dict(pins),
    }


def _link_files(asked: Asked, surroundings: Surroundings) -> dict[str, PackageHere]:
    """Give the files among the packages names that dnf takes; they end in .rpm."""
    os.mkdir(f"{surroundings.state}/files")
    names = {}
    for number, file in enumerate(asked.files):
        os.symlink(file.path, f"{surroundings.state}/files/{number}.rpm")
        names[f"{surroundings.seen}/files/{number}.rpm"] = file
    return names


def _resolved(
    answer: Mapping[str, Any], asked: Asked, here: Mapping[str, PackageHere]
) -> Resolved:
    """The helper's answer, with what we know ourselves; `here` are files by their names there."""
    packages = []
    for item in answer["packages"]:
        kind, digest = item.pop("checksum")
        if not item["repo"]:
            file = here[item["path"]]
            digest = file.sha256
            item["size"] = os.stat(file.path).st_size
            item["path"] = file.name
        elif kind != "sha256":
            raise BuildError(
                f"repository {item['repo']!r} names its packages by {kind or 'no digest'}",
                hint="createrepo_c makes sha256, as all repositories of the last years have it",
            )
        packages.append({**item, "sha256": digest})
    known = asked.repositories
    metadata = dict(known.metadata)
    repositories = tuple(
        ResolvedRepository(
            id=section.id,
            baseurls=(section.written,)
            if section.written
            else tuple(answer["repos"].get(section.id, ())),
            repomd=metadata.get(section.id, ""),
            keys=tuple(f for key in section.keys for f in key.fingerprints),
        )
        for section in known.sections
    )
    found = read_resolved({"packages": packages, "repos": {}, "modules": answer["modules"]})
    return found.replace(
        removed=tuple(sorted(answer["removed"])),
        repositories=tuple(sorted(repositories, key=lambda repository: repository.id)),
    )


def _located(
    error: Mapping[str, Any], said: str, step: BootstrapStep, asked: Asked
) -> LocatedError:
    """What the helper could not do, at the word that it is about."""
    text = error["text"]
    if error["kind"] == "package":
        found = BuildError(f"no package {' '.join(error['words'])} in the repositories")
    elif error["kind"] == "group":
        found = BuildError(f"no group {' '.join(error['words'])} in the repositories")
    elif error["kind"] in ("mandatory", "excluded"):
        found = BuildError(text, hint="an exclusion leaves it out (--exclude, or - in a list)")
    elif error["kind"] == "architecture":
        found = BuildError(text, hint=f"--arch={step.arch} is asked for")
    elif error["kind"] == "pin":
        found = BuildError(text, hint="--update NAME takes the version that is there")
    elif error["kind"] == "module":
        found = BuildError(f"module {', '.join(error['words'])}: {_one_line(text)}")
    else:
        failure = transcript.failure(f"{said}\nError: {text}\n", 1)
        place = place_of(failure, step, asked)
        return LocatedError(failure.error, place)
    failure = transcript.Failure(error=found, words=frozenset(error["words"]), repository=None)
    return LocatedError(found, place_of(failure, step, asked))


def _one_line(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def place_of(failure: transcript.Failure, step: BootstrapStep, asked: Asked) -> Span:
    """The word of the instruction that a failure is about, else the whole instruction."""
    for section in asked.repositories.sections:
        if section.id == failure.repository:
            return section.span
    for word in failure.words:
        for module in step.modules:
            if word == module.text:
                return module.span
        if found := place_of_package(word, asked):
            return found
    return step.about.span


def place_of_package(word: str, asked: Asked) -> Span | None:
    """Where a package was asked for, by its word or by its NEVRA."""
    for package in asked.packages:
        # "bash" asked for what failed as "bash-5.2-1.x86_64".
        if word == package.text or re.match(rf"{re.escape(package.text)}-[^-]+-[^-]+$", word):
            return package.span
    return None


def span_of(package: AnyPackage, asked: Asked, step: BootstrapStep) -> Span:
    """Where a package was asked for, else the repository that it is of, else the instruction."""
    for file in asked.files:
        if file.sha256 == package.sha256:
            return file.span
    found = place_of_package(package.label, asked)
    if found is not None:
        return found
    for section in asked.repositories.sections:
        if section.id == package.repo:
            return section.span
    return step.about.span
