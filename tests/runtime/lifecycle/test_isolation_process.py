"""What the process of a container is and may do (config.md "Linux Process", "Hooks")."""

from __future__ import annotations

import json
import os
import platform
import resource
from pathlib import Path

import pytest

from tests.runtime.lifecycle.runtime_calls import Runtime, as_root, complaint, groups_of, marked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tests.runtime.lifecycle.runtime_calls import Config

    Bundle = Callable[..., Path]
    Edit = Callable[[Config], object]

# The wider matrix: test_namespaces, test_mounts and test_process are in the default tier.
pytestmark = pytest.mark.slow

BOTH = pytest.mark.parametrize("no_new_privileges", [True, False])
LIMITS = {"RLIMIT_NOFILE": (100, 200), "RLIMIT_CORE": (0, 0), "RLIMIT_STACK": (4194304, 8388608)}


def process(**members: Any) -> Edit:
    """An edit that sets members of `process`."""
    return lambda config: config["process"].update(members)


def linux(**members: Any) -> Edit:
    """An edit that sets members of `linux`."""
    return lambda config: config["linux"].update(members)


def without(*kinds: str) -> Edit:
    """An edit that leaves namespaces of some kinds shared."""

    def edit(config: Config) -> None:
        config["linux"]["namespaces"] = [
            n for n in config["linux"]["namespaces"] if n["type"] not in kinds
        ]

    return edit


def leaves_nothing(oci: Runtime) -> None:
    """Assert that no container, process or control group of the test is there."""
    assert not oci.root.exists() or list(oci.root.iterdir()) == []
    assert marked(oci.room.mark) == []
    assert groups_of(oci.room.mark) == []


# --- limits, scheduling -----------------------------------------------------------------------


def test_resource_limits_are_those_of_the_configuration(oci: Runtime, bundle: Bundle) -> None:
    limits = [{"type": k, "soft": soft, "hard": hard} for k, (soft, hard) in LIMITS.items()]
    out = oci.output_of(bundle(["cat", "/proc/self/limits"], process(rlimits=limits)))
    found = {line[:26].rstrip(): line[26:].split()[:2] for line in out.splitlines()}
    assert found["Max open files"] == ["100", "200"]
    assert found["Max core file size"] == ["0", "0"]
    assert found["Max stack size"] == ["4194304", "8388608"]


def test_a_limit_that_may_not_be_raised_is_an_error(oci: Runtime, bundle: Bundle) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with open("/proc/self/status") as file:
        held = int(next(line for line in file if line.startswith("CapEff")).split()[1], 16)
    if held >> 24 & 1 and oci.caller.is_root:
        pytest.skip("root has CAP_SYS_RESOURCE here and may raise limits")
    limits = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": hard + 1}]
    said = oci.refused("run", "-b", bundle("true", process(rlimits=limits)), oci.new_id())
    assert f"process.rlimits: RLIMIT_NOFILE: soft 100, hard {hard + 1}: " in said
    assert "hint: only CAP_SYS_RESOURCE may raise a hard limit" in said
    leaves_nothing(oci)


def test_scheduling_oom_score_and_io_priority_are_set(oci: Runtime, bundle: Bundle) -> None:
    edit = process(
        oomScoreAdj=321,
        scheduler={"policy": "SCHED_BATCH", "nice": 6},
        ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 5},
    )
    script = "cat /proc/self/oom_score_adj; ionice; cat /proc/self/stat"
    score, io, stat = oci.output_of(bundle(script, edit)).splitlines()
    fields = stat.rpartition(")")[2].split()
    assert (score, io) == ("321", "best-effort: prio 5")
    assert (fields[16], fields[38]) == ("6", "3")  # nice, policy: SCHED_BATCH


def test_scheduling_that_is_refused_names_the_field(oci: Runtime, bundle: Bundle) -> None:
    edit = process(
        scheduler={"policy": "SCHED_DEADLINE", "runtime": 5, "deadline": 4, "period": 3}
    )
    said = oci.refused("run", "-b", bundle("true", edit), oci.new_id())
    assert said.startswith("pyrun: process.scheduler: SCHED_DEADLINE: ")
    leaves_nothing(oci)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the name of a 64-bit machine's mode")
def test_the_personality_is_that_of_a_32_bit_machine(oci: Runtime, bundle: Bundle) -> None:
    edit = linux(personality={"domain": "LINUX32"})
    assert oci.output_of(bundle(["uname", "-m"], edit)) == "i686\n"
    assert oci.output_of(bundle(["uname", "-m"])) == "x86_64\n"


# --- names, ids, files -------------------------------------------------------------------------


