"""From a Containerfile to a plan: pure, no files, no clock.

Only stages that the target needs are planned. What the planner must know of the world is given:
build arguments, and the configuration of each base image (`base_images` says which).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from buildkit.copy_plan import copy_of_context
from buildkit.platforms import parts_of, settled_platform
from buildkit.scope import Scope, global_arguments
from buildkit.stage_plan import StagePlanner
from buildkit.steps import Base, ContextBase, ImageBase, Plan, PlannedStage, Scratch, StageBase
from grammar import (
    Bootstrap,
    Containerfile,
    ContainerfileError,
    ContainerfileErrors,
    Copy,
    From,
    Instruction,
    Maintainer,
    Onbuild,
    Run,
    Span,
    Stage,
    Word,
    parse_trigger,
)
from grammar.mount_keys import read_mount
from grammar.relocation import relocated
from grammar.values import InvalidValue
from runtime.oci.image import ExecutionParameters, ImageConfig
from runtime.oci.platform import platform_text
from runtime.sandbox import defaults


class Planner:
    """Plans one Containerfile for one target with one set of build arguments."""

    def __init__(
        self,
        containerfile: Containerfile,
        *,
        build_args: Mapping[str, str],
        here: str,
        platform: str = "",
        target: str | None = None,
        contexts: Mapping[str, str] | None = None,
        at: int | None = None,
    ) -> None:
        """Find the target and the stages it needs; raises ContainerfileErrors.

        `at` plans a shell instead of the instruction on that line, and nothing after it; 0 stands
        for the end of the target.
        `here` is the platform of this machine, which builds for `platform` (empty: for itself).
        `contexts` are what the command line has named: images, or "" for a directory.
        """
        self._file = containerfile
        self._build_args = build_args
        try:
            self._global_args = global_arguments(
                containerfile.preamble,
                automatic=_automatic_arguments(here, platform or here, target),
                build_args=build_args,
                expand=containerfile.expand,
            )
        except ContainerfileError as error:
            raise ContainerfileErrors([error]) from None
        self._here = here
        self._platform = platform
        self._platforms: dict[int, str] = {}  # that stages ask for; empty where they leave it open
        self._names = {s.name: s.index for s in containerfile.stages if s.name is not None}
        self._contexts = contexts or {}
        self._directories: dict[str, PlannedStage] = {}  # that a stage starts from, by name
        self._bases: dict[int, Base] = {}
        self._places: dict[ImageBase, Span] = {}
        self._at: Instruction | None = None
        self._shell = at is not None
        self._last = self._target(target) if not at else self._find(at)
        self._triggers: dict[int, tuple[Instruction, ...]] = {}  # by the stage that obeys them
        self._needed = self._reach(self._last)

    def take_triggers(self, configs: Mapping[ImageBase, ImageConfig]) -> None:
        """Learn what base images ask of their children (ONBUILD): it may need more images.

        To be called again while `base_images` names one whose configuration was not given.
        Raises ContainerfileErrors.
        """
        for stage in self._needed:
            base = self._bases[stage.index]
            if isinstance(base, ImageBase) and base in configs:
                triggers = configs[base].config.on_build
                self._triggers[stage.index] = tuple(
                    self._trigger(text, stage.from_.image.span) for text in triggers
                )
        self._needed = self._reach(self._last)

    def _trigger(self, text: str, place: Span) -> Instruction:
        try:
            instruction = parse_trigger(text, name="ONBUILD")
        except ContainerfileErrors as errors:
            error = errors.errors[0]
            raise self._error(f"ONBUILD {text}: {error.message}", place, error.hint) from None
        if isinstance(instruction, (From, Maintainer, Onbuild)):  # as where it was written
            word = text.split()[0].upper()
            raise self._error(f"ONBUILD {text}: ONBUILD cannot hold {word}", place)
        return relocated(instruction, place)

    def _instructions(self, stage: Stage) -> tuple[Instruction, ...]:
        """What a stage does: what its base asks for, and what is written."""
        return (*self._triggers.get(stage.index, ()), *stage.instructions)

    def base_images(self) -> tuple[ImageBase, ...]:
        """The images that the needed stages start from or copy from, each once."""
        images = {base: None for base in self._bases.values() if isinstance(base, ImageBase)}
        for stage in self._needed:
            origins = self._origins(stage)
            images.update({o: None for o in origins if isinstance(o, ImageBase)})
        return tuple(images)

    def place_of(self, image: ImageBase) -> Span:
        """The first word that names a base image."""
        return self._places[image]

    def plan(self, configs: Mapping[ImageBase, ImageConfig]) -> Plan:
        """Plan all needed stages, `configs` being the base images'; raises ContainerfileErrors."""
        planned: dict[int, StagePlanner] = {}
        stages: list[PlannedStage] = []
        errors: list[ContainerfileError] = []
        for stage in self._needed:
            base = self._bases[stage.index]
            platform = self._platforms[stage.index] or self._here
            if isinstance(base, StageBase) and base.index in planned:
                parent = planned[base.index]
                config, arguments = parent.config, parent.scope.arguments
                declared: tuple[str, ...] = tuple(parent.scope.declared)
                platform = self._platforms[stage.index] or parent.platform
            else:
                config = configs[base].config if isinstance(base, ImageBase) else _EMPTY
                arguments, declared = {}, ()
                if isinstance(base, ImageBase):  # what it is, whatever was asked for
                    platform = _platform_of(configs[base]) or platform
            scope = Scope(
                env=dict(item.partition("=")[::2] for item in config.env),
                arguments=arguments,
                build_args=self._build_args,
                global_args=self._global_args,
                declared=declared,
            )
            planner = StagePlanner(
                self._file,
                scope,
                config,
                name=stage.name or f"stage-{stage.index}",
                platform=platform,
                origin=functools.partial(self._origin, stage),
            )
            triggers = self._triggers.get(stage.index, ())
            errors.extend(planner.read_triggers(triggers))
            instructions = stage.instructions
            if self._at is not None and stage is self._last:
                instructions = instructions[: instructions.index(self._at)]
            errors.extend(planner.read(instructions))
            if self._shell and stage is self._last and not errors:
                place = self._at or (instructions[-1] if instructions else stage.from_)
                planner.open_shell(place)
            planned[stage.index] = planner
            stages.append(
                PlannedStage(
                    id=self._stage(stage.index),
                    name=planner.name,
                    platform=platform,
                    base=base,
                    base_span=stage.from_.image.span,
                    steps=tuple(planner.steps),
                    config=planner.config,
                )
            )
        if errors:
            raise ContainerfileErrors(errors)
        return Plan(stages=(*self._directories.values(), *stages), targets=(stages[-1],))

    def _find(self, line: int) -> Stage:
        """The stage of the instruction that stands on a line, which is noted."""
        for stage in self._file.stages:
            for instruction in stage.instructions:
                span = instruction.span
                if span.line <= line <= span.end_line:
                    self._at = instruction
                    return stage
        stage = self._file.stages[-1]
        raise self._error(f"--at {line}: no instruction of a stage is there", stage.from_.span)

    def _target(self, target: str | None) -> Stage:
        stages = self._file.stages
        if target is None:
            return stages[-1]
        if target.lower() in self._names:
            return stages[self._names[target.lower()]]
        if target.isdigit() and int(target) < len(stages):
            return stages[int(target)]
        names = ", ".join(self._names) or f"0 to {len(stages) - 1}"
        raise self._error(
            f"--target {target!r}: no such stage", stages[-1].from_.span, f"stages: {names}"
        )

    def _reach(self, target: Stage) -> tuple[Stage, ...]:
        """The stages that the target needs, in file order: a stage can only use earlier ones."""
        wanted = {target.index}
        errors: list[ContainerfileError] = []
        for stage in reversed(self._file.stages[: target.index + 1]):
            if stage.index not in wanted:
                continue
            try:
                base = self._base(stage)
                if isinstance(base, StageBase) and base.index < stage.index:
                    above = self._file.stages[base.index].instructions
                    triggers = (i.instruction for i in above if isinstance(i, Onbuild))
                    self._triggers[stage.index] = tuple(triggers)
                used: list[Base | ContextBase] = [base, *self._origins(stage)]
            except ContainerfileErrors as error:
                errors.extend(error.errors)
                continue
            wanted.update(base.index for base in used if isinstance(base, StageBase))
        if errors:
            raise ContainerfileErrors(errors)
        return tuple(s for s in self._file.stages if s.index in wanted)

    def _base(self, stage: Stage) -> Base:
        """What a stage starts from; that, and the platform it asks for, are noted."""
        if stage.index not in self._bases:
            self._bases[stage.index] = self._read_from(stage)
        return self._bases[stage.index]

    def _read_from(self, stage: Stage) -> Base:
        word = stage.from_.image
        name = self._expand(word)
        if not name:
            raise self._error("the name of the base image is empty", word.span)
        word_of_platform = stage.from_.platform
        self._platforms[stage.index] = (
            self._platform if word_of_platform is None else self._settled(word_of_platform)
        )
        if name == "scratch":
            return Scratch()
        if name.lower() in self._contexts:
            image = self._contexts[name.lower()]
            if not image:
                return self._directory(name.lower(), word)
            return self._image(image, word, self._platforms[stage.index])
        index = self._names_before(stage.index).get(name.lower())
        if index is None:
            return self._image(name, word, self._platforms[stage.index])
        if word_of_platform is None:
            self._platforms[stage.index] = ""  # that of the stage it starts from
        return self._stage(index)

    def _stage(self, index: int) -> StageBase:
        return StageBase(index=index, image_platform=self._platform)

    def _directory(self, name: str, word: Word) -> StageBase:
        """A stage that has the files of a named directory."""
        if name not in self._directories:
            self._directories[name] = PlannedStage(
                id=self._stage(len(self._file.stages) + len(self._directories)),
                name=name,
                platform=self._platform or self._here,
                base=Scratch(),
                base_span=word.span,
                steps=(copy_of_context(name, word.span),),
                config=_EMPTY,
            )
        return self._directories[name].id

    def _names_before(self, end: int) -> dict[str, int]:
        return {s.name: s.index for s in self._file.stages[:end] if s.name is not None}

    def _settled(self, word: Word) -> str:
        """What FROM --platform says."""
        text = self._expand(word)
        try:
            return settled_platform(text, self._here)
        except InvalidValue as error:
            message = f"platform {text!r}: {error.message}"
            raise self._error(message, word.span, error.hint) from None

    def _origins(self, stage: Stage) -> list[Base | ContextBase]:
        """What the instructions of a stage take files from, beside the context."""
        found: list[Base | ContextBase] = []
        for instruction in self._instructions(stage):
            if isinstance(instruction, Copy) and instruction.from_ is not None:
                found.append(self._origin(stage, instruction.from_))
            if isinstance(instruction, Run):
                for word in instruction.mounts:
                    if name := read_mount(word).get("from"):
                        found.append(self._origin(stage, word, name))
            if isinstance(instruction, Bootstrap) and instruction.tools is not None:
                found.append(self._origin(stage, instruction.tools))
        return found

    def _origin(self, stage: Stage, word: Word, name: str | None = None) -> Base | ContextBase:
        """What `from=NAME` means in a stage: an earlier one, or an image.

        The name is all of the word (COPY --from, which is expanded) or in it.
        """
        name = self._expand(word) if name is None else name
        if name.lower() in self._contexts:
            image = self._contexts[name.lower()]
            if not image:
                return ContextBase(name=name.lower())
            return self._image(image, word, self._platform_in(stage))
        earlier = self._names_before(stage.index)
        if name.lower() in earlier:
            return self._stage(earlier[name.lower()])
        if name.isdigit():
            if int(name) < stage.index:
                return self._stage(int(name))
            raise self._error(
                f"from={name}: this is stage {stage.index}, an earlier one is needed", word.span
            )
        if name.lower() in self._names:
            raise self._error(f"from={name}: that stage is not an earlier one", word.span)
        return self._image(name, word, self._platform_in(stage))

    def _platform_in(self, stage: Stage) -> str:
        """What a stage asks for, or the stages below it."""
        base = self._base(stage)
        asked = self._platforms[stage.index]
        if not asked and isinstance(base, StageBase) and base.index < stage.index:
            return self._platform_in(self._file.stages[base.index])
        return asked

    def _image(self, name: str, word: Word, platform: str) -> ImageBase:
        image = ImageBase(name=name, platform=platform)
        self._places.setdefault(image, word.span)
        return image

    def _expand(self, word: Word) -> str:
        """Expand a word with what is visible outside of stages."""
        try:
            return self._file.expand(word, self._global_args)
        except ContainerfileError as error:
            raise ContainerfileErrors([error]) from None

    def _error(self, message: str, span: Span, hint: str | None = None) -> ContainerfileErrors:
        error = ContainerfileError(message, span=span, source=self._file.source, hint=hint)
        return ContainerfileErrors([error])


# What buildah and BuildKit start with where there is no image to start from.
_EMPTY = ExecutionParameters(env=(f"PATH={defaults.PATH}",))


def joined(plans: Sequence[Plan]) -> Plan:
    """One plan that does what several do, each for another platform."""
    return Plan(
        stages=tuple(stage for plan in plans for stage in plan.stages),
        targets=tuple(target for plan in plans for target in plan.targets),
    )


def _platform_of(config: ImageConfig) -> str:
    return platform_text(config.os, config.architecture, config.variant)


def _automatic_arguments(build: str, image: str, target: str | None) -> dict[str, str]:
    """The platform arguments in global scope (Dockerfile reference, "Automatic platform ARGs")."""
    return {
        f"{prefix}{name}": value
        for prefix, platform in (("TARGET", image), ("BUILD", build))
        for name, value in (
            ("PLATFORM", platform),
            ("OSVERSION", ""),
            *zip(("OS", "ARCH", "VARIANT"), parts_of(platform), strict=True),
        )
    } | {"TARGETSTAGE": target or "default"}
