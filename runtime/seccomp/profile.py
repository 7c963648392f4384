"""Profiles in files: our default, the specification's form, and docker's with its conditions.

docker's form has, beside the specification's, `archMap`, and on each rule `includes` and
`excludes` by capability, architecture and age of the kernel. It is resolved here, once for a
container: what comes out is a value of `runtime.oci.seccomp`.
"""

from __future__ import annotations

import os

from runtime.errors import ContainerError, ImageError
from runtime.oci.reader import MAX_DOCUMENT, member, optional, parse_json, strings
from runtime.oci.seccomp import Seccomp, SyscallArgument, SyscallRule
from runtime.record import Record
from runtime.sandbox.kernel import read_version
from runtime.seccomp import constants

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Table = Mapping[str, Any]

DEFAULT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "default.json")


class _Target(Record):
    """What the conditions of a profile are asked about."""

    capabilities: frozenset[str]  # without CAP_
    architecture: str  # SCMP_ARCH_…
    go_architecture: str
    kernel: tuple[int, int]


def default_profile(capabilities: frozenset[str], *, machine: str | None = None) -> Seccomp:
    """Our own profile for a process with these capabilities (names without CAP_)."""
    return load_profile(DEFAULT, capabilities, machine=machine)


def load_profile(
    path: str, capabilities: frozenset[str], *, machine: str | None = None
) -> Seccomp:
    """Read a profile in either form, for this machine or another one.

    Raises ContainerError with the file, the member and its value.
    """
    where = f"seccomp profile {path}"
    try:
        with open(path, "rb") as file:
            document = file.read(MAX_DOCUMENT + 1)
    except OSError as error:
        raise ContainerError(f"{where}: {error.strerror}") from error
    try:
        return parse_profile(parse_json(document, where), where, capabilities, machine=machine)
    except ImageError as error:  # the reader of JSON speaks of images
        raise ContainerError(error.message, hint=error.hint) from error


def parse_profile(
    table: Table, where: str, capabilities: frozenset[str], *, machine: str | None = None
) -> Seccomp:
    """A profile from its JSON; ImageError for a member of the wrong type, else ContainerError."""
    uname = os.uname()
    architecture, go_architecture = constants.machine_names(machine or uname.machine)
    target = _Target(
        capabilities=capabilities,
        architecture=architecture,
        go_architecture=go_architecture,
        kernel=_version(uname.release, "uname"),
    )
    action = member(table, "defaultAction", str, where)
    errno = _errno(table, "defaultErrnoRet", "defaultErrno", where)
    constants.return_value(action, errno, f"{where}: defaultAction")
    flags = strings(table, "flags", where) or ()
    for flag in flags:
        constants.flag(flag, f"{where}: flags")
    rules: list[SyscallRule] = []
    for index, entry in enumerate(optional(table, "syscalls", list, where) or ()):
        place = f"{where}: syscalls[{index}]"
        rule = _rule(_object(entry, place), place)
        if _applies(entry, target, place):
            rules.append(rule)
    return Seccomp(
        default_action=action,
        default_errno_ret=errno,
        architectures=_architectures(table, target, where),
        flags=flags,
        syscalls=tuple(rules),
    )


def _rule(entry: Table, where: str) -> SyscallRule:
    names = strings(entry, "names", where) or ()
    name = optional(entry, "name", str, where)  # docker's before 2017
    if bool(names) == bool(name):
        raise ContainerError(f"{where}: names is {list(names)} and name is {name!r}, one expected")
    rule = SyscallRule(
        names=names or (name or "",),
        action=member(entry, "action", str, where),
        errno_ret=_errno(entry, "errnoRet", "errno", where),
        args=tuple(
            _argument(_object(value, f"{where}: args[{index}]"), f"{where}: args[{index}]")
            for index, value in enumerate(optional(entry, "args", list, where) or ())
        ),
    )
    constants.return_value(rule.action, rule.errno_ret, where)
    return rule


def _argument(entry: Table, where: str) -> SyscallArgument:
    argument = SyscallArgument(
        index=member(entry, "index", int, where),
        value=member(entry, "value", int, where),
        op=member(entry, "op", str, where),
        value_two=optional(entry, "valueTwo", int, where) or 0,
    )
    constants.check_argument(argument, where)
    return argument


def _errno(entry: Table, number: str, name: str, where: str) -> int | None:
    """An errno by its number, or by its name, which podman's files have as well and prefer."""
    text = optional(entry, name, str, where)
    if not text:
        return optional(entry, number, int, where)
    import errno

    value = getattr(errno, text, None)
    if not isinstance(value, int):
        raise ContainerError(f"{where}: {name} is {text!r}, a name such as EPERM expected")
    return value


def _architectures(table: Table, target: _Target, where: str) -> tuple[str, ...]:
    """What the profile lists, or what its map has for the machine's own architecture."""
    names = strings(table, "architectures", where) or ()
    entries = optional(table, "archMap", list, where) or ()
    if names and entries:
        raise ContainerError(f"{where}: both architectures and archMap are given")
    mapped: tuple[str, ...] = ()
    for index, value in enumerate(entries):
        place = f"{where}: archMap[{index}]"
        entry = _object(value, place)
        listed = (
            member(entry, "architecture", str, place),
            *(strings(entry, "subArchitectures", place) or ()),
        )
        for name in listed:
            constants.architecture(name, place)
        if listed[0] == target.architecture:
            mapped = listed
    for name in names:
        constants.architecture(name, f"{where}: architectures")
    return names or mapped


def _applies(entry: Table, target: _Target, where: str) -> bool:
    """Whether a rule is meant for the target: all that it includes, none that it excludes."""
    capabilities, architectures, kernel = _condition(entry, "includes", where)
    if not (
        target.capabilities.issuperset(capabilities)
        and (not architectures or target.go_architecture in architectures)
        and (kernel is None or target.kernel >= kernel)
    ):
        return False
    capabilities, architectures, kernel = _condition(entry, "excludes", where)
    return (
        target.capabilities.isdisjoint(capabilities)
        and target.go_architecture not in architectures
        and (kernel is None or target.kernel < kernel)
    )


def _condition(
    entry: Table, name: str, where: str
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[int, int] | None]:
    """The three parts of a condition: capabilities without CAP_, architectures, a kernel."""
    table = optional(entry, name, dict, where) or {}
    place = f"{where}: {name}"
    capabilities = strings(table, "caps", place) or ()
    kernel = optional(table, "minKernel", str, place)
    return (
        tuple(capability.removeprefix("CAP_") for capability in capabilities),
        strings(table, "arches", place) or (),
        None if kernel is None else _version(kernel, f"{place}: minKernel"),
    )


def _version(text: str, where: str) -> tuple[int, int]:
    """The first two numbers of a kernel's version."""
    version = read_version(text)
    if version is None:
        raise ContainerError(f"{where} is {text!r}, a version such as 4.8 expected")
    return version


def _object(value: object, where: str) -> Table:
    if not isinstance(value, dict):
        raise ContainerError(f"{where} is {value!r}, an object expected")
    return value