def test_the_names_and_the_umask_are_those_of_the_configuration(
    oci: Runtime, bundle: Bundle
) -> None:
    before = os.uname(), Path("/proc/sys/kernel/domainname").read_text()
    path = bundle(
        "hostname; cat /proc/sys/kernel/domainname; umask; pwd; echo $A",
        lambda c: c.update(hostname="box-1", domainname="example.org"),
        lambda c: c["process"]["env"].append("A=b c"),
        process(user={"uid": 0, "gid": 0, "umask": 0o027}, cwd="/tmp"),
    )
    assert oci.output_of(path).splitlines() == ["box-1", "example.org", "0027", "/tmp", "b c"]
    assert (os.uname(), Path("/proc/sys/kernel/domainname").read_text()) == before


def test_an_id_with_additional_groups(oci: Runtime, bundle: Bundle) -> None:
    path = bundle(["id"], process(user={"uid": 12, "gid": 34, "additionalGids": [56, 78]}))
    if oci.caller.name == "lone":
        said = oci.refused("run", "-b", path, oci.new_id())
        assert "user 12:34 does not exist in this user namespace" in said
        return
    assert oci.output_of(path) == "uid=12 gid=34 groups=56,78\n"


def test_a_terminal_has_the_size_of_the_configuration(oci: Runtime, bundle: Bundle) -> None:
    edit = process(terminal=True, consoleSize={"height": 33, "width": 77})
    assert oci.run(bundle(["stty", "size"], edit)).stdout.strip() == "33 77"


# --- capabilities -----------------------------------------------------------------------------


def caps(text: str) -> dict[str, int]:
    """The capability sets of /proc/PID/status."""
    return {
        line[3:6]: int(line.split()[1], 16) for line in text.splitlines() if line.startswith("Cap")
    }


def test_the_five_sets_are_exactly_those_of_the_configuration(
    oci: Runtime, bundle: Bundle
) -> None:
    chown, kill, net = "CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"  # 0, 5, 10
    edit = process(
        capabilities={
            "bounding": [chown, kill, net],
            "permitted": [chown, kill],
            "effective": [chown],
            "inheritable": [chown, kill],
            "ambient": [kill],
        },
        user={"uid": 0 if oci.caller.name == "lone" else 7, "gid": 0},
    )
    found = caps(oci.output_of(bundle(["cat", "/proc/self/status"], edit)))
    assert found["Bnd"] == 0x421
    assert found["Inh"] == 0x21
    assert found["Amb"] == 0x20
    kept = 0x21 if oci.caller.name == "lone" else 0x20  # root keeps what is permitted, too
    assert (found["Prm"], found["Eff"]) == (kept, kept)


@as_root
def test_capabilities_that_the_caller_lacks_are_left_out(oci: Runtime, bundle: Bundle) -> None:
    names = ["CAP_CHOWN", "CAP_SYS_RESOURCE"]
    held = caps(Path("/proc/self/status").read_text())["Prm"]
    sets = dict.fromkeys(("bounding", "permitted", "effective"), names)
    found = caps(oci.output_of(bundle(["cat", "/proc/self/status"], process(capabilities=sets))))
    assert found["Eff"] == found["Bnd"] == 0x1000001 & held


@BOTH
def test_no_new_privileges_is_as_the_configuration_says(
    no_new_privileges: bool, oci: Runtime, bundle: Bundle
) -> None:
    path = bundle(["cat", "/proc/self/status"], process(noNewPrivileges=no_new_privileges))
    assert f"NoNewPrivs:\t{int(no_new_privileges)}\n" in oci.output_of(path)


# --- seccomp, landlock, init, keyring -----------------------------------------------------------


