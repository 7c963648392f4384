"""Planning RUN (Dockerfile reference, "RUN"): its arguments, environment and mounts."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from buildkit import history
from buildkit.steps import ContextBase, InlineFile, RunMount, RunStep
from grammar import ExecForm, Instruction, Run, Word
from grammar.values.mounts import BindMount, CacheMount, SshMount
from runtime.sandbox import defaults

if TYPE_CHECKING:
    from buildkit.stage_plan import StagePlanner

DEFAULT_SHELL = ("/bin/sh", "-c")
SCRIPTS = "/dev/pipes"  # where a heredoc that names its interpreter is, as in BuildKit


def plan_run(stage: StagePlanner, run: Run) -> RunStep:
    """Expand one RUN; raises ContainerfileError."""
    if run.devices:
        raise stage.unsupported("RUN --device", run.devices[0].span)
    environment = stage.scope.visible
    environment.setdefault("PATH", defaults.PATH)
    script = _script(run)
    args = _arguments(stage, run) if script is None else (f"{SCRIPTS}/{script.name}",)
    declared = [f"{name}={environment.get(name, '')}" for name in stage.scope.declared]
    prefix = [f"|{len(declared)}", *declared] if declared else []
    return RunStep(
        about=stage.about(run, history.made_files(" ".join(("RUN", *prefix, *args)))),
        args=args,
        env=tuple(f"{name}={value}" for name, value in environment.items()),
        proxies=tuple(f"{name}={value}" for name, value in stage.scope.proxies.items()),
        cwd=stage.absolute("."),
        user=stage.config.user,
        network=one_of(stage, "--network", run.network, ("default", "none", "host")),
        insecure=one_of(stage, "--security", run.security, ("sandbox", "insecure")) != "sandbox",
        mounts=plan_mounts(stage, run.mounts),
        script=script,
        script_lines=_script_lines(run),
        shell=(stage.config.shell or DEFAULT_SHELL)[0],
    )


def plan_shell(stage: StagePlanner, instruction: Instruction) -> RunStep:
    """A shell where an instruction would be carried out, with what it sees if it is a RUN."""
    if isinstance(instruction, Run):
        run = instruction
    else:
        run = Run(
            span=instruction.span,
            text=instruction.text,
            command=ExecForm(args=()),
            heredocs=(),
            mounts=(),
            network=None,
            security=None,
            devices=(),
        )
    args = ((stage.config.shell or DEFAULT_SHELL)[0],)
    step = plan_run(stage, run.replace(command=ExecForm(args=args), heredocs=()))
    return step.replace(about=step.about.replace(text="shell"), by_hand=True)


def one_of(stage: StagePlanner, name: str, word: Word | None, values: tuple[str, ...]) -> str:
    """The value of a flag, by default the first of `values`; raises ContainerfileError."""
    value = stage.expand_optional(word) or values[0]
    if value not in values:
        assert word is not None
        expected = f"{', '.join(values[:-1])} or {values[-1]}"
        raise stage.error(f"{name}={value}: {expected}", word.span)
    return value


def _arguments(stage: StagePlanner, run: Run) -> tuple[str, ...]:
    if isinstance(run.command, ExecForm):
        if not run.command.args:
            raise stage.error("RUN with an empty command", run.span)
        return run.command.args
    shell = stage.config.shell or DEFAULT_SHELL
    if not run.heredocs:
        return (*shell, run.command.text)
    if _is_script(run):
        return (*shell, run.heredocs[0].body)
    bodies = "".join(f"{heredoc.body}{heredoc.name}\n" for heredoc in run.heredocs)
    return (*shell, f"{run.command.text}\n{bodies}")


def _script(run: Run) -> InlineFile | None:
    """The heredoc that is a program of its own: it begins with `#!`."""
    if not _is_script(run) or not run.heredocs[0].body.startswith("#!"):
        return None
    return InlineFile(name=run.heredocs[0].name, content=run.heredocs[0].body)


def _script_lines(run: Run) -> range:
    # The heredoc of a trigger that comes from elsewhere does not stand in this file.
    if not _is_script(run) or not run.span.line <= run.heredocs[0].span.line <= run.span.end_line:
        return range(0)
    first = run.heredocs[0].body_line
    return range(first, first + run.heredocs[0].body.count("\n"))


def _is_script(run: Run) -> bool:
    """Whether the heredoc is the script itself (Dockerfile reference, "Here-Documents")."""
    if len(run.heredocs) != 1 or isinstance(run.command, ExecForm):
        return False
    word = run.command.text.strip()
    return word.lstrip("0123456789").startswith("<<") and not any(c.isspace() for c in word)


def plan_mounts(stage: StagePlanner, words: tuple[Word, ...]) -> tuple[RunMount, ...]:
    """The mounts of --mount; raises ContainerfileError."""
    found: list[RunMount] = []
    targets: dict[str, Word] = {}
    for word in words:
        agents = sum(isinstance(mount.mount, SshMount) for mount in found)
        planned = _mount(stage, word, agents)
        found.append(planned)
        target = planned.mount.target
        if target is None:
            continue
        if target in targets:
            line = targets[target].span.line
            raise stage.error(
                f"two mounts on {target}", word.span, f"the first one is on line {line}"
            )
        targets[target] = word
    return tuple(found)


def _mount(stage: StagePlanner, word: Word, agents: int) -> RunMount:
    mount = stage.mount(word)
    if isinstance(mount, SshMount) and mount.target is None:
        mount = mount.replace(target=f"/run/buildkit/ssh_agent.{agents}")
    if mount.target is not None:
        target = stage.absolute(mount.target)
        if target == "/":
            raise stage.error("the target of a mount cannot be /", word.span)
        mount = mount.replace(target=target)
    origin, context = None, ""
    if isinstance(mount, BindMount | CacheMount):
        mount = mount.replace(source=posixpath.normpath(f"/{mount.source.lstrip('/')}"))
        found = stage.origin(word, mount.from_) if mount.from_ else None
        if not isinstance(found, ContextBase):
            origin = found
        elif isinstance(mount, BindMount):
            context = found.name
        else:
            raise stage.unsupported("a cache that starts with a directory", word.span)
    if isinstance(mount, BindMount) and (problem := _unsupported(mount)):
        raise stage.unsupported(f"RUN --mount with {problem}", word.span)
    return RunMount(mount=mount, origin=origin, span=word.span, context=context)


def _unsupported(mount: BindMount) -> str:
    """The option of buildah's that a mount has and we have not."""
    if mount.chown:
        return "U"
    if not mount.dereference:
        return "no-dereference"
    return mount.propagation if mount.propagation not in ("", "private", "rprivate") else ""
