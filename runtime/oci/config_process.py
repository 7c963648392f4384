"""The `process` object (config.md "Process") -> `Process`; also what `exec --process` is given."""

from __future__ import annotations

from runtime.oci.config_document import MAX_ID, MAX_UINT64, Table, shown
from runtime.oci.spec import Capabilities, IOPriority, Process, Rlimit, Scheduler, User
from runtime.sandbox.capabilities import NAMES

_CAPABILITIES = {f"CAP_{name}": name for name in NAMES}
RLIMITS = tuple(
    f"RLIMIT_{name}"  # getrlimit(2)
    for name in (
        "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME "
        "SIGPENDING STACK"
    ).split()
)
SCHEDULER_POLICIES = tuple(
    f"SCHED_{name}" for name in "OTHER FIFO RR BATCH ISO IDLE DEADLINE".split()
)
SCHEDULER_FLAGS = tuple(
    f"SCHED_FLAG_{name}"
    for name in (
        "RESET_ON_FORK RECLAIM DL_OVERRUN KEEP_POLICY KEEP_PARAMS UTIL_CLAMP_MIN UTIL_CLAMP_MAX"
    ).split()
)
IO_CLASSES = ("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")
_MAX_WINDOW = 2**16 - 1  # struct winsize of tty_ioctl(4)
_MAX_CPU = 2**13 - 1  # CONFIG_NR_CPUS at its largest


def parse_process(document: object, where: str) -> Process:
    """Check one process document; raises ConfigError that names `where` and the member."""
    return process_from(Table(document, where))


def process_from(table: Table) -> Process:
    """As `parse_process`, for the member of a larger document."""
    _check_labels(table)
    return Process(
        args=_args(table),
        env=_env(table),
        cwd=table.path("cwd"),
        user=_user(table),
        terminal=table.flag("terminal"),
        console_size=_console_size(table),
        capabilities=_capabilities(table),
        no_new_privileges=table.flag("noNewPrivileges"),
        rlimits=_rlimits(table),
        oom_score_adj=table.optional_integer("oomScoreAdj", -1000, 1000),
        scheduler=_scheduler(table),
        io_priority=_io_priority(table),
        cpu_affinity=_cpu_affinity(table),
    )


def _args(table: Table) -> tuple[str, ...]:
    args = table.strings("args")
    if not args:
        raise table.error("args", "is empty" if table.has("args") else "is missing")
    return args


def _env(table: Table) -> tuple[str, ...]:
    env = table.strings("env")
    for i, variable in enumerate(env):
        if variable.find("=") < 1:
            raise table.error(f"env[{i}]", f"{shown(variable)} is not NAME=VALUE")
    return env


def _user(table: Table) -> User:
    user = table.table("user")
    if user is None:
        return User()
    return User(
        uid=user.integer("uid", 0, MAX_ID),
        gid=user.integer("gid", 0, MAX_ID),
        umask=user.optional_integer("umask", 0, 0o777),
        additional_gids=user.integers("additionalGids", 0, MAX_ID),
    )


def _console_size(table: Table) -> tuple[int, int] | None:
    size = table.table("consoleSize")
    if size is None:
        return None
    return size.integer("height", 0, _MAX_WINDOW), size.integer("width", 0, _MAX_WINDOW)


def _capabilities(table: Table) -> Capabilities:
    sets = table.table("capabilities")
    if sets is None:
        return Capabilities()

    def names(kind: str) -> frozenset[str]:
        words = sets.choices(kind, _CAPABILITIES, "a capability")
        return frozenset(_CAPABILITIES[word] for word in words)

    return Capabilities(
        bounding=names("bounding"),
        permitted=names("permitted"),
        effective=names("effective"),
        inheritable=names("inheritable"),
        ambient=names("ambient"),
    )


def _rlimits(table: Table) -> tuple[Rlimit, ...]:
    rlimits: dict[str, Rlimit] = {}
    for entry in table.tables("rlimits"):
        kind = entry.choice("type", RLIMITS, "a resource limit")
        if kind in rlimits:
            raise entry.error("type", f"{shown(kind)} is given twice")
        soft = entry.integer("soft", 0, MAX_UINT64)
        hard = entry.integer("hard", 0, MAX_UINT64)
        if soft > hard:
            raise entry.error("soft", f"is {soft}, more than hard, which is {hard}")
        rlimits[kind] = Rlimit(type=kind, soft=soft, hard=hard)
    return tuple(rlimits.values())


def _scheduler(table: Table) -> Scheduler | None:
    entry = table.table("scheduler")
    if entry is None:
        return None
    policy = entry.choice("policy", SCHEDULER_POLICIES, "a scheduling policy")
    realtime = policy in ("SCHED_FIFO", "SCHED_RR")
    scheduler = Scheduler(
        policy=policy,
        nice=entry.optional_integer("nice", -20, 19) or 0,
        # sched(7): 1 to 99 for the two, 0 for all others
        priority=entry.integer("priority", 1, 99)
        if realtime
        else entry.optional_integer("priority", 0, 0) or 0,
        flags=entry.choices("flags", SCHEDULER_FLAGS, "a scheduling flag"),
        runtime=entry.optional_integer("runtime", 0, MAX_UINT64) or 0,
        deadline=entry.optional_integer("deadline", 0, MAX_UINT64) or 0,
        period=entry.optional_integer("period", 0, MAX_UINT64) or 0,
    )
    if policy != "SCHED_DEADLINE":
        for name in ("runtime", "deadline", "period"):
            if getattr(scheduler, name):
                raise entry.error(name, f"is for SCHED_DEADLINE, not for {policy}")
    return scheduler


def _io_priority(table: Table) -> IOPriority | None:
    entry = table.table("ioPriority")
    if entry is None:
        return None
    return IOPriority(
        io_class=entry.choice("class", IO_CLASSES, "a class of I/O priority"),
        priority=entry.optional_integer("priority", 0, 7) or 0,
    )


def _cpu_affinity(table: Table) -> tuple[str, str] | None:
    entry = table.table("execCPUAffinity")
    if entry is None:
        return None
    return _cpu_list(entry, "initial"), _cpu_list(entry, "final")


def _cpu_list(entry: Table, name: str) -> str:
    """A list such as "0-3,7", without the blanks that the specification allows in it."""
    text = entry.optional_text(name) or ""
    items = [item for part in text.split(",") if (item := part.strip(" "))]
    for item in items:
        first, dash, last = (part.strip(" ") for part in item.partition("-"))
        numbers = (first, last) if dash else (first,)
        if not all(_is_cpu(number) for number in numbers) or (dash and int(first) > int(last)):
            raise entry.error(name, f"{shown(item)} is neither a CPU nor a range of them")
    return ",".join(item.replace(" ", "") for item in items)


def _is_cpu(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4 and int(text) <= _MAX_CPU


def _check_labels(table: Table) -> None:
    profile = table.optional_text("apparmorProfile")
    if profile and profile != "unconfined":
        raise table.error(
            "apparmorProfile",
            f"is {shown(profile)}, but AppArmor profiles are not supported",
            "--security-opt apparmor=unconfined, to an engine, asks for none",
        )
    label = table.optional_text("selinuxLabel")
    if label:
        raise table.error(
            "selinuxLabel",
            f"is {shown(label)}, but SELinux labels are not supported",
            "--security-opt label=disable, to an engine, asks for none",
        )