def seccomp(*calls: dict[str, Any]) -> Edit:
    """An edit: these rules, and everything else is allowed."""
    return linux(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": list(calls)})


@BOTH
def test_a_seccomp_profile_is_in_force(
    no_new_privileges: bool, oci: Runtime, bundle: Bundle
) -> None:
    path = bundle(
        "mkdir /tmp/x; chmod 0700 /tmp; chmod 0701 /tmp && echo changed; sync; echo $?",
        process(noNewPrivileges=no_new_privileges),
        lambda c: c["root"].update(readonly=False),
        seccomp(
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {"names": ["sync"], "action": "SCMP_ACT_KILL_PROCESS"},
            *(
                {
                    "names": [name],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": 13,
                    "args": [{"index": index, "value": 0o700, "op": "SCMP_CMP_EQ"}],
                }
                for name, index in (("chmod", 1), ("fchmodat", 2))
            ),
        ),
    )
    result = oci.run(path)
    assert result.stdout.splitlines() == ["changed", "159"], result
    assert "mkdir: can't create directory '/tmp/x': No space left on device" in result.stderr
    assert "chmod: /tmp: Permission denied" in result.stderr


def test_the_annotation_init_puts_a_reaper_in_front(oci: Runtime, bundle: Bundle) -> None:
    script = "(sh -c 'sleep 0.01 & exec true' &); sleep 0.3; echo $$; ps -o pid,stat | grep -c Z"
    init = {"org.pybuild.init": "true"}
    assert oci.run(bundle(script, lambda c: c.update(annotations=init))).stdout.split() == [
        *("2", "0")
    ]
    assert oci.run(bundle("echo $$")).stdout.split() == ["1"]


def test_the_annotation_landlock_restricts_the_process(oci: Runtime, bundle: Bundle) -> None:
    rules = {"org.pybuild.landlock": "rx:/bin,ro:/proc"}
    path = bundle("cat /etc/passwd || cat /proc/self/comm", lambda c: c.update(annotations=rules))
    result = oci.run(path)
    assert (result.status, result.stdout) == (0, "cat\n"), result
    assert "can't open '/etc/passwd': Permission denied" in result.stderr


def test_a_landlock_rule_that_is_none_is_refused(oci: Runtime, bundle: Bundle) -> None:
    rules = {"org.pybuild.landlock": "all:/"}
    path = bundle("true", lambda c: c.update(annotations=rules))
    assert "all:/" in oci.refused("run", "-b", path, oci.new_id())
    leaves_nothing(oci)


def test_a_session_keyring_is_new_unless_told_otherwise(oci: Runtime, bundle: Bundle) -> None:
    if not os.path.exists("/proc/keys"):
        pytest.skip("this kernel has no keys")
    path = bundle(["cat", "/proc/keys"], linux(maskedPaths=[]))
    for options in ((), ("--no-new-keyring",)):
        box = oci.new_id()
        shown = oci.ok("run", "-b", path, *options, box)  # also those of others of the same user
        assert (f"_ses.{box}:" in shown) is (not options)


# --- sysctls ----------------------------------------------------------------------------------


def test_sysctls_are_the_containers_own(oci: Runtime, bundle: Bundle) -> None:
    values = {"kernel.msgmax": "4242", "kernel.shm_rmid_forced": "1"}
    if oci.caller.is_root:
        values |= {"net.ipv4.ip_unprivileged_port_start": "81", "net/ipv4/conf/lo/forwarding": "1"}
    names = [name.replace(".", "/") for name in values]
    before = [Path(f"/proc/sys/{name}").read_text() for name in names]
    path = bundle(["cat", *(f"/proc/sys/{name}" for name in names)], linux(sysctl=values))
    assert oci.output_of(path).split() == list(values.values())
    assert [Path(f"/proc/sys/{name}").read_text() for name in names] == before


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("kernel.msgmax", "-5", "sysctl kernel.msgmax: '-5': Invalid argument"),
        ("kernel.msgnothing", "1", "sysctl kernel.msgnothing: '1': No such file or directory"),
        ("vm.swappiness", "1", "is not of a namespace: it would change the machine"),
        ("net.core.somaxconn", "1", "needs a network namespace of the container's own"),
    ],
)
def test_a_sysctl_that_cannot_be_set_is_named(
    name: str, value: str, words: str, oci: Runtime, bundle: Bundle
) -> None:
    path = bundle("true", without("network"), linux(sysctl={name: value}))
    assert words in oci.refused("run", "-b", path, oci.new_id())
    leaves_nothing(oci)


# --- hooks ------------------------------------------------------------------------------------

POINTS = {
    "prestart": "creating",
    "createRuntime": "creating",
    "createContainer": "creating",
    "startContainer": "created",
    "poststart": "running",
    "poststop": "stopped",
}


def hook(script: str, **members: Any) -> list[dict[str, Any]]:
    """The hooks of a point: one script, run by whichever shell is there."""
    return [{"path": "/bin/sh", "args": ["sh", "-c", script], **members}]


def hooks(points: dict[str, list[dict[str, Any]]]) -> Edit:
    """An edit that sets hooks."""
    return lambda config: config.update(hooks=points)


