"""Run by the Python that has dnf 4: `dnf_resolver.py REQUEST ANSWER`, both files of JSON.

It finds out what is to be installed, and installs nothing. Its standard output is dnf's own words.
Nothing of the configuration of this machine, nor of the root's, is read. Python 3.9 is enough.
"""

from __future__ import annotations

import fnmatch
import json
import logging
import sys
from typing import Any

import dnf  # type: ignore[import-not-found]
import dnf.module.module_base  # type: ignore[import-not-found]
import hawkey  # type: ignore[import-not-found]
import libdnf.error  # type: ignore[import-not-found]
import libdnf.transaction  # type: ignore[import-not-found]

_INSTALLED = ("install", "upgrade", "downgrade", "reinstall", "obsoleting")


class _Failure(Exception):
    """What could not be found out: `words` or `repo` say whom it is about."""

    def __init__(self, kind: str, text: str, words: tuple[str, ...] = (), repo: str = "") -> None:
        super().__init__(text)
        self.document = {"kind": kind, "text": text, "words": list(words), "repo": repo}


def main(request_path: str, answer_path: str) -> int:
    """Resolve; 0 if the answer holds packages, 1 if it holds an error."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    logging.getLogger("dnf").setLevel(logging.INFO)
    with open(request_path) as file:
        request = json.load(file)
    base = dnf.Base(_configuration(request))
    try:
        answer = _resolve(base, request)
    except _Failure as failure:
        answer = {"error": failure.document}
    except dnf.exceptions.MarkingErrors as error:
        answer = {"error": _marking(error).document}
    except (dnf.exceptions.Error, libdnf.error.Error) as error:
        answer = {"error": _Failure("depsolve", str(error)).document}
    try:
        with open(answer_path, "w") as file:
            json.dump(answer, file)
    except OSError as error:
        raise SystemExit(f"{answer_path}: {error.strerror}") from None
    return 1 if "error" in answer else 0


def _configuration(request: Any) -> Any:
    state = request["state"]
    conf = dnf.conf.Conf()
    conf.config_file_path = state + "/dnf.conf"
    conf.installroot = request["installroot"]
    conf.reposdir = [state + "/repos"]
    conf.varsdir = [state + "/vars"]
    conf.pluginconfpath = [state + "/none"]
    conf.cachedir = state + "/cache"
    conf.persistdir = state + "/persist"
    conf.logdir = state + "/log"
    conf.plugins = False
    conf.best = True
    conf.metadata_expire = 0
    conf.install_weak_deps = request["weak"]
    conf.excludepkgs = request["excludes"]
    if request["releasever"]:
        conf.substitutions["releasever"] = request["releasever"]
    if request["arch"] != conf.arch:
        # Not ignorearch, as --forcearch has it: that takes packages of every architecture.
        try:
            conf.arch = request["arch"]
        except dnf.exceptions.Error:
            raise SystemExit(f"--arch={request['arch']}: dnf knows no such architecture") from None
    for name, value in request["setopts"]:
        if "." not in name:
            _set(conf, name, value, name)
    return conf


def _set(options: Any, option: str, value: str, name: str) -> None:
    try:
        options._config.optBinds().at(option).newString(dnf.conf.PRIO_COMMANDLINE, value)
    except (IndexError, RuntimeError) as error:
        raise SystemExit(f"--setopt={name}={value}: {error}") from None


def _resolve(base: Any, request: Any) -> Any:
    base.read_all_repos()
    for repo in base.repos.iter_enabled():
        repo._repo.expire()  # metadata_expire=0 lets a second pass before it looks again
    for name, value in request["setopts"]:
        repo, dot, option = name.rpartition(".")
        if dot:
            found = base.repos.get_matching(repo)
            if not found:
                raise SystemExit(f"--setopt={name}={value}: no repository {repo}")
            for one in found:
                _set(one, option, value, name)
    try:
        base.fill_sack(load_system_repo=request["has_database"])
    except dnf.exceptions.RepoError as error:
        raise _Failure("repository", str(error)) from None
    groups = [word for word in request["packages"] if word.startswith("@")]
    if groups:
        base.read_comps(arch_filter=True)
        _refuse_unknown_environments(base, groups)
    _prefer(base, request["pins"])
    if request["modules"]:
        _enable(base, request["modules"])
    files = [base.add_remote_rpms([path])[0] for path in request["files"]]
    _refuse_unknown(base, request["packages"])
    if request["packages"]:
        words, left_out = (
            [_without_caret(word) for word in request[name]] for name in ("packages", "left_out")
        )
        base.install_specs(words, exclude=left_out)
    for package in files:
        base.package_install(package)
    _check_groups(base, groups, request["excludes"])
    try:
        base.resolve(allow_erasing=False)
    except dnf.exceptions.DepsolveError as error:
        raise _Failure("depsolve", str(error)) from None
    return _answer(base, request)


def _prefer(base: Any, pins: Any) -> None:
    """Leave out all but one version of some packages."""
    for name_arch, nevra in sorted(pins.items()):
        name, _, arch = name_arch.rpartition(".")
        found = base.sack.query().available().filterm(name=name, arch=arch)
        others = [package for package in found if _nevra(package) != nevra]
        if len(others) == len(found):
            raise _Failure("pin", f"package {nevra} is no longer in the repositories", (name,))
        base.sack.add_excludes(others)


def _enable(base: Any, modules: Any) -> None:
    try:
        dnf.module.module_base.ModuleBase(base).enable(modules)
    except dnf.exceptions.MarkingErrors as error:
        specs = [*error.no_match_group_specs, *error.error_group_specs]
        missing = tuple(module for module in modules if any(module in spec for spec in specs))
        raise _Failure("module", str(error), missing or tuple(modules)) from None
    for name, (old, _) in dict(base._moduleContainer.getSwitchedStreams()).items():
        wanted = tuple(module for module in modules if module.startswith(name + ":"))
        raise _Failure("module", f"the system has the stream {old} of it", wanted)


def _without_caret(word: str) -> str:
    """`@^ID` is kickstart's, and dnf's own, way to show an environment; dnf takes `@ID` alone."""
    return "@" + word[2:] if word.startswith("@^") else word


def _refuse_unknown_environments(base: Any, words: Any) -> None:
    for word in words:
        if word.startswith("@^") and not base.comps.environments_by_pattern(word[2:]):
            raise _Failure("group", f"Environment '{word[2:]}' is not available.", (word,))


def _refuse_unknown(base: Any, words: Any) -> None:
    """One by one, so that a missing package is known by its word."""
    arches = [*base.sack.list_arches(), "noarch"]
    for word in words:
        if word.startswith("@"):
            continue
        subject = dnf.subject.Subject(word)
        found = subject.get_best_query(base.sack, with_provides=True, with_filenames=True)
        if found and not found.filter(arch=arches):
            kinds = ", ".join(sorted({package.arch for package in found}))
            text = f"package {word} is there for {kinds} alone"
            raise _Failure("architecture", text, (word,))
        if not found:
            every = base.sack.query(flags=hawkey.IGNORE_EXCLUDES)
            if subject.get_best_selector(base.sack).matches() or every.filterm(name=word):
                raise _Failure("excluded", f"package {word} is excluded", (word,))
            raise _Failure("package", f"Unable to find a match: {word}", (word,))


def _marking(error: Any) -> _Failure:
    if error.no_match_group_specs:
        words = tuple("@" + spec.lstrip("@") for spec in error.no_match_group_specs)
        return _Failure("group", str(error), words)
    words = tuple(error.no_match_pkg_specs) + tuple(error.error_pkg_specs)
    return _Failure("package", str(error), words)


def _check_groups(base: Any, words: Any, excludes: Any) -> None:
    """A mandatory member that is excluded: dnf would leave it out without a word."""
    for word in words:
        for group in _groups(base, word[1:]):
            for member in group.mandatory_packages:
                name = member.name
                if any(fnmatch.fnmatchcase(name, pattern) for pattern in excludes):
                    text = f"group @{group.id} needs package {name}, which is excluded"
                    raise _Failure("mandatory", text, (word,))


def _groups(base: Any, pattern: str) -> Any:
    found = list(base.comps.groups_by_pattern(pattern))
    for environment in base.comps.environments_by_pattern(pattern.lstrip("^")):
        found.extend(base.comps.group_by_pattern(g.id) for g in environment.mandatory_groups)
    return [group for group in found if group is not None]


def _nevra(package: Any) -> str:
    version = f"{package.epoch}:{package.version}-{package.release}"
    return f"{package.name}-{version}.{package.arch}"


def _answer(base: Any, request: Any) -> Any:
    packages, removed = [], []
    for item in base.transaction:
        package = item.pkg
        if item.action in dnf.transaction.BACKWARD_ACTIONS:
            removed.append(_nevra(package))
            continue
        if item.action not in dnf.transaction.FORWARD_ACTIONS:
            continue
        local = package.repoid == "@commandline"
        kind, digest = package.returnIdSum() or ("", "")
        packages.append(
            {
                "nevra": _nevra(package),
                "repo": "" if local else package.repoid,
                "path": package.localPkg() if local else package.location,
                "size": package.downloadsize,
                "checksum": [kind, digest],
                "buildtime": package.buildtime,
                "reason": libdnf.transaction.TransactionItemReasonToString(item.reason),
                "source": package.sourcerpm or "",
            }
        )
    repos = {}
    for repo in base.repos.iter_enabled():
        urls = [*repo._repo.getMirrors(), *repo.baseurl]
        repos[repo.id] = [url for n, url in enumerate(urls) if url not in urls[:n]]
    return {
        "packages": packages,
        "removed": removed,
        "repos": repos,
        "modules": _modules(base) if request["modules"] or base._moduleContainer else [],
    }


def _modules(base: Any) -> Any:
    container = base._moduleContainer
    if not container:
        return []
    names = {}
    for module in container.getModulePackages():
        name = module.getName()
        if container.isEnabled(module) and name not in names:
            names[name] = container.getEnabledStream(name)
    return [f"{name}:{stream}" for name, stream in sorted(names.items()) if stream]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
