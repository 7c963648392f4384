"""podman with our runtime: what a user of it sees is what runc or crun would give."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.engines import (
    IMAGE,
    Engine,
    groups_below,
    our_runtime,
    remove_groups,
    sections,
)
from tests.support import Result, which

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("podman", "conmon", "runc")]

DEFAULT_CAPABILITIES = 0xA80425FB
SYS_PTRACE, CHOWN = 1 << 19, 1 << 0


@pytest.fixture(scope="module")
def podman(public_root: Path, busybox: Path) -> Iterator[Engine]:
    """podman on our runtime, where podman works at all, with a busybox as its image."""
    runtime = our_runtime()
    if not runtime:
        pytest.skip("pyrun-oci is not installed as a script, which an engine needs")
    directory = public_root / "podman"  # short: there are sockets in it
    directory.mkdir()
    engine = Engine(directory, runtime)
    reference = Engine(directory, which("runc"))
    try:
        engine.import_image(busybox)
        tried = reference.once("true")
        if tried.status:
            pytest.skip(f"podman does not work with runc here: {tried.stderr.strip()[-300:]}")
        yield engine
    finally:
        engine.clean()
        remove_groups()


@pytest.fixture(scope="module")
def with_runc(podman: Engine) -> Engine:
    """The same podman on runc."""
    return Engine(podman.directory, which("runc"))


@pytest.fixture(scope="module")
def box(podman: Engine) -> Iterator[str]:
    """A container that runs, for tests that leave it as it was."""
    script = "trap 'echo hangup' HUP; echo started; while :; do sleep 0.1; done"
    podman.said("run", "--detach", "--name", "box", "--network", "none", IMAGE, "sh", "-c", script)
    yield "box"
    podman("rm", "--force", "--time", "0", "box")


@pytest.fixture(scope="module")
def furnished(podman: Engine, public_root: Path) -> dict[str, str]:
    """What is seen in one container that was made with many options."""
    volume = public_root / "volume"
    volume.mkdir()
    (volume / "file").write_text("of the host\n")
    script = """
    section() { echo; echo "== $1"; shift; "$@" 2>&1; }
    section root touch /x
    section tmpfs sh -c 'touch /scratch/x && df -k /scratch'
    section device ls -l /dev/mynull
    section status cat /proc/self/status
    section sysctl cat /proc/sys/net/ipv4/ip_forward
    section hostname hostname
    section memory cat /sys/fs/cgroup/memory/memory.limit_in_bytes
    section pids cat /sys/fs/cgroup/pids/pids.max
    section cpu cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us
    section readonly sh -c 'cat /ro/file; touch /ro/x'
    section writable touch /rw/written
    section mounts cat /proc/self/mountinfo
    section interfaces ls /sys/class/net
    """
    seen = podman.seen(
        script,
        *("--read-only", "--tmpfs", "/scratch:size=1m", "--device", "/dev/null:/dev/mynull"),
        *("--cap-add", "SYS_PTRACE", "--cap-drop", "CHOWN", "--hostname", "furnished"),
        *("--security-opt", "seccomp=unconfined", "--sysctl", "net.ipv4.ip_forward=1"),
        *("--memory", "64m", "--pids-limit", "33", "--cpus", "0.5"),
        *("--volume", f"{volume}:/ro:ro", "--volume", f"{volume}:/rw"),
        *("--volume", f"{volume}:/slave:rslave"),
    )
    return dict(sections(seen)) | {"written": str((volume / "written").exists())}


def _capabilities(status: str, kind: str = "CapEff") -> int:
    return int(status.split(f"{kind}:")[1].split()[0], 16)


# --- how a container ends ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "sh -c 'kill -9 $$'; exit $?"), 137),
        (("nosuch",), 127),
        (("/nosuch",), 127),
        (("/etc/passwd",), 126),
    ],
)
def test_a_container_ends_with_the_status_of_its_command(
    podman: Engine, command: tuple[str, ...], status: int
) -> None:
    assert podman.once(*command).status == status


def test_a_container_that_cannot_be_made_ends_as_with_runc(
    podman: Engine, with_runc: Engine
) -> None:
    options = ("--sysctl", "net.nosuch=1", "--", "true")
    ours, theirs = podman.once(*options), with_runc.once(*options)
    assert ours.status == theirs.status
    assert "sysctl" in ours.stderr
    assert "net.nosuch" in ours.stderr


def test_a_signal_to_podman_reaches_the_process(podman: Engine) -> None:
    script = "trap 'echo ended; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    argv = podman.argv("run", "--rm", "--network", "none", IMAGE, "sh", "-c", script)
    with subprocess.Popen(argv, env=podman.env, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGTERM)
        said, _ = running.communicate(timeout=30)
    assert (said, running.returncode) == ("ended\n", 9)


def test_stop_lets_a_process_end_in_its_own_way(podman: Engine) -> None:
    script = "trap 'echo ended; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    with _detached(podman, "sh", "-c", script) as name:
        _await_log(podman, name, "ready")
        podman.said("stop", name)
        assert podman.said("inspect", "--format", "{{.State.ExitCode}}", name) == "5"
        assert podman.said("logs", name) == "ready\nended"


def test_stop_kills_what_ignores_it(podman: Engine) -> None:
    with _detached(podman, "sleep", "1000") as name:
        podman.said("stop", "--time", "1", name)
        shown = podman.said("inspect", "--format", "{{.State.ExitCode}} {{.State.Status}}", name)
        assert shown == "137 exited"


def test_a_container_starts_again(podman: Engine) -> None:
    with _detached(podman, "sh", "-c", "echo again") as name:
        podman.said("wait", name)
        podman.said("start", "--attach", name)
        assert podman.said("logs", name) == "again\nagain"


class _detached:
    """A container of its own for a test."""

    def __init__(self, podman: Engine, *command: str, options: tuple[str, ...] = ()) -> None:
        self._podman = podman
        argv = ("run", "--detach", "--network", "none", *options, IMAGE, *command)
        self.id = podman.said(*argv)

    def __enter__(self) -> str:
        return self.id

    def __exit__(self, *_: object) -> None:
        self._podman("rm", "--force", "--time", "0", self.id)


def _await_log(podman: Engine, name: str, text: str) -> None:
    ends = time.monotonic() + 20
    while text not in podman.said("logs", name):
        assert time.monotonic() < ends, f"{text!r} was never logged"
        time.sleep(0.05)


def _left(podman: Engine, name: str) -> list[str]:
    """What still exists under a container's id: its state, processes and control groups."""
    state = podman.state / name
    return [*([str(state)] if state.exists() else []), *groups_below(f"libpod-{name}")]


