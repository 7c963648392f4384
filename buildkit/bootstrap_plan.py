"""Planning BOOTSTRAP, our extension: packages from outside the image, in one layer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from buildkit import history
from buildkit.platforms import deb_architecture, docker_architecture, rpm_architecture
from buildkit.run_plan import one_of, plan_mounts
from buildkit.steps import (
    CLEANINGS,
    MANAGERS,
    Base,
    BootstrapStep,
    ContextBase,
    Package,
    PackageFile,
    Plan,
    Repository,
    RunMount,
)
from grammar import Bootstrap, ContainerfileWarning, Word
from grammar.values.mounts import SecretMount

if TYPE_CHECKING:
    from buildkit.stage_plan import StagePlanner

# The package manager replaces these itself, also in `url=`.
_MANAGER_VARIABLES = frozenset({"releasever", "basearch", "arch"})
# Options of dnf that say where its own things are, or that rpm would not hear of.
_OUR_OPTIONS = frozenset(
    "installroot config_file_path reposdir varsdir cachedir system_cachedir persistdir logdir"
    " plugins pluginpath pluginconfpath transformdb rpmverbosity enabled name".split()
)
_OUR_FLAGS = {
    "tsflags": "--docs",
    "gpgcheck": "--nogpgcheck",
    "localpkg_gpgcheck": "--nogpgcheck",
    "gpgkey": "--key",
    "install_weak_deps": "--weak",
    "arch": "--arch",
    "basearch": "--arch",
    "ignorearch": "--arch",
    "releasever": "--releasever",
    "baseurl": "--repo",
    "metalink": "--repo",
    "mirrorlist": "--repo",
}
_DNF_KEYS = ("id", "url", "key", "priority")
_APT_KEYS = ("id", "url", "key", "suite", "components")
_LANGS = re.compile(r"[A-Za-z0-9_@.,:-]*")  # names of directories of translations


def plan_bootstrap(stage: StagePlanner, bootstrap: Bootstrap) -> BootstrapStep:
    """Expand one BOOTSTRAP; raises ContainerfileError."""
    packages = tuple(_package(stage, word) for word in bootstrap.packages)
    lists = tuple(_list(stage, word) for word in bootstrap.from_files)
    modules = tuple(_module(stage, word) for word in bootstrap.modules)
    if not (packages or lists or modules):
        raise stage.error("BOOTSTRAP without a package", bootstrap.span)
    manager = one_of(stage, "--manager", bootstrap.manager, MANAGERS)
    if manager == "apt":
        _check_apt(stage, bootstrap, packages)
    arch = stage.expand_optional(bootstrap.arch)
    if manager == "apt":  # Debian's words, whichever it was given in
        arch = deb_architecture(f"linux/{docker_architecture(arch)}" if arch else stage.platform)
    else:
        arch = arch or rpm_architecture(stage.platform)
    releasever = stage.expand_optional(bootstrap.releasever)
    number = sum(isinstance(step, BootstrapStep) for step in stage.steps)
    return BootstrapStep(
        about=stage.about(bootstrap, history.made_files(bootstrap.text)),
        name=f"{stage.name}/{number}/{arch}",
        manager=manager,
        packages=packages,
        lists=lists,
        excludes=tuple(stage.expand(word) for word in bootstrap.excludes),
        modules=modules,
        repositories=tuple(
            _repository(stage, word, manager, releasever) for word in bootstrap.repos
        ),
        keys=tuple(_word(stage, "--key", word) for word in bootstrap.keys),
        releasever=releasever,
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


def warnings_of(plan: Plan) -> list[ContainerfileWarning]:
    """What deserves a look in its bootstraps: packages that nobody vouches for."""
    return [
        ContainerfileWarning(
            code="UncheckedPackages",
            message="--nogpgcheck: it is not checked who made the packages",
            span=step.about.span,
            hint="--key=FILE, or key=FILE of a --repo, names the key that they are signed with",
        )
        for stage in plan.stages
        for step in stage.steps
        if isinstance(step, BootstrapStep) and not step.gpgcheck
    ]


def _check_apt(stage: StagePlanner, bootstrap: Bootstrap, packages: tuple[Package, ...]) -> None:
    """Raise ContainerfileError for what means nothing to apt and dpkg."""
    flags = [("--module", word) for word in bootstrap.modules]
    flags += [("--dbpath", word) for word in (bootstrap.dbpath,) if word is not None]
    for name, word in flags:
        raise stage.error(f"{name} means nothing to apt", word.span, "it is for dnf and rpm")
    if bootstrap.allow_scriptlet_failure:
        raise stage.error(
            "--allow-scriptlet-failure means nothing to apt",
            bootstrap.span,
            "dpkg does not configure a package whose script failed",
        )
    langs = stage.expand_optional(bootstrap.langs)
    if bootstrap.langs is not None and not _LANGS.fullmatch(langs):
        raise stage.error(f"--langs={langs}: LANGUAGE,… expected", bootstrap.langs.span)
    for package in packages:
        if package.text.startswith("@"):
            raise stage.error(
                f"apt has no groups: {package.text}",
                package.span,
                "a task is NAME^, a metapackage is a package",
            )
        if "," in package.text or package.text.endswith("-"):
            raise stage.error(f"{package.text!r} is not a package of Debian's", package.span)


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
    option = name.rpartition(".")[2]
    # What is left out of all repositories is asked for again in groups: see the resolver.
    flag = "--exclude" if name in ("exclude", "excludepkgs") else _OUR_FLAGS.get(option)
    if flag or option in _OUR_OPTIONS:
        hint = f"{flag} says that" if flag else None
        raise stage.error(f"--setopt={name}: BOOTSTRAP sets that itself", word.span, hint)
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


def _repository(stage: StagePlanner, word: Word, manager: str, releasever: str) -> Repository:
    apt = manager == "apt"
    keys = _APT_KEYS if apt else _DNF_KEYS
    text = stage.expand(word, keep=frozenset() if apt else _MANAGER_VARIABLES)
    if not text.startswith(("id=", "url=")):
        if not text:
            raise stage.error("--repo is empty", word.span)
        return Repository(id="", file=text, span=word.span)
    values: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if name not in keys or not equals or not value:
            known = ", ".join(f"{key}=" for key in keys)
            hint = None
            if name in _APT_KEYS and not apt:
                hint = f"{name}= is for --manager=apt"
            raise stage.error(f"--repo: {part!r} is not one of {known}", word.span, hint)
        values[name] = value
    if "id" not in values or "url" not in values:
        kind = ".list or .sources" if apt else ".repo"
        raise stage.error(f"--repo: id=NAME,url=URL or a {kind} file expected", word.span)
    if apt and not (values.get("suite") or releasever):
        raise stage.error(
            "--repo without a suite", word.span, "suite=NAME, or --releasever=NAME for all"
        )
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
        suites=_listed(values.get("suite", "")),
        components=_listed(values.get("components", "")),
        span=word.span,
    )


def _listed(text: str) -> tuple[str, ...]:
    """Words with + or spaces between them: a comma ends the value."""
    return tuple(text.replace("+", " ").split())
