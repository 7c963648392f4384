"""`Spec` -> plain data for a bundle's config.json: what `config` reads, written.

What a value does not say is left out. The order of the members is the specification's; that of
capabilities is the alphabet's.
"""

from __future__ import annotations

from runtime.errors import ConfigError
from runtime.oci.config_resources_writer import resources_to_json
from runtime.oci.spec import VERSION, User

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runtime.oci.seccomp import Seccomp, SyscallRule
    from runtime.oci.spec import (
        Capabilities,
        Device,
        Hook,
        Hooks,
        IDMapping,
        Mount,
        Process,
        Scheduler,
        Spec,
    )


def to_json(spec: Spec, *, version: str = VERSION) -> dict[str, object]:
    """The whole configuration, for `json.dumps`; raises ConfigError as `process_to_json`.

    `version` is what it says it complies with: crun 1.8 takes none but 1.0.
    """
    root = spec.root
    return {
        "ociVersion": version,
        "process": process_to_json(spec.process),
        **given(
            root=root and {"path": root.path, **given(readonly=root.readonly or None)},
            hostname=spec.hostname or None,
            domainname=spec.domainname or None,
            mounts=[_mount(mount) for mount in spec.mounts] or None,
            hooks=None if spec.hooks is None else _hooks(spec.hooks),
            annotations=dict(spec.annotations) or None,
            linux=_linux(spec) or None,
        ),
    }


def process_to_json(process: Process) -> dict[str, object]:
    """The process; raises ConfigError if its user is still a name: there is no member for it."""
    user, size, affinity = process.user, process.console_size, process.cpu_affinity
    if not isinstance(user, User):
        raise ConfigError(f"process.user: {user!r} is a name, only numbers can be written")
    priority = process.io_priority
    return given(
        terminal=process.terminal or None,
        consoleSize=size and {"height": size[0], "width": size[1]},
        user=given(
            uid=user.uid,
            gid=user.gid,
            umask=user.umask,
            additionalGids=list(user.additional_gids) or None,
        ),
        args=list(process.args),
        env=list(process.env) or None,
        cwd=process.cwd,
        capabilities=_capabilities(process.capabilities),
        rlimits=[
            {"type": limit.type, "soft": limit.soft, "hard": limit.hard}
            for limit in process.rlimits
        ]
        or None,
        noNewPrivileges=process.no_new_privileges or None,
        oomScoreAdj=process.oom_score_adj,
        scheduler=process.scheduler and _scheduler(process.scheduler),
        ioPriority=priority and {"class": priority.io_class, "priority": priority.priority},
        execCPUAffinity=None
        if affinity is None
        else given(initial=affinity[0] or None, final=affinity[1] or None),
    )


def given(**members: object) -> dict[str, object]:
    """The members that are not None."""
    return {name: value for name, value in members.items() if value is not None}


def _capabilities(sets: Capabilities) -> Mapping[str, object]:
    # Without the member, readers differ in what they leave to the process.
    return {
        kind: [f"CAP_{name}" for name in sorted(getattr(sets, kind))]
        for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")
        if getattr(sets, kind) or kind in ("bounding", "effective", "permitted")
    }


def _scheduler(scheduler: Scheduler) -> dict[str, object]:
    return given(
        policy=scheduler.policy,
        nice=scheduler.nice or None,
        priority=scheduler.priority or None,
        flags=list(scheduler.flags) or None,
        runtime=scheduler.runtime or None,
        deadline=scheduler.deadline or None,
        period=scheduler.period or None,
    )


def _mount(mount: Mount) -> dict[str, object]:
    return given(
        destination=mount.destination,
        type=mount.type or None,
        source=mount.source or None,
        options=list(mount.options) or None,
        uidMappings=_mappings(mount.uid_mappings),
        gidMappings=_mappings(mount.gid_mappings),
    )


def _mappings(mappings: tuple[IDMapping, ...]) -> list[dict[str, int]] | None:
    return [
        {"containerID": m.container_id, "hostID": m.host_id, "size": m.size} for m in mappings
    ] or None


def _hooks(hooks: Hooks) -> dict[str, object]:
    return given(
        prestart=_hook_list(hooks.prestart),
        createRuntime=_hook_list(hooks.create_runtime),
        createContainer=_hook_list(hooks.create_container),
        startContainer=_hook_list(hooks.start_container),
        poststart=_hook_list(hooks.poststart),
        poststop=_hook_list(hooks.poststop),
    )


def _hook_list(hooks: tuple[Hook, ...]) -> list[dict[str, object]] | None:
    return [
        given(
            path=hook.path,
            args=list(hook.args) or None,
            env=list(hook.env) or None,
            timeout=hook.timeout_s,
        )
        for hook in hooks
    ] or None


def _linux(spec: Spec) -> dict[str, object]:
    return given(
        namespaces=[given(type=ns.type, path=ns.path) for ns in spec.namespaces] or None,
        uidMappings=_mappings(spec.uid_mappings),
        gidMappings=_mappings(spec.gid_mappings),
        timeOffsets={
            offset.clock: given(secs=offset.seconds or None, nanosecs=offset.nanoseconds or None)
            for offset in spec.time_offsets
        }
        or None,
        devices=[_device(device) for device in spec.devices] or None,
        cgroupsPath=spec.cgroups_path or None,
        resources=None if spec.resources is None else resources_to_json(spec.resources),
        rootfsPropagation=spec.rootfs_propagation or None,
        seccomp=spec.seccomp and _seccomp(spec.seccomp),
        sysctl=dict(spec.sysctl) or None,
        maskedPaths=list(spec.masked_paths) or None,
        readonlyPaths=list(spec.readonly_paths) or None,
        personality={"domain": spec.personality} if spec.personality else None,
    )


def _device(device: Device) -> dict[str, object]:
    return given(
        path=device.path,
        type=device.type,
        major=None if device.type == "p" else device.major,
        minor=None if device.type == "p" else device.minor,
        fileMode=device.file_mode,
        uid=device.uid,
        gid=device.gid,
    )


def _seccomp(seccomp: Seccomp) -> dict[str, object]:
    return given(
        defaultAction=seccomp.default_action,
        defaultErrnoRet=seccomp.default_errno_ret,
        architectures=list(seccomp.architectures) or None,
        flags=list(seccomp.flags) or None,
        syscalls=[_rule(rule) for rule in seccomp.syscalls] or None,
    )


def _rule(rule: SyscallRule) -> dict[str, object]:
    return given(
        names=list(rule.names),
        action=rule.action,
        errnoRet=rule.errno_ret,
        args=[
            given(index=a.index, value=a.value, valueTwo=a.value_two or None, op=a.op)
            for a in rule.args
        ]
        or None,
    )