def test_nothing_is_left_of_a_removed_container(podman: Engine) -> None:
    with _detached(podman, "sleep", "1000") as name:
        pid = int(podman.said("inspect", "--format", "{{.State.Pid}}", name))
        assert len(_left(podman, name)) >= 2  # it is found where it is looked for
        podman.said("rm", "--force", "--time", "0", name)
    assert _left(podman, name) == []
    assert not os.path.exists(f"/proc/{pid}")


def test_nothing_is_left_of_a_container_that_could_not_be_made(podman: Engine) -> None:
    options = ("--network", "none", "--sysctl", "net.nosuch=1")
    name = podman.said("create", *options, IMAGE, "true")
    assert podman("start", name).status != 0
    assert _left(podman, name) == []
    podman.said("rm", name)


# --- a container that runs --------------------------------------------------------------------


def test_exec_runs_as_the_user_in_the_directory_and_with_the_variables_asked_for(
    podman: Engine, box: str
) -> None:
    options = ("--user", "alice", "--workdir", "/tmp", "--env", "A=1")
    said = podman.said("exec", *options, box, "sh", "-c", "id; pwd; echo $A")
    assert said.splitlines()[0].startswith("uid=1000(alice) gid=1000(alice)")
    assert said.splitlines()[1:] == ["/tmp", "1"]


def test_exec_takes_a_user_by_numbers(podman: Engine, box: str) -> None:
    assert podman.said("exec", "--user", "5:6", box, "id") == "uid=5 gid=6"


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("sh", "-c", "exit 9"), 9),
        (("sh", "-c", "kill -TERM $$"), 143),
        (("nosuch",), 127),
        (("/etc/passwd",), 126),
    ],
)
def test_exec_ends_with_the_status_of_its_command(
    podman: Engine, box: str, command: tuple[str, ...], status: int
) -> None:
    assert podman("exec", box, *command).status == status


def test_exec_has_the_rights_of_the_container(podman: Engine, box: str) -> None:
    status = podman.said("exec", box, "cat", "/proc/self/status")
    assert _capabilities(status) == DEFAULT_CAPABILITIES
    assert "Seccomp:\t2" in status


def test_exec_is_in_the_control_groups_of_the_container(podman: Engine, box: str) -> None:
    theirs = podman.said("exec", box, "cat", "/proc/1/cgroup")
    assert podman.said("exec", box, "cat", "/proc/self/cgroup") == theirs


