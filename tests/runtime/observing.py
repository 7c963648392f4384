"""What a bundle looks like from inside, on any OCI runtime: for tests that compare two of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.runtime.engines import run_in_terminal, sections
from tests.support import BUSYBOX, GROUP, PASSWD, Caller, environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Config = dict[str, Any]
    Seen = dict[str, Any]

GROUPS = "/pybuild-test-differential"  # above the control groups of the containers

# Needs no rights, and few system calls, so that it runs in every configuration. It ends when its
# standard input does, so that the container can be looked at from outside meanwhile.
PROBE = r"""
section() { echo; echo "== $1"; shift; "$@" 2>&1; }
section status cat /proc/self/status
section mounts cat /proc/self/mountinfo
section environment env
section ids id
section directory pwd
section descriptors sh -c 'for n in /proc/$$/fd/*; do echo "${n##*/} $(readlink $n)"; done'
section umask umask
section limits cat /proc/self/limits
section oom cat /proc/self/oom_score_adj
section names cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname
section session sh -c 'read -r _ _ _ _ a b c rest </proc/1/stat; echo $a $b $c'
section personality cat /proc/self/personality
section namespaces sh -c 'for n in /proc/self/ns/*; do echo "${n##*/} $(readlink $n)"; done'
section maps cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups
section dev sh -c 'for n in /dev/*; do stat -c "%n %F %a %u:%g %t:%T" $n; readlink $n; done'
section dev-mounted ls /dev/pts /dev/shm /dev/mqueue
section interfaces sh -c 'for n in /sys/class/net/*; do echo ${n##*/} $(cat $n/flags); done'
section cgroup cat /proc/self/cgroup
section cgroup-mount ls /sys/fs/cgroup
section nice sh -c 'nice; ionice'
cd /proc/sys
section sysctl cat net/ipv4/ip_forward net/ipv4/ping_group_range kernel/msgmax
for path in /proc/kcore /proc/keys /proc/acpi /sys/firmware /proc/scsi /hidden /hidden-file; do
    section "masked $path" sh -c "stat -c %F $path; cat $path; ls $path"
done
cd /proc/irq
for path in /proc/sys/kernel/domainname /proc/sysrq-trigger default_smp_affinity /frozen/x; do
    section "read-only $path" sh -c ": >$path"
