"""What the process of a config.json is given: ids, limits, priorities, kernel parameters."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.runtime.lifecycle.edits import (
    bind,
    capabilities,
    linux,
    namespace,
    process,
    user_namespace,
    without,
)
from tests.runtime.lifecycle.runtime_calls import (
    Runtime,
    as_root,
    as_root_and_user,
    give_away,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Bundle = Callable[..., Path]

STATUS = ["cat", "/proc/self/status"]


def _status(text: str) -> dict[str, str]:
    return {
        name: value.strip() for name, _, value in (x.partition(":") for x in text.splitlines())
    }


@as_root_and_user
def test_the_environment_is_the_configs_and_a_home(oci: Runtime, bundle: Bundle) -> None:
    path = bundle(["env"], process(env=["A=1", "B=two words", "PATH=/bin"]))
    assert oci.output_of(path).splitlines() == ["A=1", "B=two words", "PATH=/bin", "HOME=/root"]


@as_root
def test_the_user_the_groups_and_the_umask_are_the_configs(oci: Runtime, bundle: Bundle) -> None:
    user = {"uid": 1000, "gid": 50, "additionalGids": [7, 8], "umask": 0o077}
    path = bundle("id -u; id -G; umask; echo $HOME", process(user=user))
    assert oci.output_of(path) == "1000\n50 7 8\n0077\n/home/alice\n"


@as_root
def test_the_umask_is_022_unless_said_otherwise(oci: Runtime, bundle: Bundle) -> None:
    assert oci.output_of(bundle("umask")) == "0022\n"


@as_root
def test_the_five_sets_of_capabilities_are_the_configs(oci: Runtime, bundle: Bundle) -> None:
    sets = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
        "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_CHOWN"],
        "inheritable": ["CAP_CHOWN"],
        "ambient": ["CAP_CHOWN"],
    }
    user = {"uid": 1000, "gid": 1000}
    status = _status(oci.output_of(bundle(STATUS, process(capabilities=sets, user=user))))
    found = {name: int(status[name], 16) for name in status if name.startswith("Cap")}
    # With the exec of a user's program, only what is ambient stays (capabilities(7)).
    assert found == {"CapInh": 1, "CapPrm": 1, "CapEff": 1, "CapBnd": 0xA1, "CapAmb": 1}


@as_root_and_user
def test_no_new_privileges_is_as_the_config_says(oci: Runtime, bundle: Bundle) -> None:
    for wanted in (True, False):
        status = _status(oci.output_of(bundle(STATUS, process(noNewPrivileges=wanted))))
        assert status["NoNewPrivs"] == str(int(wanted))


@as_root_and_user
def test_a_seccomp_profile_is_installed(oci: Runtime, bundle: Bundle) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 29}],
    }
    path = bundle("grep Seccomp: /proc/self/status; mkdir /dev/shm/x", linux(seccomp=profile))
    result = oci.run(path)
    assert result.stdout.split() == ["Seccomp:", "2"]
    assert result.stderr == "mkdir: can't create directory '/dev/shm/x': Illegal seek\n"


@as_root_and_user
def test_a_seccomp_profile_without_no_new_privileges(oci: Runtime, bundle: Bundle) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    }
    path = bundle(
        "grep -E 'Seccomp:|NoNew' /proc/self/status; mkdir /dev/shm/x",
        linux(seccomp=profile),
        process(noNewPrivileges=False),
    )
    result = oci.run(path)
    assert result.stdout.split() == ["NoNewPrivs:", "0", "Seccomp:", "2"]
    assert "Operation not permitted" in result.stderr


@as_root_and_user
def test_resource_limits_are_set(oci: Runtime, bundle: Bundle) -> None:
    limits = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_STACK", "soft": 1 << 20, "hard": 1 << 22},
    ]
    out = oci.output_of(bundle(["cat", "/proc/self/limits"], process(rlimits=limits)))
    rows = {line[:25].strip(): line[25:].split()[:2] for line in out.splitlines()}
    assert rows["Max open files"] == ["100", "200"]
    assert rows["Max core file size"] == ["0", "0"]
    assert rows["Max stack size"] == [str(1 << 20), str(1 << 22)]


@as_root
def test_a_limit_on_address_space_does_not_hinder_the_start(oci: Runtime, bundle: Bundle) -> None:
    limits = [{"type": "RLIMIT_AS", "soft": 16 << 20, "hard": 16 << 20}]
    assert oci.output_of(bundle("ulimit -v", process(rlimits=limits))) == "16384\n"


@as_root_and_user
def test_a_limit_that_may_not_be_raised_is_named(oci: Runtime, bundle: Bundle) -> None:
    limits = [{"type": "RLIMIT_NOFILE", "soft": 1 << 30, "hard": 1 << 30}]
    said = oci.refused("run", "-b", bundle("true", process(rlimits=limits)), oci.new_id())
    assert "process.rlimits: RLIMIT_NOFILE: soft 1073741824, hard 1073741824" in said


def test_the_oom_score_is_set(oci: Runtime, bundle: Bundle) -> None:
    argv = ["cat", "/proc/self/oom_score_adj"]
    assert oci.output_of(bundle(argv, process(oomScoreAdj=500))) == "500\n"
    assert oci.output_of(bundle(argv, process(oomScoreAdj=500), namespace("time"))) == "500\n"


@as_root_and_user
def test_the_scheduler_and_the_io_priority_are_set(oci: Runtime, bundle: Bundle) -> None:
    path = bundle(
        "cut -d' ' -f19,41 /proc/$$/stat; ionice -p $$",
        process(
            scheduler={"policy": "SCHED_BATCH", "nice": 5},
            ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6},
        ),
    )
    assert oci.output_of(path) == "5 3\nbest-effort: prio 6\n"


@as_root
def test_a_scheduler_that_is_refused_is_named(oci: Runtime, bundle: Bundle) -> None:
    wanted = {"policy": "SCHED_DEADLINE", "runtime": 10, "deadline": 5, "period": 1}
    said = oci.refused("run", "-b", bundle("true", process(scheduler=wanted)), oci.new_id())
    assert "process.scheduler: SCHED_DEADLINE: Invalid argument" in said


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="LINUX32 is of x86_64")
@as_root
def test_the_personality_is_the_configs(oci: Runtime, bundle: Bundle) -> None:
    path = bundle("uname -m", linux(personality={"domain": "LINUX32"}))
    assert oci.output_of(path) == "i686\n"


@as_root_and_user
def test_kernel_parameters_of_its_namespaces_are_set(oci: Runtime, bundle: Bundle) -> None:
    values = {"kernel.shmmax": "12345", "fs.mqueue.msg_max": "7"}
    if oci.caller.is_root:
        values["net.ipv4.ip_forward"] = "1"
    files = " ".join(f"/proc/sys/{name.replace('.', '/')}" for name in values)
    assert oci.output_of(bundle(f"cat {files}", linux(sysctl=values))).split() == list(
        values.values()
    )


@as_root
def test_a_kernel_parameter_that_is_not_the_containers_is_refused(
    oci: Runtime, bundle: Bundle
) -> None:
    before = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    for name, edits in (
        ("kernel.panic", []),
        ("net.ipv4.ip_forward", [without("network")]),
        ("kernel.shmmax", [without("ipc")]),
        ("kernel.hostname", []),
        ("net/../kernel/panic", []),
    ):
        path = bundle("true", linux(sysctl={name: "1"}), *edits)
        assert name in oci.refused("run", "-b", path, oci.new_id())
    path = bundle("true", linux(sysctl={"kernel.shmmax": "much"}))
    said = oci.refused("run", "-b", path, oci.new_id())
    assert "sysctl kernel.shmmax: 'much': Invalid argument" in said
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == before


@as_root
def test_landlock_rules_come_by_annotation(oci: Runtime, bundle: Bundle) -> None:
    source = oci.room.directory("data", {"file": "content"})
    path = bundle(
        "cat /data/file; cat /etc/passwd",
        bind(source, "/data"),
        lambda config: config.update(
            annotations={"org.pybuild.landlock": "rx:/bin,ro:/data,rw:/dev"}
        ),
    )
    result = oci.run(path)
    assert result.stdout == "content"
    assert result.stderr == "cat: can't open '/etc/passwd': Permission denied\n"


@as_root_and_user
def test_init_is_the_first_process_and_passes_the_status_on(oci: Runtime, bundle: Bundle) -> None:
    result = oci.run(bundle("echo $$; exit 9"), "--init")
    assert (result.status, result.stdout) == (9, "2\n")


@as_root
def test_a_container_of_root_in_a_user_namespace_has_all_of_it(
    oci: Runtime, bundle: Bundle
) -> None:
    path = bundle(STATUS, user_namespace(), capabilities("SYS_ADMIN", "CHOWN"))
    give_away(path)
    status = _status(oci.output_of(path))
    assert int(status["CapEff"], 16) == 1 << 21 | 1
    assert int(status["CapBnd"], 16) == 1 << 21 | 1
    assert status["Uid"].split() == ["0"] * 4
