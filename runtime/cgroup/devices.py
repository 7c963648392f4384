"""Rules for devices (config-linux.md "Allowed Device list"): which ones, and enforcing them.

The last rule that fits counts, for each of reading, writing and making a node by itself; what no
rule fits is denied. v1 has a list of exceptions from one default (cgroup-v1/devices.rst), v2 an
eBPF program.
"""

from __future__ import annotations

import os

from runtime.cgroup import bpf
from runtime.cgroup.files import FileError, read_file, write_file
from runtime.errors import ContainerError
from runtime.oci.resources import DeviceRule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.cgroup.places import Place
    from runtime.oci.spec import Device

    Key = tuple[str, int | None, int | None]

# null, zero, full, random, urandom, tty, console, ptmx, and the terminals of devpts.
_DEFAULT_NODES = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, None))
_NEEDED = (
    DeviceRule(allow=True, type="c", access="m"),  # a node that can't be opened does no harm
    DeviceRule(allow=True, type="b", access="m"),
    *(DeviceRule(allow=True, type="c", major=a, minor=b) for a, b in _DEFAULT_NODES),
)
# What an engine gives a container that is not privileged.
DEFAULT_RULES = (DeviceRule(allow=False), *_NEEDED)


def rules_for(
    spec_rules: Sequence[DeviceRule], devices: Sequence[Device]
) -> tuple[DeviceRule, ...]:
    """The specification's rules, and after them what the devices of every container need.

    A device that the specification lists is permitted unless a rule names it: engines write
    `rw` or less there for a device that shall not be made anew. No rules at all stay none.
    """
    if not spec_rules:
        return ()
    named = {(rule.type, rule.major, rule.minor) for rule in spec_rules}
    listed = []
    for device in devices:
        kind = "c" if device.type == "u" else device.type
        if kind in ("c", "b") and (kind, device.major, device.minor) not in named:
            rule = DeviceRule(allow=True, type=kind, major=device.major, minor=device.minor)
            listed.append(rule)
    return (*spec_rules, *listed, *_NEEDED)


def set_rules(place: Place, rules: Sequence[DeviceRule]) -> None:
    """Let a group's rules be these, instead of those it has. Raises ContainerError."""
    for rule in rules:
        _check(rule)
    if place.version == 1:
        _set_v1(place.directory, rules)
    else:
        _set_v2(place.directory, rules)


def _check(rule: DeviceRule) -> None:
    numbers = (rule.major, rule.minor)
    if (
        rule.type not in ("a", "b", "c")
        or not set(rule.access) <= set("rwm")
        or any(n is not None and not 0 <= n < 1 << 31 for n in numbers)
    ):
        raise ContainerError(f"resources.devices: {_shown(rule)} is no rule")


def _shown(rule: DeviceRule) -> str:
    verb = "allow" if rule.allow else "deny"
    return f"{verb} {_line((rule.type, rule.major, rule.minor), rule.access)}"


def _line(key: Key, access: str) -> str:
    kind, major, minor = key
    numbers = ":".join("*" if n is None else str(n) for n in (major, minor))
    return f"{kind} {numbers} {access}"


# --- v1 ---------------------------------------------------------------------------------------


class Exceptions:
    """The kernel's list: a default, and the devices and kinds of access that differ from it."""

    def __init__(self) -> None:
        self.allow = False
        self.access: dict[Key, frozenset[str]] = {}

    def add(self, rule: DeviceRule) -> None:
        """Add a rule as the last one.

        Raises ContainerError if it takes something from a wider rule: the list has no holes.
        """
        access = frozenset(rule.access or "rwm")
        if (rule.type, rule.major, rule.minor) == ("a", None, None) and len(access) == 3:
            self.allow = rule.allow
            self.access = {}
            return
        for kind in ("c", "b") if rule.type == "a" else (rule.type,):
            key = (kind, rule.major, rule.minor)
            if rule.allow != self.allow:
                self.access[key] = self.access.get(key, frozenset()) | access
            else:
                self._take(key, access, rule)

    def _take(self, key: Key, access: frozenset[str], rule: DeviceRule) -> None:
        for other, given in list(self.access.items()):
            pairs = list(zip(key, other, strict=True))
            if not given & access or any(None not in (a, b) and a != b for a, b in pairs):
                continue
            if any(a is not None and a != b for a, b in pairs):
                raise ContainerError(
                    f"resources.devices: {_shown(rule)} makes a hole in "
                    f"{_line(other, _letters(given))}, which cgroup v1 can't",
                    hint="put the narrower rule into the list instead of the wider one",
                )
            self.access[other] = given - access
            if not self.access[other]:
                del self.access[other]


def exceptions(rules: Sequence[DeviceRule]) -> Exceptions:
    """What rules amount to, as a list of v1; everything is denied before the first."""
    found = Exceptions()
    for rule in rules:
        found.add(rule)
    return found