def test_exec_detached_goes_on_by_itself(podman: Engine, box: str) -> None:
    podman.said("exec", "--detach", box, "sh", "-c", "sleep 0.2; echo hi >/tmp/hi")
    script = (
        "n=0; until [ -s /tmp/hi ]; do sleep 0.1; n=$((n+1)); [ $n -lt 99 ]; done; cat /tmp/hi"
    )
    assert podman.said("exec", box, "sh", "-ec", script) == "hi"


def test_exec_with_a_terminal_has_one(podman: Engine, box: str) -> None:
    result = _in_terminal(podman.argv("exec", "-it", box, "sh", "-c", "tty; stty size"), podman)
    assert result.status == 0, result.stdout
    assert result.stdout.split() == ["/dev/pts/0", "33", "100"]


def test_a_container_with_a_terminal_has_one_of_the_size_of_ours(podman: Engine) -> None:
    script = "tty; until stty size | grep -v '^0 0'; do sleep 0.05; done; [ -t 0 ] && echo yes"
    argv = podman.argv("run", "--rm", "-it", "--network", "none", IMAGE, "sh", "-c", script)
    result = _in_terminal(argv, podman)
    assert result.status == 0, result.stdout
    assert result.stdout.split() == ["/dev/pts/0", "33", "100", "yes"]


