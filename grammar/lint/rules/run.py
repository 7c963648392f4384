"""RUN: commands that fail unseen, packages and their caches."""

from __future__ import annotations

from collections.abc import Iterator

from grammar.lint.model import Problem, rule
from grammar.lint.packages import MANAGERS, Manager, subcommand
from grammar.lint.scripts import Script
from grammar.lint.shell import Command
from grammar.lint.view import View, problem
from grammar.mount_keys import mount_target, read_mount

_CANNOT_FAIL = frozenset("echo printf true : yes".split())
_DNF = frozenset("dnf dnf5 yum microdnf tdnf".split())


@rule("PipeWithoutPipefail", "A pipe should fail when its first command does")
def pipe_without_pipefail(view: View) -> Iterator[Problem]:
    for script in view.scripts:
        if script.fails_in_pipes:
            continue
        for left, right in zip(script.commands, script.commands[1:], strict=False):
            if right.before in ("|", "|&") and left.program not in _CANNOT_FAIL:
                span = script.locate(right.before_at, right.before_at + len(right.before))
                message = f"When '{left.program}' fails, this RUN goes on: a pipe ends as its last"
                hint = 'SHELL ["/bin/bash", "-o", "pipefail", "-c"] before it, or set -o pipefail'
                yield problem(script.run, f"{message} command does", span, hint=hint)
                break


@rule("HeredocWithoutErrexit", "A heredoc of several commands should stop at the first that fails")
def heredoc_without_errexit(view: View) -> Iterator[Problem]:
    for script in view.scripts:
        if script.heredoc is None or script.fails_early:
            continue
        steps = [command for command in script.commands if command.starts_step]
        if len(steps) > 1:
            message = "When a command of this heredoc fails, the next one runs all the same"
            hint = f"put 'set -e' on line {script.heredoc.body_line}"
            yield problem(script.run, message, script.heredoc.span, hint=hint)


@rule("PackageCacheInLayer", "A layer should not keep the cache of a package manager")
def package_cache_in_layer(view: View) -> Iterator[Problem]:
    # What other stages keep does not get into the image.
    shipped = {scope.stage.index for scope in view.target.chain}
    for script in view.scripts:
        if script.scope.stage.index not in shipped:
            continue
        for manager in MANAGERS:
            found = next((c for c in script.commands if manager.fills(c)), None)
            if found is not None and not _leaves_nothing(script, manager):
                message = f"'{found.program} {subcommand(found)}' leaves its cache in the layer"
                span = script.locate(found.words[0].start, found.words[0].end)
                yield problem(script.run, message, span, hint=manager.advice)


@rule("PackageIndexAlone", "A package index should be updated in the RUN that installs")
def package_index_alone(view: View) -> Iterator[Problem]:
    for script in view.scripts:
        apt = [c for c in script.commands if c.program in ("apt-get", "apt")]
        update = next((c for c in apt if subcommand(c) == "update"), None)
        if update is not None and all(subcommand(c) == "update" for c in apt):
            message = "An update of its own is cached, and later installs get an old index"
            hint = "apt-get update && apt-get install -y PACKAGE..., in one RUN"
            yield problem(script.run, message, script.span(update), hint=hint)


@rule("BootstrapRecommended", "Packages should be installed from outside with BOOTSTRAP")
def bootstrap_recommended(view: View) -> Iterator[Problem]:
    for script in view.scripts:
        for command in filter(_is_dnf, script.commands):
            root = any(word.startswith("--installroot") for word in command.arguments)
            if not root and not (_installs(command) and script.scope.from_scratch):
                continue
            what = "with --installroot" if root else "in a stage that started from scratch"
            message = f"{command.program} {what}: BOOTSTRAP does this from outside the image"
            hint = "BOOTSTRAP PACKAGE... needs no package manager, cache or cleaning in the image"
            span = script.locate(command.words[0].start, command.words[0].end)
            yield problem(script.run, message, span, hint=hint)
            break


def _is_dnf(command: Command) -> bool:
    return command.program in _DNF


def _installs(command: Command) -> bool:
    return subcommand(command) in ("install", "groupinstall", "group", "update", "upgrade")


def _leaves_nothing(script: Script, manager: Manager) -> bool:
    mounts = [read_mount(mount) for mount in script.run.mounts]
    mounted = {mount_target(m).rstrip("/") for m in mounts if m.get("type") in ("cache", "tmpfs")}
    if any(
        cache == m or cache.startswith(f"{m}/") for cache in manager.caches for m in mounted if m
    ):
        return True
    if any(name in script.settings for name in manager.variables):
        return True
    return any(map(manager.empties, script.commands))


RULES = (
    pipe_without_pipefail,
    heredoc_without_errexit,
    package_cache_in_layer,
    package_index_alone,
    bootstrap_recommended,
)
