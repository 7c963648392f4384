"""From an image and the user's options to a runtime-spec `Spec` (image-spec conversion.md)."""

from __future__ import annotations

import os

from runtime.errors import UsageError
from runtime.oci.spec import Capabilities, Mount, Process, Root, Spec
from runtime.record import Record
from runtime.sandbox import capabilities, defaults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.image import ExecutionParameters
    from runtime.oci.spec import Rlimit
    from runtime.sandbox.entry import Entry
    from runtime.sandbox.landlock import Ruleset
    from runtime.store.known import KnownImage


class Options(Record):
    """What the user of `pyrun` asked for; None or empty means that the image decides."""

    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()  # NAME=VALUE, or NAME to take the caller's
    volumes: tuple[str, ...] = ()  # SOURCE:DESTINATION[:ro|rw]
    working_dir: str = ""
    user: str = ""
    hostname: str = ""
    readonly: bool = False
    interactive: bool = False
    terminal: bool = False
    host_network: bool = False
    new_privileges: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    seccomp: str = ""  # a profile's file, or "unconfined"; empty: ours
    landlock: tuple[str, ...] = ()
    init: bool = False
    memory: str = ""  # this and what follows as `runtime.limits` reads it
    memory_swap: str = ""
    cpus: str = ""
    cpu_shares: str = ""
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: str = ""
    ulimits: tuple[str, ...] = ()


def to_spec(image: ExecutionParameters | KnownImage, options: Options) -> Spec:
    """Combine image configuration and options; raises UsageError for what makes no sense."""
    hostname = options.hostname or os.urandom(6).hex()
    # As docker: another entrypoint makes the image's command meaningless.
    if options.entrypoint is not None:
        args = options.entrypoint + options.command
    else:
        entrypoint = image.entrypoint or ()
        args = entrypoint + (options.command or image.cmd or ())
    return Spec(
        process=Process(
            args=args,
            env=_environment(image, options, hostname),
            cwd=_working_dir(image, options),
            user=options.user or image.user,
            terminal=options.terminal,
            capabilities=Capabilities.granted(_capabilities(options)),
            no_new_privileges=not options.new_privileges,
            rlimits=_rlimits(options.ulimits),
        ),
        hostname=hostname,
        mounts=defaults.mounts(host_network=options.host_network)
        + (_name_resolution() if options.host_network else ())
        + tuple(_volume(text) for text in options.volumes),
        namespaces=defaults.namespaces(host_network=options.host_network),
        masked_paths=defaults.masked_paths(),
        readonly_paths=defaults.READONLY_PATHS,
        root=Root(path="rootfs", readonly=options.readonly),
    )


def asks_for_limits(options: Options) -> bool:
    """Whether any option needs a control group."""
    memory = options.memory or options.memory_swap
    processor = options.cpus or options.cpu_shares or options.cpuset_cpus or options.cpuset_mems
    return bool(memory or processor or options.pids_limit)


def entry_of(spec: Spec, options: Options, store: str) -> Entry:
    """The last steps of a container's process that the options ask for beside the spec."""
    from runtime.sandbox.entry import Entry

    return Entry(
        seccomp=_seccomp(spec, options.seccomp, f"{store}/seccomp"),
        landlock=_landlock(options.landlock),
        init=options.init,
        keyring="_ses.pyrun",
    )


def _seccomp(spec: Spec, profile: str, cache: str) -> bytes:
    """The compiled filter: ours comes with the package, others are compiled once."""
    if profile == "unconfined":
        return b""
    from runtime.seccomp.load import filter_for

    names = spec.process.capabilities.bounding
    if not profile:
        return filter_for(None, names, cache=cache)
    from runtime.seccomp.profile import load_profile

    return filter_for(load_profile(profile, names), names, cache=cache)


def _landlock(rules: tuple[str, ...]) -> Ruleset | None:
    if not rules:
        return None
    from runtime.sandbox.landlock import parse_rules

    return parse_rules(rules)


def _rlimits(texts: tuple[str, ...]) -> tuple[Rlimit, ...]:
    if not texts:
        return ()
    from runtime.limits import rlimits

    return rlimits(texts)


def _environment(
    image: ExecutionParameters | KnownImage, options: Options, hostname: str
) -> tuple[str, ...]:
    values = {"PATH": defaults.PATH, "HOSTNAME": hostname}
    if options.terminal:
        values["TERM"] = "xterm"
    for item in image.env:
        name, _, value = item.partition("=")
        values[name] = value
    for item in options.env:
        name, equals, value = item.partition("=")
        if not name:
            raise UsageError(f"-e {item!r}: NAME=VALUE or NAME expected")
        if equals:
            values[name] = value
        elif name in os.environ:
            values[name] = os.environ[name]
    return tuple(f"{name}={value}" for name, value in values.items())


def _working_dir(image: ExecutionParameters | KnownImage, options: Options) -> str:
    if options.working_dir and not options.working_dir.startswith("/"):
        raise UsageError(f"-w {options.working_dir!r}: an absolute path expected")
    path = options.working_dir or image.working_dir or "/"
    return path if path.startswith("/") else f"/{path}"


def _capabilities(options: Options) -> frozenset[str]:
    names = capabilities.RUN_DEFAULT
    for text in options.cap_drop:
        names -= capabilities.ALL if text.upper() == "ALL" else {_capability(text)}
    for text in options.cap_add:
        names |= capabilities.ALL if text.upper() == "ALL" else {_capability(text)}
    return names


def _capability(text: str) -> str:
    return capabilities.parse_capability(text)


def _name_resolution() -> tuple[Mount, ...]:
    """The host's own files, for a container that shares its network."""
    paths = ("/etc/resolv.conf", "/etc/hosts")
    return tuple(
        Mount(destination=path, type="bind", source=path, options=("bind", "ro"))
        for path in paths
        if os.path.exists(path)
    )


def _volume(text: str) -> Mount:
    parts = text.split(":")
    if len(parts) not in (2, 3) or not parts[0] or not parts[1].startswith("/"):
        raise UsageError(
            f"-v {text!r}: SOURCE:DESTINATION[:ro] expected, the destination an absolute path"
        )
    if parts[1].strip("/") == "":
        raise UsageError(f"-v {text!r}: the destination is the root itself")
    mode = parts[2] if len(parts) == 3 else "rw"
    if mode not in ("ro", "rw"):
        raise UsageError(f"-v {text!r}: {mode!r} is not ro or rw")
    source = os.path.abspath(parts[0])
    if not os.path.exists(source):
        raise UsageError(
            f"-v {text!r}: {source} does not exist", hint="make it first; pyrun does not guess"
        )
    return Mount(
        destination=parts[1],
        type="bind",
        source=source,
        options=("rbind", "rro" if mode == "ro" else mode),
    )
