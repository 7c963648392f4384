"""What a container is and has: namespaces, mounts, rights, descriptors; seen from inside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import Caller, Result, command, environment, make_tree, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Shell = Callable[..., Result]

PODMAN = (
    "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT "
    "SETFCAP".split()
)
# linux/capability.h
NUMBERS = {
    "CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7,
    "SETPCAP": 8, "NET_BIND_SERVICE": 10, "NET_RAW": 13, "SYS_CHROOT": 18, "SYS_ADMIN": 21,
    "SETFCAP": 31,
}  # fmt: skip


def _mask(*names: str) -> int:
    return sum(1 << NUMBERS[name] for name in names)


def _status(shell: Shell, *options: str) -> dict[str, str]:
    """/proc/self/status of a process in a container."""
    result = shell("cat /proc/self/status", *options)
    assert result.status == 0, result.stderr
    return dict(line.split(":\t", 1) for line in result.stdout.splitlines() if ":\t" in line)


def _mounts(shell: Shell, *options: str | Path) -> dict[str, tuple[str, set[str]]]:
    """Mount point -> type and options, of a container."""
    lines = shell("cat /proc/self/mountinfo", *options).stdout.splitlines()
    mounts = {}
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        mounts[fields[4]] = (kind[0], set(fields[5].split(",")) | set(kind[2].split(",")))
    return mounts


# --- namespaces ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pid", "mnt", "uts", "ipc", "net", "cgroup"])
def test_a_container_has_a_namespace_of_its_own(kind: str, shell: Shell) -> None:
    inside = shell(f"readlink /proc/self/ns/{kind}").stdout.strip()
    assert inside.startswith(f"{kind}:[")
    assert inside != os.readlink(f"/proc/self/ns/{kind}")


def test_a_user_namespace_is_made_only_without_root(shell: Shell, caller: Caller) -> None:
    inside = shell("readlink /proc/self/ns/user").stdout.strip()
    assert (inside == os.readlink("/proc/self/ns/user")) == caller.is_root


def test_ps_sees_only_the_containers_processes(shell: Shell) -> None:
    assert shell("ps -o pid,comm; true").stdout.split() == [
        *("PID", "COMMAND", "1", "sh", "2", "ps")
    ]


def test_the_only_network_interface_is_lo_and_it_is_up(shell: Shell) -> None:
    result = shell("ls /sys/class/net; cat /sys/class/net/lo/flags; cat /proc/net/dev")
    names, flags = result.stdout.split()[:2]
    assert names == "lo"
    assert int(flags, 16) & 1
    assert result.stdout.count(":") == 1


def test_the_hosts_network_is_had_by_asking(shell: Shell) -> None:
    result = shell("readlink /proc/self/ns/net", "--network", "host")
    assert result.stdout.strip() == os.readlink("/proc/self/ns/net")


def test_the_hostname_is_random_and_the_hosts_stays(shell: Shell) -> None:
    first, second = (shell("hostname; echo $HOSTNAME").stdout.split() for _ in range(2))
    assert first[0] == first[1]
    assert first[0] not in (second[0], os.uname().nodename)


def test_the_hostname_can_be_chosen(shell: Shell) -> None:
    before = os.uname().nodename
    assert shell("hostname; echo $HOSTNAME", "--hostname", "web").stdout == "web\nweb\n"
    assert os.uname().nodename == before


def test_a_hostname_that_the_kernel_refuses_is_named(shell: Shell) -> None:
    result = shell("true", "--hostname", "h" * 65)
    assert result.status == 125
    assert "h" * 65 in result.stderr


def test_system_v_ipc_is_not_the_hosts(shell: Shell) -> None:
    assert len(shell("cat /proc/sysvipc/shm").stdout.splitlines()) == 1


# --- mounts --------------------------------------------------------------------------------


def test_the_containers_mounts_are_these(shell: Shell) -> None:
    mounts = _mounts(shell)
    kinds = {path: kind for path, (kind, _) in mounts.items() if path.count("/") <= 2}
    expected = {
        "/": "overlay",
        "/proc": "proc",
        "/dev": "tmpfs",
        "/dev/pts": "devpts",
        "/dev/shm": "tmpfs",
        "/dev/mqueue": "mqueue",
        "/sys": "sysfs",
    }
    assert {path: kinds.get(path) for path in expected} == expected


@pytest.mark.parametrize("caller", ["root", "user"], indirect=True)
@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/proc", {"nosuid", "nodev", "noexec"}),
        ("/dev", {"nosuid", "noexec"}),
        ("/dev/pts", {"nosuid", "noexec", "ptmxmode=666"}),
        ("/dev/shm", {"nosuid", "nodev", "noexec", "size=65536k"}),
        ("/dev/mqueue", {"nosuid", "nodev", "noexec"}),
        ("/sys", {"nosuid", "nodev", "noexec", "ro"}),
    ],
)
def test_a_mount_has_the_options_that_podman_gives_it(
    path: str, options: set[str], shell: Shell
) -> None:
    assert options <= _mounts(shell)[path][1]


def test_no_mount_of_the_host_is_seen(shell: Shell) -> None:
    allowed = ("/", "/proc", "/dev", "/sys")
    for path in _mounts(shell):
        assert path in allowed or path.startswith(("/proc/", "/dev/", "/sys/"))


@pytest.mark.parametrize("caller", ["root", "user"], indirect=True)
@pytest.mark.parametrize(
    ("name", "major", "minor"),
    [
        *(("null", 1, 3), ("zero", 1, 5), ("full", 1, 7)),
        *(("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)),
    ],
)  # fmt: skip
def test_a_default_device_is_that_device_and_open_to_all(
    name: str, major: int, minor: int, shell: Shell
) -> None:
    found = shell(f"stat -c '%F %t %T %a' /dev/{name}").stdout.strip()
    assert found == f"character special file {major:x} {minor:x} 666"


def test_dev_holds_nothing_else(shell: Shell) -> None:
    expected = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
    assert set(shell("ls /dev").stdout.split()) <= set(expected.split())


def test_dev_links_lead_to_the_processs_descriptors(shell: Shell) -> None:
    # Within a pipe of its own: the test's belongs to another user, who alone may open it again.
    assert shell("echo x > /dev/stdout | cat; echo y | cat /dev/stdin").stdout == "x\ny\n"
    assert shell("readlink /dev/ptmx; readlink /dev/fd").stdout == "pts/ptmx\n/proc/self/fd\n"


@pytest.mark.parametrize(
    "path",
    [
        *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys"),
        *("/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list"),
        *("/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"),
        *("/sys/fs/selinux", "/sys/dev/block"),
    ],
)
def test_a_masked_path_reads_empty_and_cannot_be_written(path: str, shell: Shell) -> None:
    script = f"if [ -d {path} ]; then ls -A {path}; elif [ -e {path} ]; then cat {path}; fi"
    script += f"; [ -d {path} ] && echo x > {path}/x && echo written; true"
    result = shell(script)
    assert (result.status, result.stdout) == (0, "")


@pytest.mark.parametrize("path", ["/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs"])
def test_a_read_only_path_cannot_be_written(path: str, shell: Shell) -> None:
    options = _mounts(shell).get(path, ("", {"ro"} if not os.path.exists(path) else set()))[1]
    assert "ro" in options


def test_sysctls_and_sysrq_cannot_be_written(shell: Shell) -> None:
    assert "Read-only file system" in shell("echo h > /proc/sys/kernel/hostname").stderr
    assert shell("echo h > /proc/sysrq-trigger").status != 0


def test_sys_cannot_be_written(shell: Shell) -> None:
    assert "Read-only file system" in shell("mkdir /sys/fs/x").stderr


def test_what_a_container_writes_is_thrown_away(shell: Shell) -> None:
    assert shell("echo x > /new; rm /etc/passwd; echo y >> /etc/group; ls /new").stdout == "/new\n"
    assert shell("ls /new; grep -c alice /etc/passwd; tail -1 /etc/group").stdout == (
        "1\nwheel:x:10:root,alice\n"
    )


def test_the_root_can_be_read_only_and_dev_still_works(shell: Shell) -> None:
    script = "echo x > /new; echo x > /dev/null && echo x > /dev/shm/x && echo ok"
    result = shell(script, "--read-only")
    assert "Read-only file system" in result.stderr
    assert result.stdout == "ok\n"


def test_the_hosts_mount_table_is_what_it_was(shell: Shell, warm_store: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    assert shell("true").status == 0
    assert Path("/proc/self/mountinfo").read_text() == before
    assert os.listdir(warm_store / "mnt") == os.listdir(warm_store / "tmp") == []


# --- rights --------------------------------------------------------------------------------


def test_root_has_podmans_eleven_capabilities_and_no_more(shell: Shell) -> None:
    status = _status(shell)
    sets = {name: int(status[name], 16) for name in ("CapBnd", "CapPrm", "CapEff")}
    assert sets == dict.fromkeys(sets, _mask(*PODMAN))
    assert (int(status["CapInh"], 16), int(status["CapAmb"], 16)) == (0, 0)


@pytest.mark.parametrize("caller", ["root", "user"], indirect=True)
def test_a_user_has_no_capabilities_but_the_bounding_set(shell: Shell) -> None:
    status = _status(shell, "-u", "1000")
    for name in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
        assert int(status[name], 16) == 0
    assert int(status["CapBnd"], 16) == _mask(*PODMAN)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--cap-drop", "ALL"), []),
        (("--cap-drop", "all", "--cap-add", "CHOWN"), ["CHOWN"]),
        (("--cap-add", "SYS_ADMIN"), [*PODMAN, "SYS_ADMIN"]),
        (("--cap-drop", "cap_kill"), [name for name in PODMAN if name != "KILL"]),
    ],
)
def test_capabilities_are_as_asked_for(
    options: tuple[str, ...], expected: list[str], shell: Shell
) -> None:
    status = _status(shell, *options)
    for name in ("CapBnd", "CapPrm", "CapEff"):
        assert int(status[name], 16) == _mask(*expected)
    assert (int(status["CapInh"], 16), int(status["CapAmb"], 16)) == (0, 0)


def test_all_capabilities_are_those_of_pyruns_caller_and_no_more(
    shell: Shell, caller: Caller
) -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    ours = Path("/proc/self/status").read_text().partition("CapEff:\t")[2].split()[0]
    # In its own user namespace, everybody has all of them.
    expected = int(ours, 16) if caller.is_root else (2 << last) - 1
    assert int(_status(shell, "--cap-add", "ALL")["CapEff"], 16) == expected


def test_no_new_privs_is_set_unless_it_is_asked_away(shell: Shell) -> None:
    assert _status(shell)["NoNewPrivs"] == "1"
    assert _status(shell, "--security-opt", "no-new-privileges=false")["NoNewPrivs"] == "0"


def test_the_container_cannot_mount(shell: Shell) -> None:
    assert shell("mount -t tmpfs none /tmp").status != 0
    assert shell("umount /proc/kcore").status != 0
    assert shell("mount -o remount,rw /sys").status != 0


def test_the_umask_is_022_and_not_the_callers(shell: Shell) -> None:
    before = os.umask(0o077)
    try:
        assert shell("umask").stdout == "0022\n"
    finally:
        os.umask(before)


# --- descriptors and signals of the caller -------------------------------------------------


def test_only_the_standard_descriptors_are_open(shell: Shell) -> None:
    assert shell("ls /proc/1/fd; true").stdout.split() == ["0", "1", "2"]


def test_descriptors_that_the_caller_leaked_are_closed(shell: Shell) -> None:
    leaked = [os.open("/", os.O_RDONLY | os.O_DIRECTORY) for _ in range(18)]
    try:
        result = shell("ls /proc/1/fd; true", pass_fds=leaked)
    finally:
        for fd in leaked:
            os.close(fd)
    assert result.stdout.split() == ["0", "1", "2"]


@pytest.mark.parametrize("how", ["-w", "WORKDIR"])
def test_a_working_directory_by_a_leaked_descriptor_is_refused(
    how: str, busybox: Path, store: Path, caller: Caller, public: Path
) -> None:
    from tests.support import busybox_layer, make_image, run_pyrun

    leaked = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for number in (*range(3, 14), leaked):
            place = f"/proc/self/fd/{number}"
            options, image = ["-w", place], busybox
            if how == "WORKDIR":
                options = []
                image = make_image(public / "i.tar", [busybox_layer()], {"WorkingDir": place})
            result = run_pyrun(
                *options, image, "/bin/ls", "-a", store=store, caller=caller, pass_fds=[leaked]
            )
            assert (result.status, result.stdout) == (125, "")
            assert place in result.stderr
    finally:
        os.close(leaked)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_standard_descriptor_that_the_caller_closed_is_null_inside(
    closed: str, busybox: Path, store: Path, caller: Caller, public: Path
) -> None:
    out = make_tree(public / "out", {})
    out.chmod(0o777)
    env = environment(caller, PYBUILD_ROOT=str(store))
    inside = "a=$(readlink /proc/1/fd/0); b=$(readlink /proc/1/fd/1); c=$(readlink /proc/1/fd/2)"
    inside += "; echo $a $b $c > /out/x; (ls /proc/1/fd > /out/fds); true"
    argv = [*command("pyrun"), "-v", f"{out}:/out", str(busybox), "sh", "-c", inside]
    script = f'"$@" {closed}'
    assert run(["sh", "-c", script, "sh", *argv], caller=caller, env=env, timeout_s=20).status == 0
    links = (out / "x").read_text().split()
    for number, spelled in enumerate(("<&-", ">&-", "2>&-")):
        if spelled in closed.split():
            assert links[number] == "/dev/null"
    assert (out / "fds").read_text().split() == ["0", "1", "2"]


def test_signals_that_the_caller_ignores_or_blocks_are_normal_inside(
    busybox: Path, store: Path, caller: Caller
) -> None:
    env = environment(caller, PYBUILD_ROOT=str(store))
    argv = [*command("pyrun"), str(busybox), "grep", "Sig[BI]", "/proc/self/status"]
    script = "trap '' HUP INT QUIT USR1 USR2 TERM PIPE ALRM CHLD TSTP TTIN TTOU; exec \"$@\""
    result = run(["sh", "-c", script, "sh", *argv], caller=caller, env=env)
    assert result.stdout.split() == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16], result


def test_the_hosts_null_device_keeps_its_owner_and_mode(shell: Shell) -> None:
    before = os.stat("/dev/null")
    for options in ((), ("-u", "0:0"), ("-i",)):
        with open("/dev/null", "rb") as null:
            shell("true", *options, stdin=null.fileno())
    after = os.stat("/dev/null")
    assert after.st_mode == before.st_mode
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)


# --- standard input and environment --------------------------------------------------------


def test_standard_input_is_null_unless_asked_for(shell: Shell) -> None:
    assert shell("readlink /proc/self/fd/0; cat", stdin=b"text").stdout == "/dev/null\n"


def test_standard_input_is_passed_on_with_i(shell: Shell) -> None:
    assert shell("cat", "-i", stdin=b"text\0" * 100_000).stdout == "text\0" * 100_000


def test_output_and_errors_stay_apart(shell: Shell) -> None:
    assert shell("echo out; echo err >&2") == Result(0, "out\n", "err\n")


def test_the_environment_is_the_images_and_nothing_of_the_callers(shell: Shell) -> None:
    lines = shell("env", env={"SECRET": "x"}).stdout.splitlines()
    names = {line.partition("=")[0] for line in lines}
    assert names == {"PATH", "HOSTNAME", "GREETING", "HOME", "SHLVL", "PWD"}


@pytest.mark.parametrize(
    ("option", "printed"), [("GREETING=bye", "bye"), ("GREETING", "mine"), ("GREETING=", "")]
)
def test_a_variable_is_given_or_passed_on(option: str, printed: str, shell: Shell) -> None:
    result = shell("echo $GREETING", "-e", option, env={"GREETING": "mine"})
    assert result.stdout == f"{printed}\n"


def test_two_containers_run_at_once_on_one_store(
    busybox: Path, store: Path, caller: Caller
) -> None:
    import subprocess

    argv = [*command("pyrun"), "-i", str(busybox), "sh", "-c", "echo $0 > /x; cat; cat /x"]
    env = environment(caller, PYBUILD_ROOT=str(store))
    both = [
        subprocess.Popen(
            [*argv, name], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **caller.switch
        )
        for name in ("one", "two")
    ]
    # Both wait for their input, so both live before either ends.
    outputs = [process.communicate(b"", timeout=30)[0] for process in both]
    assert outputs == [b"one\n", b"two\n"]
