"""Planning one stage: each instruction changes the configuration, and perhaps becomes a step."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from buildkit import bootstrap_plan, copy_plan, history
from buildkit.run_plan import DEFAULT_SHELL, plan_run, plan_shell
from buildkit.scope import Scope
from buildkit.steps import (
    About,
    AnyStep,
    Base,
    ConfigureStep,
    ContextBase,
    WorkdirStep,
)
from grammar import (
    Add,
    Arg,
    Bootstrap,
    Cmd,
    Command,
    Containerfile,
    ContainerfileError,
    Copy,
    Entrypoint,
    Env,
    ExecForm,
    Expose,
    Healthcheck,
    Heredoc,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Span,
    Stopsignal,
    User,
    Volume,
    Word,
    Workdir,
)
from grammar.values import InvalidValue, Mode, parse_mode, parse_port
from grammar.values.mounts import Mount
from runtime.oci.image import ExecutionParameters

_T = TypeVar("_T")


class StagePlanner:
    """Reads the instructions of one stage in order."""

    def __init__(
        self,
        containerfile: Containerfile,
        scope: Scope,
        config: ExecutionParameters,
        *,
        name: str,
        platform: str,
        origin: Callable[[Word, str | None], Base | ContextBase],
    ) -> None:
        self.scope = scope
        self.config = config
        self.steps: list[AnyStep] = []
        self.name = name  # of the stage, or `stage-N`
        self.platform = platform  # of what is in the stage
        self._file = containerfile
        self.origin = origin  # what a name after `from` means, which stands in a word
        self._author = ""
        self._own_cmd = False  # the stage itself has a CMD: ENTRYPOINT does not clear it

    def read(self, instructions: Iterable[Instruction]) -> list[ContainerfileError]:
        """Plan the instructions; returns what is wrong with them, all of it."""
        errors: list[ContainerfileError] = []
        for instruction in instructions:
            try:
                self._read(instruction)
            except ContainerfileError as error:
                errors.append(error)
        return errors

    def read_triggers(self, triggers: Iterable[Instruction]) -> list[ContainerfileError]:
        """Plan what the base image asks for (ONBUILD), as `read` does the stage's own."""
        self.config = self.config.replace(on_build=())  # they reach one generation
        errors: list[ContainerfileError] = []
        for trigger in triggers:
            try:
                self._read(trigger)
            except ContainerfileError as error:
                said = f"ONBUILD {trigger.text}: {error.message}"
                errors.append(self.error(said, error.span, error.hint))
        return errors

    def open_shell(self, instruction: Instruction) -> None:
        """Plan a shell where an instruction would be carried out."""
        self.steps.append(plan_shell(self, instruction))

    def expand(self, word: Word, keep: frozenset[str] = frozenset()) -> str:
        """Expand a word with what is visible now; names in `keep` stay as they are."""
        return self._file.expand(word, self.scope.visible, keep=keep)

    def unquote(self, word: Word) -> str:
        """The text of a word in which no variables are expanded."""
        return self._file.unquote(word)

    def expand_heredoc(self, heredoc: Heredoc) -> str:
        """The content of an inline file."""
        return self._file.expand_heredoc(heredoc, self.scope.visible)

    def mode(self, word: Word) -> Mode | None:
        """The mode of a `--chmod`; None if its value is empty."""
        if not self.expand(word):
            return None
        return self._file.value(word, self.scope.visible, parse_mode)

    def value(self, word: Word, parse: Callable[[str], _T]) -> _T:
        """What a parser of grammar.values makes of an expanded word."""
        return self._file.value(word, self.scope.visible, parse)

    def mount(self, word: Word) -> Mount:
        """A `--mount`; raises ContainerfileError."""
        return self._file.mount(word, self.scope.visible)

    def expand_optional(self, word: Word | None) -> str:
        """Expand a flag's value; empty if the flag is absent."""
        return "" if word is None else self.expand(word)

    def error(self, message: str, span: Span, hint: str | None = None) -> ContainerfileError:
        """An error at a place of the file."""
        return ContainerfileError(message, span=span, source=self._file.source, hint=hint)

    def unsupported(self, what: str, span: Span) -> ContainerfileError:
        """The error for what the language has and this version does not build."""
        return self.error(f"{what} is not supported by this version of pybuild", span)

    def absolute(self, path: str) -> str:
        """A path in the image, taken relative to the working directory."""
        joined = posixpath.join(self.config.working_dir or "/", path)
        return posixpath.normpath("/" + joined.lstrip("/"))

    def _read(self, instruction: Instruction) -> None:
        match instruction:
            case Run():
                self.steps.append(plan_run(self, instruction))
            case Copy() | Add():
                self.steps.append(copy_plan.plan_copy(self, instruction))
            case Bootstrap():
                self.steps.append(bootstrap_plan.plan_bootstrap(self, instruction))
            case Workdir():
                self._workdir(instruction)
            case Arg():
                self.scope.declare(instruction, self._file.expand)
                self._configure(instruction, self._declared(instruction))
            case Onbuild():  # no entry in the history, as in BuildKit: it does nothing here
                triggers = (*self.config.on_build, instruction.trigger)
                self.config = self.config.replace(on_build=triggers)
            case _:
                said = self._change(instruction)
                self._check_text(said, instruction)
                self._configure(instruction, said)

    def _declared(self, arg: Arg) -> str:
        values = self.scope.arguments
        names = [pair.name for pair in arg.pairs]
        return " ".join(
            ("ARG", *(f"{name}={values[name]}" if name in values else name for name in names))
        )

    def _change(self, instruction: Instruction) -> str:
        """Take in an instruction that only changes the configuration; what history says of it."""
        config = self.config
        match instruction:
            case Env(pairs=pairs):
                # All values see the environment from before the instruction.
                visible = self.scope.visible
                values = [
                    (self._file.expand(p.key, visible), self._file.expand(p.value, visible))
                    for p in pairs
                ]
                self.scope.env.update(values)
                env = tuple(f"{k}={v}" for k, v in self.scope.env.items())
                self.config = config.replace(env=env)
                return history.pairs("ENV", values)
            case Label(pairs=pairs):
                values = [(self.expand(p.key), self.expand(p.value)) for p in pairs]
                labels = dict(config.labels) | dict(values)
                self.config = config.replace(labels=tuple(labels.items()))
                return history.pairs("LABEL", values)
            case Cmd(command=command):
                self._own_cmd = True
                arguments = self._arguments(command)
                self.config = config.replace(cmd=arguments)
                return history.quoted("CMD", arguments)
            case Entrypoint(command=command):
                cmd = config.cmd if self._own_cmd else None
                arguments = self._arguments(command)
                self.config = config.replace(entrypoint=arguments, cmd=cmd)
                return history.quoted("ENTRYPOINT", arguments)
            case User(user=user):
                self.config = config.replace(user=self.expand(user))
                return f"USER {self.config.user}"
            case Expose(ports=ports):
                return history.listed("EXPOSE", self._expose(ports))
            case Volume(paths=paths):
                more = tuple(self.expand(path) for path in paths)
                if "" in more:
                    raise self.error("VOLUME with an empty path", instruction.span)
                self.config = config.replace(volumes=_merged(config.volumes, more))
                return history.listed("VOLUME", more)
            case Stopsignal(signal=signal):
                self.config = config.replace(stop_signal=self.expand(signal))
                return f"STOPSIGNAL {self.config.stop_signal}"
            case Shell(args=args):
                self.config = config.replace(shell=args)
                return history.listed("SHELL", args)
            case Healthcheck():
                check = self._healthcheck(instruction)
                self.config = config.replace(healthcheck=check)
                return history.healthcheck(dict(check))
            case Maintainer(author=author):
                self._author = author
                return f"MAINTAINER {author}"
            case _:
                raise self.unsupported(type(instruction).__name__.upper(), instruction.span)

    def _configure(self, instruction: Instruction, created_by: str) -> None:
        self.steps.append(ConfigureStep(about=self.about(instruction, created_by)))

    def about(self, instruction: Instruction, created_by: str) -> About:
        """What every step says of the instruction that it comes from."""
        return About(
            span=instruction.span,
            text=instruction.text,
            created_by=history.readable(created_by),
            author=self._author,
        )

    def _check_text(self, text: str, instruction: Instruction) -> None:
        """Refuse bytes of an argument that are no text, where the image is to hold them."""
        if history.readable(text) != text:
            message = "the value is not UTF-8, and an image's configuration is"
            raise self.error(message, instruction.span)

    def _arguments(self, command: Command) -> tuple[str, ...]:
        if isinstance(command, ExecForm):
            return command.args
        return (*(self.config.shell or DEFAULT_SHELL), command.text)

    def _workdir(self, workdir: Workdir) -> None:
        path = self.expand(workdir.path)
        self._check_text(path, workdir)
        if not path:
            raise self.error("WORKDIR with an empty path", workdir.span)
        self.config = self.config.replace(working_dir=self.absolute(path))
        if self.config.working_dir == "/":
            self._configure(workdir, "WORKDIR /")
            return
        self.steps.append(
            WorkdirStep(
                about=self.about(workdir, f"WORKDIR {self.config.working_dir}"),
                path=self.config.working_dir,
                user=self.config.user,
            )
        )

    def _expose(self, words: tuple[Word, ...]) -> list[str]:
        ports: list[str] = []
        for word in words:
            for text in self._file.expand_words(word, self.scope.visible):
                try:
                    ports.extend(parse_port(text))
                except InvalidValue as error:
                    raise self.error(str(error), word.span) from None
        merged = _merged(self.config.exposed_ports, tuple(ports))
        self.config = self.config.replace(exposed_ports=tuple(sorted(merged)))
        return ports

    def _healthcheck(self, check: Healthcheck) -> tuple[tuple[str, object], ...]:
        if check.command is None:
            return (("Test", ["NONE"]),)
        if isinstance(check.command, ExecForm):
            test = ["CMD", *check.command.args]
        else:
            test = ["CMD-SHELL", check.command.text]
        times: Mapping[str, int] = {
            "Interval": check.interval_ns,
            "Timeout": check.timeout_ns,
            "StartPeriod": check.start_period_ns,
            "StartInterval": check.start_interval_ns,
            "Retries": check.retries,
        }
        return (("Test", test), *((name, value) for name, value in times.items() if value))


def _merged(old: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*old, *new)))
