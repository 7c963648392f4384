"""Planning BOOTSTRAP, our extension: packages from outside the image, in one layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildkit import history
from buildkit.platforms import parts_of
from buildkit.steps import BootstrapStep, Package, Repository
from grammar import Bootstrap, Word

if TYPE_CHECKING:
    from buildkit.stage_plan import StagePlanner

# The package manager replaces these itself, also in `url=`.
_MANAGER_VARIABLES = frozenset({"releasever", "basearch", "arch"})
_REPOSITORY_KEYS = frozenset({"id", "url", "key", "priority"})
_RPM_ARCHITECTURES = {
    "386": "i686",
    "amd64": "x86_64",
    "arm64": "aarch64",
    "armv7": "armv7hl",
    "loong64": "loongarch64",
}


def plan_bootstrap(stage: StagePlanner, bootstrap: Bootstrap) -> BootstrapStep:
    """Expand one BOOTSTRAP; raises ContainerfileError."""
    _refuse_unsupported(stage, bootstrap)
    packages = tuple(_package(stage, word) for word in bootstrap.packages)
    if not packages:
        raise stage.error("BOOTSTRAP without a package", bootstrap.span)
    return BootstrapStep(
        about=stage.about(bootstrap, history.made_files(bootstrap.text)),
        packages=packages,
        excludes=tuple(stage.expand(word) for word in bootstrap.excludes),
        repositories=tuple(_repository(stage, word) for word in bootstrap.repos),
        keys=tuple(stage.expand(word) for word in bootstrap.keys),
        releasever=stage.expand_optional(bootstrap.releasever),
        arch=_rpm_architecture(stage.platform),
        setopts=tuple(stage.expand(word) for word in bootstrap.setopts),
        dbpath=_dbpath(stage, bootstrap.dbpath),
        langs=stage.expand_optional(bootstrap.langs),
        weak=bootstrap.weak,
        docs=bootstrap.docs,
        gpgcheck=not bootstrap.nogpgcheck,
        allow_scriptlet_failure=bootstrap.allow_scriptlet_failure,
    )


def _rpm_architecture(platform: str) -> str:
    _, architecture, variant = parts_of(platform)
    return _RPM_ARCHITECTURES.get(architecture + variant, architecture)


def _package(stage: StagePlanner, word: Word) -> Package:
    text = stage.expand(word)
    if not text or text.startswith("-"):
        raise stage.error(
            f"{text!r} is not a package",
            word.span,
            "flags stand before the packages; --exclude=NAME leaves one out",
        )
    return Package(text=text, span=word.span)


def _refuse_unsupported(stage: StagePlanner, bootstrap: Bootstrap) -> None:
    manager = stage.expand_optional(bootstrap.manager)
    if manager not in ("", "auto", "dnf"):
        assert bootstrap.manager is not None
        raise stage.unsupported(f"--manager={manager}", bootstrap.manager.span)
    single = {
        "--arch": bootstrap.arch,
        "--clean": bootstrap.clean,
        "--lock": bootstrap.lock,
        "--tools": bootstrap.tools,
    }
    several = {
        "--module": bootstrap.modules,
        "--from-file": bootstrap.from_files,
        "--mount": bootstrap.mounts,
    }
    words = [(name, word) for name, word in single.items() if word is not None]
    words += [(name, found[0]) for name, found in several.items() if found]
    for name, word in words:
        raise stage.unsupported(f"BOOTSTRAP {name}", word.span)


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
            raise stage.error(
                f"--repo: {part!r} is not one of id=, url=, key=, priority=", word.span
            )
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
