"""What a stage starts from: arguments, platform and reference of FROM."""

from __future__ import annotations

import re
from collections.abc import Iterator

from grammar.expansion import variables
from grammar.lint.model import Problem, rule
from grammar.lint.view import View, problem
from grammar.scopes import StageScope
from grammar.suggestion import nearest

# https://pkg.go.dev/github.com/distribution/reference: the grammar of an image's name.
_NAME = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])"
_REFERENCE = re.compile(
    rf"(?:{_HOST}(?::[0-9]+)?/)?(?P<path>{_NAME}(?:/{_NAME})*)"
    r"(?P<tag>:[\w][\w.-]{0,127})?(?P<digest>@[A-Za-z][\w.+-]*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)
_PLATFORM = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+){0,2}")
_SYSTEMS = frozenset(
    "aix android darwin freebsd illumos linux netbsd openbsd solaris windows".split()
)
_MACHINES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm"}
_TARGETPLATFORM = ("$TARGETPLATFORM", "${TARGETPLATFORM}")


@rule("UndefinedArgInFrom", "FROM command must use declared ARGs", page="undefined-arg-in-from")
def undefined_arg_in_from(view: View) -> Iterator[Problem]:
    declared = view.scopes.globals
    for stage in view.containerfile.stages:
        for word in filter(None, (stage.from_.platform, stage.from_.image)):
            names = variables(word.text, escape=view.containerfile.escape)
            for name in sorted(names.difference(declared)):
                near = nearest(name, declared)
                more = f" (did you mean {near}?)" if near else ""
                message = f"FROM argument '{name}' is not declared{more}"
                hint = None if near else f"ARG {name} before the first FROM declares it"
                yield problem(stage.from_, message, word.span, hint=hint)


@rule(
    "InvalidDefaultArgInFrom",
    "Default value for global ARG results in an empty or invalid base image name",
    page="invalid-default-arg-in-from",
)
def invalid_default_arg_in_from(view: View) -> Iterator[Problem]:
    for stage in view.containerfile.stages:
        word = stage.from_.image
        if not variables(word.text, escape=view.containerfile.escape):
            continue
        image = view.scopes.expand(word, view.scopes.defaults)
        if image is not None and not _REFERENCE.fullmatch(image):
            message = (
                f"Default value for ARG {word.text} results in empty or invalid base image name"
            )
            hint = f"without build arguments it is '{image}'"
            yield problem(stage.from_, message, word.span, hint=hint)


@rule(
    "RedundantTargetPlatform",
    "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default "
    "behavior",
    page="redundant-target-platform",
)
def redundant_target_platform(view: View) -> Iterator[Problem]:
    for stage in view.containerfile.stages:
        word = stage.from_.platform
        text = "" if word is None else word.text.strip('"')
        if word is not None and text in _TARGETPLATFORM:
            message = f"Setting platform to predefined {text} in FROM is redundant"
            yield problem(stage.from_, f"{message} as this is the default behavior", word.span)


@rule(
    "FromPlatformFlagConstDisallowed",
    "FROM --platform flag should not use a constant value",
    page="from-platform-flag-const-disallowed",
)
def from_platform_flag_const_disallowed(view: View) -> Iterator[Problem]:
    for stage in view.containerfile.stages:
        word = stage.from_.platform
        if word is None or variables(word.text, escape=view.containerfile.escape):
            continue
        platform = view.containerfile.unquote(word)
        # A stage that is named after its platform is for that platform only.
        named = any(part in (stage.name or "") for part in _system_and_machine(platform))
        if _PLATFORM.fullmatch(platform) and not named:
            message = f'FROM --platform flag should not use constant value "{platform}"'
            yield problem(stage.from_, message, word.span)


@rule(
    "InvalidBaseImagePlatform",
    "Base image platform does not match expected target platform",
)
def invalid_base_image_platform(view: View) -> Iterator[Problem]:
    for scope in view.stages:
        from_ = scope.stage.from_
        actual = view.context.base_platforms.get(scope.image or "")
        expected = view.context.platform
        if from_.platform is not None:
            expected = view.scopes.expand(from_.platform, view.scopes.globals)
        if not actual or not expected:
            continue
        if _system_and_machine(actual) != _system_and_machine(expected):
            message = f'Base image {scope.image} was pulled with platform "{actual}"'
            message += f', expected "{expected}" for current build'
            yield problem(from_, message, from_.image.span)


@rule("UnpinnedBaseImage", "A base image should be named with a tag or a digest")
def unpinned_base_image(view: View) -> Iterator[Problem]:
    for scope in view.stages:
        match = _REFERENCE.fullmatch(_own_image(view, scope))
        if match is None or match["digest"] or match["tag"] not in (None, ":latest"):
            continue
        says = "the tag 'latest'" if match["tag"] else "no tag"
        message = f"Base image '{scope.image}' has {says}, so it changes from build to build"
        hint = "name a version, or NAME@sha256:DIGEST for always the same bytes"
        yield problem(scope.stage.from_, message, scope.stage.from_.image.span, hint=hint)


def _own_image(view: View, scope: StageScope) -> str:
    """The image that FROM pulls from a registry, or an empty string."""
    image = scope.image or ""
    return "" if image == "scratch" or image in view.context.named_contexts else image


def _system_and_machine(platform: str) -> tuple[str, ...]:
    """`linux/amd64/v2` -> linux, amd64; one part alone is either of them."""
    parts = [_MACHINES.get(part, part) for part in platform.lower().split("/")[:2]]
    return tuple(parts) if len(parts) == 2 or parts[0] in _SYSTEMS else ("linux", parts[0])


RULES = (
    undefined_arg_in_from,
    invalid_default_arg_in_from,
    redundant_target_platform,
    from_platform_flag_const_disallowed,
    invalid_base_image_platform,
    unpinned_base_image,
)
