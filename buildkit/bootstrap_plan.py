"""Planning BOOTSTRAP, our extension: packages from outside the image, in one layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildkit import history
from buildkit.platforms import rpm_architecture
from buildkit.run_plan import one_of, plan_mounts
from buildkit.steps import (
    CLEANINGS,
    MANAGERS,
    Base,
    BootstrapStep,
    ContextBase,
    Package,
    PackageFile,
    Repository,
    RunMount,
)
from grammar import Bootstrap, Word
from grammar.values.mounts import SecretMount

if TYPE_CHECKING:
    from buildkit.stage_plan import StagePlanner

# The package manager replaces these itself, also in `url=`.
_MANAGER_VARIABLES = frozenset({"releasever", "basearch", "arch"})
_REPOSITORY_KEYS = ("id", "url", "key", "priority")


def plan_bootstrap(stage: StagePlanner, bootstrap: Bootstrap) -> BootstrapStep:
    """Expand one BOOTSTRAP; raises ContainerfileError."""
    packages = tuple(_package(stage, word) for word in bootstrap.packages)
    lists = tuple(_list(stage, word) for word in bootstrap.from_files)
    modules = tuple(_module(stage, word) for word in bootstrap.modules)
    if not (packages or lists or modules):
        raise stage.error("BOOTSTRAP without a package", bootstrap.span)
    arch = stage.expand_optional(bootstrap.arch) or rpm_architecture(stage.platform)
    number = sum(isinstance(step, BootstrapStep) for step in stage.steps)
    return BootstrapStep(
        about=stage.about(bootstrap, history.made_files(bootstrap.text)),
        name=f"{stage.name}/{number}/{arch}",
        manager=one_of(stage, "--manager", bootstrap.manager, MANAGERS),
        packages=packages,
        lists=lists,
        excludes=tuple(stage.expand(word) for word in bootstrap.excludes),
        modules=modules,
        repositories=tuple(_repository(stage, word) for word in bootstrap.repos),
        keys=tuple(_word(stage, "--key", word) for word in bootstrap.keys),
        releasever=stage.expand_optional(bootstrap.releasever),
        arch=arch,
        setopts=tuple(_setopt(stage, word) for word in bootstrap.setopts),
        dbpath=_dbpath(stage, bootstrap.dbpath),
        langs=stage.expand_optional(bootstrap.langs),
        clean=one_of(stage, "--clean", bootstrap.clean, CLEANINGS),
        lock=stage.expand_optional(bootstrap.lock),
        tools=_tools(stage, bootstrap.tools),
        secrets=_secrets(stage, bootstrap.mounts),
        weak=bootstrap.weak,
        docs=bootstrap.docs,
        gpgcheck=not bootstrap.nogpgcheck,
        allow_scriptlet_failure=bootstrap.allow_scriptlet_failure,
    )


def _package(stage: StagePlanner, word: Word) -> Package:
    text = stage.expand(word)
    if not text or text.startswith("-"):
        raise stage.error(
            f"{text!r} is not a package",
            word.span,
            "flags stand before the packages; --exclude=NAME leaves one out",
        )
    return Package(text=text, span=word.span)


def _list(stage: StagePlanner, word: Word) -> PackageFile:
    return PackageFile(path=_word(stage, "--from-file", word).text, span=word.span)


def _word(stage: StagePlanner, flag: str, word: Word) -> Package:
    text = stage.expand(word)
    if not text:
        raise stage.error(f"{flag} is empty", word.span)
    return Package(text=text, span=word.span)


def _module(stage: StagePlanner, word: Word) -> Package:
    module = _word(stage, "--module", word)
    name, colon, stream = module.text.partition(":")
    if not (name and colon and stream):
        raise stage.error(f"--module={module.text}: NAME:STREAM expected", word.span)
    return module


def _setopt(stage: StagePlanner, word: Word) -> str:
    text = stage.expand(word)
    name, equals, _ = text.partition("=")
    if not name or not equals:
        raise stage.error(f"--setopt={text}: NAME=VALUE expected", word.span)
    return text


def _tools(stage: StagePlanner, word: Word | None) -> Base | None:
    if word is None:
        return None
    found = stage.origin(word, None)
    if isinstance(found, ContextBase):
        raise stage.unsupported("BOOTSTRAP --tools with a directory", word.span)
    return found


def _secrets(stage: StagePlanner, words: tuple[Word, ...]) -> tuple[RunMount, ...]:
    mounts = plan_mounts(stage, words)
    for mount in mounts:
        if not isinstance(mount.mount, SecretMount):
            raise stage.error(
                "BOOTSTRAP takes secrets alone", mount.span, "--mount=type=secret,id=NAME"
            )
    return mounts


def _dbpath(stage: StagePlanner, word: Word | None) -> str:
    if word is None:
        return ""
    path = stage.expand(word)
    if not path.startswith("/"):
        raise stage.error(f"--dbpath={path}: an absolute path expected", word.span)
    return path


def _repository(stage: StagePlanner, word: Word) -> Repository:
    text = stage.expand(word, keep=_MANAGER_VARIABLES)
    if not text.startswith(("id=", "url=")):
        if not text:
            raise stage.error("--repo is empty", word.span)
        return Repository(id="", file=text, span=word.span)
    values: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if name not in _REPOSITORY_KEYS or not equals or not value:
            known = ", ".join(f"{key}=" for key in _REPOSITORY_KEYS)
            raise stage.error(f"--repo: {part!r} is not one of {known}", word.span)
        values[name] = value
    if "id" not in values or "url" not in values:
        raise stage.error("--repo: id=NAME,url=URL or a .repo file expected", word.span)
    if not values["id"].replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise stage.error(f"--repo: {values['id']!r} is not a repository id", word.span)
    priority = values.pop("priority", None)
    if priority is not None and not priority.isdigit():
        raise stage.error(f"--repo: priority {priority!r} is not a number", word.span)
    return Repository(
        id=values["id"],
        url=values["url"],
        key=values.get("key", ""),
        priority=None if priority is None else int(priority),
        span=word.span,
    )