def _in_terminal(argv: list[str], podman: Engine) -> Result:
    """Run a command in a terminal of 33 lines and 100 columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 100, 0, 0))
    running = subprocess.Popen(
        argv, env=podman.env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    said = b""
    try:
        while chunk := os.read(master, 4096):
            said += chunk
    except OSError:  # EIO: the last one closed the other end
        pass
    os.close(master)
    return Result(running.wait(timeout=30), said.decode(), "")


def test_a_paused_container_stands_still_until_it_goes_on(podman: Engine, box: str) -> None:
    podman.said("pause", box)
    try:
        assert podman.said("inspect", "--format", "{{.State.Status}}", box) == "paused"
        assert podman("exec", box, "true").status != 0
    finally:
        podman.said("unpause", box)
    assert podman.said("exec", box, "echo", "on") == "on"


def test_update_changes_a_limit_that_is_seen_inside(podman: Engine, box: str) -> None:
    podman.said("update", "--memory", "48m", "--cpus", "0.25", box)
    files = ("memory/memory.limit_in_bytes", "cpu/cpu.cfs_quota_us")
    seen = podman.said("exec", box, "cat", *(f"/sys/fs/cgroup/{file}" for file in files))
    assert seen.split() == [str(48 << 20), "25000"]


def test_kill_sends_the_signal_that_is_named(podman: Engine, box: str) -> None:
    podman.said("kill", "--signal", "HUP", box)
    _await_log(podman, box, "hangup")


def test_top_lists_the_processes(podman: Engine, box: str) -> None:
    assert podman.said("top", box, "pid", "comm").splitlines()[1].split() == ["1", "sh"]


def test_inspect_names_our_runtime_and_the_first_process(podman: Engine, box: str) -> None:
    [table] = json.loads(podman.said("inspect", box))
    assert table["OCIRuntime"] == our_runtime()
    state = json.loads((podman.state / table["Id"] / "state.json").read_text())
    assert table["State"]["Pid"] == state["pid"]
    assert Path(f"/proc/{state['pid']}/comm").read_text() == "sh\n"


# --- what a container is given ----------------------------------------------------------------


def test_a_read_only_root_refuses_writing_and_a_tmpfs_in_it_takes_it(
    furnished: dict[str, str],
) -> None:
    assert "Read-only file system" in furnished["root"]
    assert furnished["tmpfs"].splitlines()[1].split()[1] == "1024"


def test_a_device_is_made_under_another_name(furnished: dict[str, str]) -> None:
    assert furnished["device"].startswith("crw-rw-rw-")
    assert furnished["device"].split()[4:6] == ["1,", "3"]


def test_capabilities_are_added_and_dropped(furnished: dict[str, str]) -> None:
    wanted = (DEFAULT_CAPABILITIES | SYS_PTRACE) & ~CHOWN
    for kind in ("CapEff", "CapPrm", "CapBnd"):
        assert _capabilities(furnished["status"], kind) == wanted


def test_an_unconfined_container_has_no_filter(furnished: dict[str, str]) -> None:
    assert "Seccomp:\t0" in furnished["status"]


def test_a_sysctl_and_a_host_name_are_set(furnished: dict[str, str]) -> None:
    assert (furnished["sysctl"], furnished["hostname"]) == ("1", "furnished")


def test_limits_are_seen_inside(furnished: dict[str, str]) -> None:
    assert furnished["memory"] == str(64 << 20)
    assert furnished["pids"] == "33"
    assert furnished["cpu"] == "50000"


def test_volumes_are_read_only_writable_or_receive_mounts(furnished: dict[str, str]) -> None:
    assert furnished["readonly"].splitlines() == [
        "of the host",
        "touch: /ro/x: Read-only file system",
    ]
    assert (furnished["writable"], furnished["written"]) == ("", "True")
    lines = {line.split()[4]: line for line in furnished["mounts"].splitlines()}
    assert " master:" in lines["/slave"] or not _is_shared("/tmp")
    assert " ro" in lines["/ro"]


def _is_shared(path: str) -> bool:
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return any(" shared:" in line for line in file if line.split()[4] == path)


def test_without_a_network_there_is_loopback_alone(furnished: dict[str, str]) -> None:
    assert furnished["interfaces"] == "lo"


def test_a_privileged_container_has_all_capabilities_that_root_has(podman: Engine) -> None:
    script = "cat /proc/self/status; ls -l /dev/ptmx; [ -w /proc/sys/kernel/hostname ]"
    seen = podman.seen(script, "--privileged")
    status = Path("/proc/self/status").read_text()
    assert _capabilities(seen) == _capabilities(status, "CapBnd")
    assert "Seccomp:\t0" in seen
    assert seen.endswith("pts/ptmx")


def test_a_seccomp_profile_from_a_file_applies(podman: Engine, public: Path) -> None:
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}
    profile = public / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    result = podman.once("--security-opt", f"seccomp={profile}", "--", "mkdir", "/tmp/x")
    assert (result.status, result.stderr.strip()) == (
        1,
        "mkdir: can't create directory '/tmp/x': Operation not supported",
    )


def test_an_init_of_podman_is_the_first_process(podman: Engine) -> None:
    places = ("/usr/libexec/podman/catatonit", "/usr/bin/catatonit")
    if not any(os.path.exists(path) for path in places):
        pytest.skip("podman's init, catatonit, is not installed")
    assert podman.seen("cat /proc/1/cmdline", "--init").startswith("/run/podman-init\0")


def test_ids_are_mapped_as_asked(podman: Engine) -> None:
    maps = ("--uidmap", "0:200000:5000", "--gidmap", "0:300000:6000")
    script = "cat /proc/self/uid_map /proc/self/gid_map; touch /x; stat -c %u:%g /x"
    seen = podman.seen(script, *maps)
    assert seen.split() == ["0", "200000", "5000", "0", "300000", "6000", "0:0"]


# --- networks and pods ------------------------------------------------------------------------


def test_a_container_on_the_host_network_is_in_its_namespace(podman: Engine) -> None:
    seen = podman.seen("readlink /proc/self/ns/net", network="host")
    assert seen == os.readlink("/proc/self/ns/net")


def test_a_container_on_a_bridge_has_an_address_and_a_route(
    podman: Engine, with_runc: Engine
) -> None:
    tried = with_runc.once("true", network="bridge")
    if tried.status:
        pytest.skip(f"no bridge network here: {tried.stderr.strip()[-300:]}")
    seen = podman.seen("ip -o address show eth0; ip route", network="bridge")
    assert " inet " in seen
    assert "default via " in seen


@pytest.mark.parametrize(
    ("share", "same"),
    [("", ""), pytest.param("ipc,net,uts,pid", "pid", marks=pytest.mark.slow)],
)
def test_containers_of_a_pod_share_namespaces(podman: Engine, share: str, same: str) -> None:
    options = ("--share", share) if share else ()
    infra = ("--infra-image", IMAGE, "--infra-command", "sleep 1000")
    pod = podman.said("pod", "create", "--network", "none", *options, *infra)
    try:
        first = podman.said("run", "--detach", "--pod", pod, IMAGE, "sleep", "1000")
        script = "for kind in ipc net uts pid mnt; do readlink /proc/self/ns/$kind; done"
        other = podman.said("run", "--rm", "--pod", pod, IMAGE, "sh", "-c", script).split()
        mine = podman.said("exec", first, "sh", "-c", script).split()
    finally:
        podman.said("pod", "rm", "--force", "--time", "0", pod)
    shared = {text.partition(":")[0] for text in other if text in mine}
    assert shared == {"ipc", "net", "uts"} | set(same.split())


# --- how podman hears of errors ---------------------------------------------------------------


def test_a_runtime_that_is_known_for_json_is_heard_by_its_log(podman: Engine) -> None:
    by_name = Engine(podman.directory, our_runtime(), json_name="pyrun-oci")
    assert by_name.seen("echo fine") == "fine"
    result = by_name.once("nosuch")
    assert result.status == 127
    # By name alone: the message is the log's, not what was printed ("pyrun: …").
    assert "pyrun-oci: nosuch: executable file not found in PATH" in result.stderr
