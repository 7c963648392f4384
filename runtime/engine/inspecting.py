"""What is known of a container, in the form of `docker inspect`."""

from __future__ import annotations

from runtime.engine.added_mounts import read_added
from runtime.engine.containers import PAUSED, Seen
from runtime.engine.health import NONE, read_state
from runtime.engine.launching import spec_of
from runtime.engine.logfile import LOG
from runtime.engine.volumes import read_uses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.oci.resources import Resources
    from runtime.oci.spec import Mount, Spec

_NEVER = "0001-01-01T00:00:00Z"  # Go's time of nothing


def inspection(seen: Seen) -> dict[str, Any]:
    """The document of one container; raises ContainerError for a damaged one."""
    record, spec = seen.record, spec_of(seen.path)
    command, health = record.command, record.health
    descriptor = record.descriptor or {}
    return {
        "Id": record.id,
        "Created": record.created,
        "Path": command[0] if command else "",
        "Args": list(command[1:]),
        "State": _state(seen),
        "Image": descriptor.get("digest", ""),
        "ImageName": record.image,
        "Platform": record.platform or "linux",
        "Name": record.name,
        "LogPath": f"{seen.path}/{LOG}",
        "Mounts": _mounts(seen.path, spec),
        "HostConfig": _host_config(seen, spec),
        "GraphDriver": {
            "Name": "overlay",
            "Data": {"UpperDir": f"{seen.path}/upper", "WorkDir": f"{seen.path}/work"},
        },
        "Config": {
            "Hostname": spec.hostname,
            "User": str(spec.process.user or ""),
            "Tty": record.terminal,
            "OpenStdin": record.interactive,
            "Env": list(spec.process.env),
            "Cmd": list(command[len(record.entrypoint) :]),
            "Entrypoint": list(record.entrypoint),
            "Image": record.image,
            "WorkingDir": spec.process.cwd,
            "Labels": dict(record.labels),
            "StopSignal": f"SIG{record.stop_signal}",
            "StopTimeout": record.stop_timeout_s,
            "Healthcheck": health and {k: v for k, v in health.items() if k != "OnFailure"},
            "HealthcheckOnFailureAction": (health or {}).get("OnFailure", NONE),
            "Secrets": list(record.secrets),
        },
        "NetworkSettings": {"Ports": {}, "Networks": {}},
    }


def _state(seen: Seen) -> dict[str, Any]:
    run, ended = seen.run, seen.exit
    return {
        "Status": seen.status,
        "Running": seen.is_alive,
        "Paused": seen.status == PAUSED,
        "Restarting": False,
        "OOMKilled": ended is not None and ended.oom_killed,
        "Dead": False,
        "Pid": seen.state.pid if seen.state is not None else 0,
        "ConmonPid": run.monitor if run is not None and seen.is_alive else 0,
        "ExitCode": ended.status if ended is not None else 0,
        "Error": ended.error if ended is not None else "",
        "StartedAt": run.started if run is not None else _NEVER,
        "FinishedAt": ended.finished if ended is not None else _NEVER,
        "Health": read_state(seen.path) if seen.record.health is not None else None,
        "Namespaces": (run.namespaces if run is not None and seen.is_alive else None) or {},
    }


def _mounts(path: str, spec: Spec) -> list[dict[str, Any]]:
    """The files of the host and the volumes in a container, also those that came later."""
    names = {use.destination: use.name for use in read_uses(path)}
    found = []
    for mount in (*(mount for mount in spec.mounts if mount.type == "bind"), *read_added(path)):
        document = _mount(mount)
        if name := names.get(mount.destination):
            document |= {"Type": "volume", "Name": name, "Driver": "local"}
        found.append(document)
    return found


def _mount(mount: Mount) -> dict[str, Any]:
    writable = "ro" not in mount.options and "rro" not in mount.options
    return {
        "Type": "bind",
        "Source": mount.source,
        "Destination": mount.destination,
        "Mode": ",".join(mount.options),
        "RW": writable,
    }


def _host_config(seen: Seen, spec: Spec) -> dict[str, Any]:
    record, process = seen.record, spec.process
    has_network = any(namespace.type == "network" for namespace in spec.namespaces)
    return {
        "AutoRemove": record.auto_remove,
        "Binds": [
            f"{mount.source}:{mount.destination}" for mount in spec.mounts if mount.type == "bind"
        ],
        "CapabilitiesBounding": sorted(process.capabilities.bounding),
        "Init": record.init,
        "LogConfig": {
            "Type": "k8s-file",
            "Config": {"max-size": str(record.log_size), "max-file": str(record.log_files)},
        },
        "NetworkMode": "none" if has_network else "host",
        "Privileged": False,
        "ReadonlyRootfs": spec.root is not None and spec.root.readonly,
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "SecurityOpt": _security(seen, spec),
        "Ulimits": [
            {"Name": limit.type.removeprefix("RLIMIT_").lower(), "Soft": limit.soft}
            | {"Hard": limit.hard}
            for limit in process.rlimits
        ],
        **limits(spec.resources),
    }


def _security(seen: Seen, spec: Spec) -> list[str]:
    found = []
    if spec.process.no_new_privileges:
        found.append("no-new-privileges")
    if seen.record.seccomp:
        found.append(f"seccomp={seen.record.seccomp}")
    if seen.record.landlock:
        found.append(f"landlock={','.join(seen.record.landlock)}")
    return found


def limits(resources: Resources | None) -> dict[str, Any]:
    """Limits by docker's names; 0 is none."""
    memory = resources.memory if resources is not None else None
    cpu = resources.cpu if resources is not None else None
    pids = resources.pids_limit if resources is not None else None
    quota, period = (cpu.quota, cpu.period) if cpu is not None else (None, None)
    return {
        "Memory": (memory.limit if memory is not None else None) or 0,
        "MemorySwap": (memory.swap if memory is not None else None) or 0,
        "NanoCpus": quota * 10**9 // period if quota and period and quota > 0 else 0,
        "CpuQuota": quota or 0,
        "CpuPeriod": period or 0,
        "CpuShares": (cpu.shares if cpu is not None else None) or 0,
        "CpusetCpus": (cpu.cpus if cpu is not None else None) or "",
        "CpusetMems": (cpu.mems if cpu is not None else None) or "",
        "PidsLimit": pids or 0,
    }