def v1_writes(now: str, wanted: Exceptions) -> list[tuple[str, str]]:
    """The files and lines that turn a list, as devices.list shows it, into the wanted one.

    Between two lists of what is allowed only the differences are written: a container that runs
    must not find /dev/null denied in between.
    """
    lines = [line.split() for line in now.splitlines()]
    writes = []
    if wanted.allow or any(words[0] == "a" for words in lines):
        writes.append(("devices.allow" if wanted.allow else "devices.deny", "a"))
        have = {}
    else:
        have = {f"{kind} {numbers}": frozenset(access) for kind, numbers, access in lines}
    want = {_line(key, "").rstrip(): access for key, access in wanted.access.items()}
    more, less = ("deny", "allow") if wanted.allow else ("allow", "deny")
    for file, one, other in ((more, want, have), (less, have, want)):
        for key, access in one.items():
            if letters := _letters(access - other.get(key, frozenset())):
                writes.append((f"devices.{file}", f"{key} {letters}"))
    return writes


def _letters(access: frozenset[str]) -> str:
    return "".join(letter for letter in "rwm" if letter in access)


def _set_v1(directory: str, rules: Sequence[DeviceRule]) -> None:
    wanted = exceptions(rules)
    try:
        for file, line in v1_writes(read_file(directory + "/devices.list"), wanted):
            write_file(f"{directory}/{file}", line)
    except FileError as error:
        raise ContainerError(f"resources.devices: {error.message}", hint=error.hint) from error


# --- v2 ---------------------------------------------------------------------------------------

# include/uapi/linux/bpf.h, struct bpf_cgroup_dev_ctx: kind of access << 16 | kind of device
_KINDS = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}


def device_program(rules: Sequence[DeviceRule]) -> list[bytes]:
    """Assemble the program: rules from the last to the first, until nothing asked for is open.

    r2 is the kind of device, r3 what was asked for and no rule allowed yet, r4 and r5 the numbers.
    """
    program = [
        bpf.instruction(bpf.LOAD_WORD, dst=2, src=1),
        bpf.instruction(bpf.LOAD_WORD, dst=3, src=1),
        bpf.instruction(bpf.AND32, dst=2, imm=0xFFFF),
        bpf.instruction(bpf.SHIFT_RIGHT32, dst=3, imm=16),
        bpf.instruction(bpf.LOAD_WORD, dst=4, src=1, offset=4),
        bpf.instruction(bpf.LOAD_WORD, dst=5, src=1, offset=8),
    ]
    for rule in reversed(rules):
        conditions = [
            (register, value)
            for register, value in ((2, _KINDS.get(rule.type)), (4, rule.major), (5, rule.minor))
            if value is not None
        ]
        body = _decision(rule)
        for index, (register, value) in enumerate(conditions):
            skip = len(conditions) - index - 1 + len(body)
            jump = bpf.instruction(bpf.JUMP_NOT_EQUAL, dst=register, offset=skip, imm=value)
            program.append(jump)
        program += body
        if not conditions and len(body) == 2:
            return program  # the verifier refuses what can't be reached
    return program + _answer(0)


def _answer(value: int) -> list[bytes]:
    return [bpf.instruction(bpf.MOVE, imm=value), bpf.instruction(bpf.EXIT)]


def _decision(rule: DeviceRule) -> list[bytes]:
    """What a rule that fits does; the last instruction falls through to the rule before it."""
    mask = sum(_ACCESS[letter] for letter in set(rule.access or "rwm"))
    if mask == 7:
        return _answer(1 if rule.allow else 0)
    if rule.allow:
        return [
            bpf.instruction(bpf.AND32, dst=3, imm=7 & ~mask),
            bpf.instruction(bpf.JUMP_NOT_EQUAL, dst=3, offset=2),
            *_answer(1),
        ]
    return [
        bpf.instruction(bpf.JUMP_IF_SET, dst=3, offset=1, imm=mask),
        bpf.instruction(bpf.JUMP, offset=2),
        *_answer(0),
    ]


def _set_v2(directory: str, rules: Sequence[DeviceRule]) -> None:
    """Attach the new program, then detach the old ones: in between both must permit."""
    try:
        group = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise FileError(directory, error) from error
    try:
        old = [bpf.open_program(number) for number in bpf.attached(group)]
        try:
            program = bpf.load(device_program(rules))
            try:
                bpf.attach(group, program)
            finally:
                os.close(program)
            for fd in old:
                bpf.detach(group, fd)
        finally:
            for fd in old:
                os.close(fd)
    except OSError as error:
        raise ContainerError(f"{directory}: device rules: bpf: {error.strerror}") from error
    finally:
        os.close(group)
