"""Limits that a user of `pyrun` asks for, and those that a container gets unasked."""

from __future__ import annotations

import os

from runtime.cgroup.group import Group, make_group
from runtime.errors import ContainerError, UsageError
from runtime.oci.resources import CPU, Memory, Resources
from runtime.sandbox.userns import in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.bundle import Options
    from runtime.oci.spec import Rlimit, Spec

PIDS_LIMIT = 2048  # podman's: enough for anything but a fork bomb
_PERIOD_US = 100_000
_FACTORS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def asked_resources(options: Options) -> Resources | None:
    """What the options ask for, or None; raises UsageError for a value that is none."""
    from runtime.bundle import asks_for_limits

    if not asks_for_limits(options):
        return None
    memory = size(options.memory, "--memory") if options.memory else None
    swap = size(options.memory_swap, "--memory-swap") if options.memory_swap else None
    if swap is not None and memory is None:
        raise UsageError("--memory-swap: counts memory too, so --memory must be given as well")
    return Resources(
        memory=Memory(limit=memory, swap=swap),
        cpu=CPU(
            quota=_quota(options.cpus) if options.cpus else None,
            period=_PERIOD_US if options.cpus else None,
            shares=_number(options.cpu_shares, "--cpu-shares") if options.cpu_shares else None,
            cpus=options.cpuset_cpus or None,
            mems=options.cpuset_mems or None,
        ),
        pids_limit=_number(options.pids_limit, "--pids-limit") if options.pids_limit else None,
    )


def size(text: str, option: str) -> int:
    """Bytes, with b, k, m, g or t for powers of 1024; -1 is no limit. Raises UsageError."""
    letter = text[-1:].lower()
    digits = text[:-1] if letter in _FACTORS else text
    whole, _, fraction = digits.partition(".")
    if text == "-1":
        return -1
    if not all(part.isascii() and part.isdigit() for part in (whole, fraction or "0")):
        raise UsageError(f"{option} {text!r}: bytes expected, such as 512m")
    return int(float(digits) * _FACTORS.get(letter, 1))


def _number(text: str, option: str) -> int:
    if not (text.isascii() and text.removeprefix("-").isdigit()) or len(text) > 18:
        raise UsageError(f"{option} {text!r}: a number expected")
    return int(text)


def _quota(text: str) -> int:
    try:
        cpus = float(text)
    except ValueError:
        cpus = 0.0
    if not 0.01 <= cpus <= 10_000:
        raise UsageError(f"--cpus {text!r}: a number of processors expected, such as 1.5")
    return int(cpus * _PERIOD_US)


def rlimits(texts: tuple[str, ...]) -> tuple[Rlimit, ...]:
    """Limits given as `NAME=SOFT[:HARD]`, as ulimit(1) and docker have them."""
    from runtime.oci.spec import Rlimit

    found = []
    for text in texts:
        name, equals, values = text.partition("=")
        soft, _, hard = values.partition(":")
        limit = f"RLIMIT_{name.upper()}"
        import resource

        if not equals or not hasattr(resource, limit):
            raise UsageError(f"--ulimit {text!r}: NAME=SOFT[:HARD] expected, such as nofile=1024")
        numbers = [
            (1 << 64) - 1 if n in ("-1", "unlimited") else _number(n, "--ulimit")
            for n in (soft, hard or soft)
        ]
        found.append(Rlimit(type=limit, soft=numbers[0], hard=numbers[1]))
    return tuple(found)


def limit_devices(resources: Resources | None, spec: Spec) -> Resources | None:
    """The same, and the default devices alone for a container that could make or see others.

    Who may make device nodes, or mount /dev's filesystem anew, has the host's disk otherwise.
    """
    if in_user_namespace() or not spec.process.capabilities.bounding & {"MKNOD", "SYS_ADMIN"}:
        return resources
    from runtime.cgroup.devices import DEFAULT_RULES

    return (resources or Resources()).replace(devices=DEFAULT_RULES)


def container_group(resources: Resources | None, name: str) -> Group | None:
    """The control groups of a container of ours; what was not asked for is set where it can be.

    Raises ContainerError for a limit that was asked for and cannot be had.
    """
    wanted = resources or Resources()
    if wanted.pids_limit is None and not in_user_namespace():
        unasked = wanted.replace(pids_limit=PIDS_LIMIT)
        try:
            return make_group(f"pyrun/{name}", unasked)
        except ContainerError:
            # Nobody asked for that one: a read-only or missing hierarchy is no reason to fail.
            if resources is None:
                return None
    group = make_group(f"pyrun/{name}", wanted)
    return group if group.places else None


def group_name() -> str:
    """A name that says whose group it is, so that one whose owner was killed can be told."""
    return f"{os.getpid()}-{os.urandom(4).hex()}"