def test_hooks_run_in_order_with_the_state_and_only_their_environment(
    oci: Runtime, bundle: Bundle
) -> None:
    out = oci.room.directory("out")
    (out / "log").touch()
    oci.room.give(out)
    mount = {
        "destination": "/log", "type": "bind", "source": str(out / "log"), "options": ["bind"]
    }  # fmt: skip
    points = {}
    for point in POINTS:
        log = "/log" if point == "startContainer" else str(out / "log")
        script = f'{{ echo "$NAME"; tr "\\0" , < /proc/self/environ; echo; cat; echo; }} >> {log}'
        points[point] = hook(script, env=[f"NAME={point}"])
    path = bundle(
        "echo process >> /log; sleep 1000",
        hooks(points),
        lambda c: c["mounts"].append(mount),
        lambda c: c.update(annotations={"a": "b"}),
    )
    (path / "rootfs/log").touch()
    box = oci.create(path)
    created = (out / "log").read_text().splitlines()
    assert created[::3] == ["prestart", "createRuntime", "createContainer"]
    pid = oci.state(box)["pid"]
    oci.ok("start", box)
    oci.stop(box)
    oci.ok("delete", box)
    lines = [line for line in (out / "log").read_text().splitlines() if line != "process"]
    assert lines[::3] == list(POINTS)
    assert lines[1::3] == [f"NAME={point}," for point in POINTS]
    for point, text in zip(POINTS, lines[2::3], strict=True):
        state = json.loads(text)
        assert (state["id"], state["status"]) == (box, POINTS[point]), point
        assert (state["bundle"], state["annotations"]) == (str(path), {"a": "b"})
        if point in ("prestart", "createRuntime", "poststart"):
            assert state["pid"] == pid, point


@pytest.mark.parametrize("point", ["prestart", "createRuntime", "createContainer"])
def test_a_failing_hook_of_creation_leaves_nothing(
    point: str, oci: Runtime, bundle: Bundle
) -> None:
    out = oci.room.directory("out")
    points = {
        point: hook("echo no more >&2; exit 3"),
        "poststop": hook(f"cat > {out}/state"),
    }
    box = oci.new_id()
    said = oci.refused("create", "-b", bundle("echo ran", hooks(points)), box)
    assert said == f"pyrun: hooks.{point}[0]: /bin/sh: ended with status 3: no more\n"
    leaves_nothing(oci)
    state = json.loads((out / "state").read_text())  # what was done is undone
    assert (state["id"], state["status"]) == (box, "stopped")


def test_hooks_run_in_the_namespaces_of_the_specification(oci: Runtime, bundle: Bundle) -> None:
    out = oci.room.directory("out")
    show = "readlink /proc/self/ns/mnt >> {}/mnt; readlink /proc/self/ns/uts >> {}/uts"
    points = {
        point: hook(show.format(out, out))
        for point in ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    }
    box = oci.started(bundle("true", hooks(points)))
    oci.wait_stopped(box)
    oci.ok("delete", box)
    for name in ("mnt", "uts"):
        found = (out / name).read_text().split()
        host = os.readlink(f"/proc/self/ns/{name}")
        assert [where == host for where in found] == [True, True, False, True, True]


def test_a_failing_start_container_hook_stops_the_start(oci: Runtime, bundle: Bundle) -> None:
    box = oci.create(bundle("echo ran", hooks({"startContainer": hook("exit 3")})))
    said = oci.refused("start", box)
    assert said == "pyrun: hooks.startContainer[0]: /bin/sh: ended with status 3\n"
    oci.wait_stopped(box)
    assert oci.written(box) == ""
    oci.ok("delete", box)
    leaves_nothing(oci)


def test_failing_hooks_of_a_running_and_a_gone_container_only_warn(
    oci: Runtime, bundle: Bundle
) -> None:
    out = oci.room.directory("out")
    points = {
        "poststart": hook("exit 3"),
        "poststop": [*hook("exit 4"), *hook(f"echo last > {out}/last")],
    }
    box = oci.create(bundle("echo ran; sleep 1000", hooks(points)))
    started = oci("start", box)
    assert (started.status, oci.status(box)) == (0, "running")
    warning = "pyrun: warning: hooks.poststart[0]: /bin/sh: ended with status 3\n"
    assert started.stderr == warning
    deleted = oci("delete", "--force", box)
    assert deleted.status == 0
    assert deleted.stderr == "pyrun: warning: hooks.poststop[0]: /bin/sh: ended with status 4\n"
    assert (out / "last").read_text() == "last\n"
    leaves_nothing(oci)


@as_root
def test_hooks_that_take_too_long_fail(oci: Runtime, bundle: Bundle) -> None:
    path = bundle("true", hooks({"createRuntime": hook("exec sleep 100", timeout=1)}))
    said = oci.refused("create", "-b", path, oci.new_id())
    assert said == "pyrun: hooks.createRuntime[0]: /bin/sh: not finished after 1 s\n"
    leaves_nothing(oci)


def test_a_run_with_a_failing_hook_runs_nothing(oci: Runtime, bundle: Bundle) -> None:
    path = bundle("echo ran", hooks({"startContainer": [{"path": "/nothing"}]}))
    result = oci.run(path)
    assert "hooks.startContainer[0]: /nothing: ended with status 127: No such" in complaint(result)
    assert result.stdout == ""
    leaves_nothing(oci)
