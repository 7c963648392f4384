"""Limits that a user of `pyrun` asks for."""

from __future__ import annotations

from runtime.cgroup.group import Group, make_group
from runtime.cgroup.unasked import PARENT, PIDS_LIMIT, group_name, sweep_beside
from runtime.errors import ContainerError, UsageError
from runtime.oci.resources import CPU, Memory, Resources
from runtime.sandbox.userns import in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.bundle import Options
    from runtime.oci.spec import Rlimit

CPU_PERIOD_US = 100_000
_LONGEST = 24  # characters of a size
_FACTORS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def asked_resources(options: Options) -> Resources:
    """What the options ask for; raises UsageError for a value that is none."""
    memory = size(options.memory, "--memory") if options.memory else None
    swap = size(options.memory_swap, "--memory-swap") if options.memory_swap else None
    if swap is not None and memory is None:
        raise UsageError("--memory-swap: counts memory too, so --memory must be given as well")
    return Resources(
        memory=Memory(limit=memory, swap=swap),
        cpu=CPU(
            quota=cpu_quota(options.cpus) if options.cpus else None,
            period=CPU_PERIOD_US if options.cpus else None,
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
    numbers = all(part.isascii() and part.isdigit() for part in (whole, fraction or "0"))
    if not numbers or len(text) > _LONGEST:
        raise UsageError(f"{option} {text!r}: bytes expected, such as 512m")
    return int(float(digits) * _FACTORS.get(letter, 1))


def _number(text: str, option: str) -> int:
    if not (text.isascii() and text.removeprefix("-").isdigit()) or len(text) > 18:
        raise UsageError(f"{option} {text!r}: a number expected")
    return int(text)


def cpu_quota(text: str) -> int:
    """Microseconds of each period for a number of processors; raises UsageError."""
    try:
        cpus = float(text)
    except ValueError:
        cpus = 0.0
    if not 0.01 <= cpus <= 10_000:
        raise UsageError(f"--cpus {text!r}: a number of processors expected, such as 1.5")
    return int(cpus * CPU_PERIOD_US)


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


def asked_group(options: Options, *, limit_devices: bool) -> Group:
    """The control groups of a container with the limits that were asked for.

    With `limit_devices` it gets the default devices alone. The unasked limit of processes is set
    as well. Raises ContainerError for a limit that cannot be had.
    """
    wanted = asked_resources(options)
    if limit_devices:
        from runtime.cgroup.devices import DEFAULT_RULES

        wanted = wanted.replace(devices=DEFAULT_RULES)
    group = _make(wanted)
    sweep_beside(group)
    return group


def _make(wanted: Resources) -> Group:
    name = f"{PARENT}/{group_name()}"
    if wanted.pids_limit is None and not in_user_namespace():
        try:
            return make_group(name, wanted.replace(pids_limit=PIDS_LIMIT))
        except ContainerError:
            pass  # perhaps for the limit that nobody asked for: without it, the error tells
    return make_group(name, wanted)
