"""exec: another process in a running container, with the container's rights or fewer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from runtime import VERSION
from tests.runtime.lifecycle.edits import (
    capabilities,
    linux,
    process,
    user_namespace,
    writable,
)
from tests.runtime.lifecycle.runtime_calls import (
    FOREVER,
    Runtime,
    alive,
    as_root,
    as_root_and_user,
    give_away,
    until,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Bundle = Callable[..., Path]

NAMESPACES = "for n in pid net mnt ipc uts user cgroup time; do readlink /proc/self/ns/$n; done"
RIGHTS = "Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp:|Groups|Uid|Gid"
PROFILE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
}


@pytest.mark.parametrize(
    ("caller", "own_users", "no_new_privileges"),
    [
        *(("root", False, True), ("root", False, False), ("root", True, True)),
        *(("user", False, False), ("lone_user", False, True)),
    ],
    indirect=["caller"],
)
def test_the_process_has_the_rights_and_namespaces_of_the_containers_first(
    no_new_privileges: bool, own_users: bool, oci: Runtime, bundle: Bundle
) -> None:
    script = f"grep -E '{RIGHTS}' /proc/self/status; {NAMESPACES}"
    path = bundle(
        f"{script}; echo done; exec sleep 1000",
        process(noNewPrivileges=no_new_privileges),
        linux(seccomp=PROFILE),
        *([user_namespace()] if own_users else []),
    )
    if own_users:
        give_away(path)
    box = oci.started(path)
    first = oci.wait_written(box, "done").removesuffix("done\n")
    assert oci.ok("exec", box, "sh", "-c", script) == first
    assert "Seccomp:\t2" in first
    assert f"NoNewPrivs:\t{int(no_new_privileges)}" in first
    said = oci("exec", box, "mkdir", "/dev/shm/x").stderr
    assert "Operation not permitted" in said


@as_root
def test_the_configuration_is_parsed_again_only_if_another_version_kept_it(
    oci: Runtime, bundle: Bundle
) -> None:
    box = oci.started(bundle(FOREVER, process(cwd="/home"), linux(seccomp=PROFILE)))
    config, kept = (oci.root / box / name for name in ("config.json", "kept"))
    argv = ("exec", box, "sh", "-c", "pwd; grep Seccomp: /proc/self/status")
    wanted = "/home\nSeccomp:\t2\n"
    content = config.read_text()
    config.write_text("{")
    assert oci.ok(*argv) == wanted
    config.write_text(content)
    kept.write_bytes(kept.read_bytes().replace(VERSION.encode(), b"0.0.0"))
    assert oci.ok(*argv) == wanted
    kept.unlink()
    assert oci.ok(*argv) == wanted


@as_root_and_user
def test_environment_directory_and_arguments_are_given(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle(FOREVER, process(cwd="/home")))
    assert oci.ok("exec", box, "pwd") == "/home\n"
    out = oci.ok("exec", "--cwd", "/tmp", "-e", "A=1", "--env", "B=x y", box, "sh", "-c",
                 'pwd; echo "$A $B $1"', "-", "-x")  # fmt: skip
    assert out == "/tmp\n1 x y -x\n"


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("alice", "1000 1000 50 10"),
        ("1000", "1000 1000 50 10"),
        ("5:6", "5 6"),
        ("alice:staff", "1000 50"),
        ("alice:9", "1000 9"),
    ],
)
@as_root
def test_the_user_is_a_number_or_a_name_of_the_containers_passwd(
    user: str, ids: str, oci: Runtime, bundle: Bundle
) -> None:
    box = oci.started(bundle(FOREVER))
    out = oci.ok("exec", "--user", user, box, "sh", "-c", "echo $(id -u) $(id -G)")
    assert out.split()[:2] == ids.split()[:2]
    assert set(out.split()[1:]) == set(ids.split()[1:])


@as_root
def test_an_unknown_user_is_named(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle(FOREVER))
    assert "'nobody'" in oci.refused("exec", "--user", "nobody", box, "true")


@as_root
def test_capabilities_are_added_and_no_new_privs_is_set(oci: Runtime, bundle: Bundle) -> None:
    path = bundle(FOREVER, capabilities("CHOWN"), process(noNewPrivileges=False))
    box = oci.started(path)
    argv = (box, "grep", "-E", "CapEff|NoNewPrivs", "/proc/self/status")
    assert oci.ok("exec", *argv).split() == ["CapEff:", f"{1:016x}", "NoNewPrivs:", "0"]
    more = oci.ok("exec", "--cap", "CAP_KILL", "--no-new-privs", *argv)
    assert more.split() == ["CapEff:", f"{1 | 1 << 5:016x}", "NoNewPrivs:", "1"]
    assert "CAP_NOTHING" in oci.refused("exec", "--cap", "CAP_NOTHING", *argv)


@as_root_and_user
def test_a_process_file_says_everything(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle(FOREVER))
    file = oci.room.place / "process.json"
    document = {
        "args": ["sh", "-c", "echo $A; pwd; id -u; umask; grep CapEff /proc/self/status"],
        "env": ["A=from the file", "PATH=/bin"],
        "cwd": "/tmp",
        "user": {"uid": 0, "gid": 0, "umask": 0o27},
        "capabilities": {k: ["CAP_CHOWN"] for k in ("bounding", "permitted", "effective")},
    }
    file.write_text(json.dumps(document))
    out = oci.ok("exec", "--process", file, box).splitlines()
    assert out == ["from the file", "/tmp", "0", "0027", f"CapEff:\t{1:016x}"]


@as_root
def test_a_process_file_that_is_wrong_is_named(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle(FOREVER))
    file = oci.room.place / "process.json"
    assert f"--process {file}: No such file" in oci.refused("exec", "--process", file, box)
    for content, words in (("{", "not valid JSON"), ('{"cwd": "/"}', "args"),
                           ('{"args": ["x"], "cwd": "x"}', "cwd")):  # fmt: skip
        file.write_text(content)
        said = oci.refused("exec", "--process", file, box)
        assert str(file) in said
        assert words in said


@as_root
def test_a_detached_process_lives_on_and_its_pid_is_written(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle(FOREVER))
    file = oci.room.place / "pid"
    oci.ok("exec", "--detach", "--pid-file", file, box, "sleep", "1001")
    pid = int(file.read_text())
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001001\x00"
    assert pid in json.loads(oci.ok("ps", "-f", "json", box))
    oci.ok("delete", "--force", box)
    assert until(lambda: not alive(pid), 2)


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -9 $$"], 137),
        (["nothing"], 127),
        (["/nothing"], 127),
        (["/etc/passwd"], 126),
    ],
)
@as_root
def test_exec_ends_as_its_command_does(
    argv: list[str], status: int, oci: Runtime, bundle: Bundle
) -> None:
    box = oci.started(bundle(FOREVER))
    assert oci("exec", box, *argv).status == status
    assert oci.status(box) == "running"


@as_root
def test_streams_are_the_callers(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle(FOREVER))
    done = oci("exec", box, "sh", "-c", "cat; echo err >&2", stdin=b"given\n")
    assert (done.stdout, done.stderr) == ("given\n", "err\n")


@as_root
def test_a_descriptor_is_preserved_and_no_other(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle(FOREVER))
    read, write = os.pipe()
    out = oci.ok("exec", box, "ls", "/proc/self/fd", pass_fds=[read, write])
    os.close(read)
    os.close(write)
    assert out.split() == ["0", "1", "2", "3"]


@as_root
def test_exec_into_a_container_that_does_not_run_is_refused(oci: Runtime, bundle: Bundle) -> None:
    box = oci.create(bundle(FOREVER))
    said = oci.refused("exec", box, "true")
    assert said == f"pyrun: container '{box}' is created, not running\n"
    oci.stop(box)
    said = oci.refused("exec", box, "true")
    assert said == f"pyrun: container '{box}' is stopped, not running\n"


@as_root
def test_exec_into_a_paused_container_is_refused(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle(FOREVER))
    oci.ok("pause", box)
    said = oci.refused("exec", box, "true")
    assert said.startswith(f"pyrun: container '{box}' is paused\n")
    oci.ok("resume", box)
    oci.ok("exec", box, "true")


@as_root
def test_the_process_is_in_the_containers_groups(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle("cat /proc/self/cgroup; echo done; " + FOREVER))
    first = oci.wait_written(box, "done").removesuffix("done\n")
    assert oci.ok("exec", box, "cat", "/proc/self/cgroup") == first


@as_root
def test_limits_of_the_process_file_are_set(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle(FOREVER))
    file = oci.room.place / "process.json"
    limits = [{"type": "RLIMIT_NOFILE", "soft": 33, "hard": 44}]
    document = {
        "args": ["sh", "-c", "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj"],
        "cwd": "/",
        "env": ["PATH=/bin"],
        "rlimits": limits,
        "oomScoreAdj": 77,
    }
    file.write_text(json.dumps(document))
    assert oci.ok("exec", "--process", file, box).split() == ["33", "44", "77"]


@as_root
def test_many_execs_at_once(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(bundle(FOREVER, writable))
    argv = ("exec", box, "sh", "-c", "echo x >> /tmp/out")
    calls = [oci.popen(*argv) for _ in range(10)]
    assert {call.wait(30) for call in calls} == {0}
    assert oci.ok("exec", box, "cat", "/tmp/out") == "x\n" * 10