done
section root sh -c ': >/created; echo $?; ls / /mnt'
"""

# In which hierarchy, which files: all that takes a limit, and stays as it was set.
_FILES = {
    "memory": "memory.limit_in_bytes memory.soft_limit_in_bytes memory.memsw.limit_in_bytes "
    "memory.swappiness memory.oom_control memory.kmem.tcp.limit_in_bytes memory.use_hierarchy",
    "cpu": "cpu.shares cpu.cfs_quota_us cpu.cfs_period_us cpu.rt_runtime_us cpu.cfs_burst_us",
    "cpuset": "cpuset.cpus cpuset.mems",
    "pids": "pids.max",
    "blkio": "blkio.bfq.weight blkio.throttle.read_bps_device blkio.throttle.write_iops_device",
    "devices": "devices.list",
    "hugetlb": "hugetlb.2MB.limit_in_bytes",
    "freezer": "freezer.state",
}


def make_root(path: Path) -> Path:
    """A root filesystem with busybox, accounts, and things to hide or protect."""
    (path / "bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, path / "bin/busybox")
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, check=True, text=True)
    for name in listed.stdout.split():
        if name != "busybox":
            (path / "bin" / name).symlink_to("busybox")
    for name in ("etc", "root", "proc", "sys", "dev", "tmp", "hidden", "frozen", "mnt"):
        (path / name).mkdir()
    (path / "etc/passwd").write_text(PASSWD)
    (path / "etc/group").write_text(GROUP)
    (path / "hidden/file").write_text("secret\n")
    (path / "hidden-file").write_text("secret\n")
    (path / "frozen/x").write_text("as it was\n")
    (path / "link").symlink_to("/mnt/behind-a-link")
    (path / "noexec").write_text("no program\n")
    (path / "tmp").chmod(0o1777)
    return path


class Runtime:
    """runc, crun or ours, with a root filesystem and state of its own."""

    def __init__(
        self, name: str, argv: list[str], directory: Path, caller: Caller | None = None
    ) -> None:
        self.name = name
        self._choices: dict[str, Any] = caller.switch if caller else {}
        self._env = environment(caller)
        self.bundle = directory / name
        make_root(self.bundle / "rootfs")
        (self.bundle / "volume").mkdir()
        (self.bundle / "volume/file").write_text("of the host\n")
        self._argv = [*argv, "--root", str(directory / f"{name}-state")]
        self._number = 0
        if caller:
            state = directory / f"{name}-state"
            state.mkdir()
            self._env["XDG_RUNTIME_DIR"] = str(state)
            for path in (state, self.bundle, *self.bundle.rglob("*")):
                os.chown(path, caller.uid, caller.gid, follow_symlinks=False)

    def call(self, *arguments: str, **choices: Any) -> subprocess.CompletedProcess[str]:
        """One verb, to its end."""
        return subprocess.run(
            [*self._argv, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.bundle,
            env=self._env,
            **self._choices,
            **choices,
        )

    def _configure(self, config: Config) -> str:
        """Write the bundle's configuration; returns an id for its container."""
        self._number += 1
        text = json.dumps(config).replace("@BUNDLE@", str(self.bundle))
        (self.bundle / "config.json").write_text(text)
        return f"differential-{self.name}-{self._number}"

    def status(self, config: Config) -> tuple[int, str]:
        """How `run` of a configuration ends, and what it prints."""
        identity = self._configure(config)
        try:
            ended = self.call("run", identity, stdin=subprocess.DEVNULL)
        finally:
            self.call("delete", "--force", identity)
        return ended.returncode, ended.stdout

    def in_terminal(self, config: Config) -> str:
        """What `run` of a configuration prints in a terminal of 33 lines and 100 columns."""
        identity = self._configure(config)
        try:
            argv = [*self._argv, "run", identity]
            return run_in_terminal(argv, cwd=self.bundle, env=self._env).stdout
        finally:
            self.call("delete", "--force", identity)

    def observe(self, config: Config, *, group: bool = True) -> Seen:
        """What the probe sees of a configuration from inside, and we of its control groups."""
        identity = self._configure(config)
        running = subprocess.Popen(
            [*self._argv, "run", identity],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.bundle,
            env=self._env,
            **self._choices,
        )
        try:
            assert running.stdout is not None
            lines = []
            for line in running.stdout:
                if line == "== end\n":
                    break
                lines.append(line)
            else:
                raise AssertionError(f"{self.name}: {running.communicate()[1]}")
            seen: Seen = dict(sections("".join(lines)))
            if group:
                pid = json.loads(self.call("state", identity).stdout)["pid"]
                seen["limits of the group"] = _group_files(pid)
            _, said = running.communicate(timeout=30)
            seen["exit"] = f"{running.returncode} {said}"
        finally:
            running.kill()
            running.communicate()
            self.call("delete", "--force", identity)
        return seen


def with_probe(config: Config) -> Config:
    """The configuration with the probe as its process's command."""
    process = config["process"] | {"args": ["sh", "-c", PROBE + "echo; echo == end; cat; exit 3"]}
    return config | {"process": process}


def _group_files(pid: int) -> dict[str, str]:
    """The limits in the control groups of a process, by file."""
    found = {}
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        groups = [line.strip().split(":", 2) for line in file]
    for _, names, path in groups:
        for controller in names.split(","):
            for name in _FILES.get(controller, "").split():
                try:
                    where = Path(f"/sys/fs/cgroup/{controller}{path}/{name}")
                    found[f"{controller}{name.removeprefix(controller)}"] = where.read_text()
                except OSError:  # a kernel without that file
                    continue
    return found
