"""What a command line asks of all RUN steps, under docker's and podman's names."""

from __future__ import annotations

import os

from buildkit.errors import HostError, UsageError
from buildkit.steps import RunStep
from runtime.errors import UsageError as OptionError
from runtime.limits import CPU_PERIOD_US, cpu_quota, rlimits, size
from runtime.oci.resources import CPU, Memory, Resources
from runtime.oci.spec import Mount, Rlimit
from runtime.record import Record
from runtime.sandbox.defaults import SHM_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.command_line import CommandLine

_ENTITLEMENTS = ("security.insecure", "network.host")
# Words of a --volume; SELinux's labels (z, Z) are not set by us, and mean nothing without it.
_VOLUME_OPTIONS = ("ro", "rw", "nosuid", "nodev", "noexec", "z", "Z")


class RunOptions(Record):
    """Options of all RUN steps of a build."""

    network: str = "default"  # of steps that do not say
    hosts: tuple[tuple[str, str], ...] = ()  # names and addresses for /etc/hosts
    shm_bytes: int = SHM_BYTES
    rlimits: tuple[Rlimit, ...] = ()
    resources: Resources = Resources()
    volumes: tuple[Mount, ...] = ()
    allowed: frozenset[str] = frozenset()  # entitlements

    @property
    def parts(self) -> object:
        """What can change the result of a step, for its key; limits only make it fail."""
        return [
            list(self.hosts),
            self.shm_bytes,
            [repr(limit) for limit in self.rlimits],
            [[v.source, v.destination, list(v.options)] for v in self.volumes],
        ]

    def network_of(self, step: RunStep) -> str:
        """The network of a step: host or none."""
        network = self.network if step.network == "default" else step.network
        return "none" if network == "none" else "host"


def read_run_options(line: CommandLine) -> RunOptions:
    """What a command line says of RUN; raises UsageError."""
    if line.network not in ("", "default", "none", "host"):
        raise UsageError(f"--network {line.network!r}: default, none or host")
    for name in line.allow:
        if name not in _ENTITLEMENTS:
            raise UsageError(f"--allow {name!r}: {' or '.join(_ENTITLEMENTS)}")
    try:
        return RunOptions(
            network=line.network or "default",
            hosts=tuple(_host(text) for text in line.add_hosts),
            shm_bytes=size(line.shm_size, "--shm-size") if line.shm_size else SHM_BYTES,
            rlimits=rlimits(line.ulimits),
            resources=_resources(line),
            volumes=tuple(_volume(text) for text in line.volumes),
            allowed=frozenset(line.allow),
        )
    except OptionError as error:
        raise UsageError(error.message, hint=error.hint) from None


def check_run(step: RunStep, options: RunOptions, *, chroot: bool) -> None:
    """Refuse what is not allowed (UsageError), and what chroot cannot give (HostError)."""
    if step.insecure and "security.insecure" not in options.allowed:
        raise UsageError(
            "--security=insecure gives a step all rights over this machine",
            hint="--allow security.insecure on the command line lets it",
        )
    if not chroot:
        return
    for asked, what in (
        (options.network_of(step) == "none", "--network=none needs a network namespace"),
        (options.volumes, "--volume needs mounts"),
        (options.resources != Resources(), "limits need control groups"),
    ):
        if asked:
            raise HostError(
                f"{what}, and with --isolation=chroot there is none",
                hint="leave it out, or build where namespaces can be made",
            )


def _resources(line: CommandLine) -> Resources:
    memory = size(line.memory, "--memory") if line.memory else None
    return Resources(
        memory=Memory(limit=memory),
        cpu=CPU(
            quota=cpu_quota(line.cpus) if line.cpus else None,
            period=CPU_PERIOD_US if line.cpus else None,
        ),
    )


def _host(text: str) -> tuple[str, str]:
    """`NAME:ADDRESS` (docker, podman) or `NAME=ADDRESS` (docker)."""
    import ipaddress

    end = min((text.index(c) for c in "=:" if c in text), default=0)
    name, address = text[:end], text[end + 1 :].strip("[]")
    try:
        if not name or any(character.isspace() for character in name):
            raise ValueError
        return name, str(ipaddress.ip_address(address))
    except ValueError:
        raise UsageError(
            f"--add-host {text!r}: NAME:ADDRESS expected", hint="such as db:10.0.0.5"
        ) from None


def _volume(text: str) -> Mount:
    source, _, rest = text.partition(":")
    destination, _, words = rest.partition(":")
    options = [word for word in words.split(",") if word]
    if not source or not destination.startswith("/") or not destination.strip("/"):
        raise UsageError(f"--volume {text!r}: SOURCE:DESTINATION[:OPTIONS] expected")
    for word in options:
        if word not in _VOLUME_OPTIONS:
            raise UsageError(f"--volume {text!r}: {word!r} is not {', '.join(_VOLUME_OPTIONS)}")
    source = os.path.abspath(source)
    if not os.path.exists(source):
        raise UsageError(f"--volume {text!r}: {source} does not exist")
    kept = tuple("rro" if word == "ro" else word for word in options if word not in ("z", "Z"))
    return Mount(
        destination=os.path.normpath(destination),
        type="bind",
        source=source,
        options=("rbind", *kept),
    )
