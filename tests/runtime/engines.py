"""podman and buildah, with storage and settings of their own."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

from tests.support import Caller, Result, command, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

IMAGE = "localhost/busybox"
PARENT = "/pybuild-test-engines"  # above the control groups of all their containers

# Their default limits are more than some machines grant, and their default manager is systemd.
_CONF = """\
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1024:2048"]
cgroup_manager = "cgroupfs"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime_supports_json = [{names}]
[engine.runtimes]
{name} = ["{path}"]
"""


class Engine:
    """podman on one runtime; several of them may share a directory."""

    def __init__(
        self,
        directory: Path,
        runtime: str,
        *,
        json_name: str = "",
        caller: Caller | None = None,
    ) -> None:
        """`runtime` is a path, or with `json_name` found by that name, to be asked for JSON."""
        self.directory = directory
        self._caller = caller
        # Not a --runtime-flag root=DIR: podman's clean-up process (of 4.3) does not hand that on.
        self.state = directory / "xdg/pyrun" if caller else Path("/run/pyrun")
        conf = directory / f"containers{json_name}.conf"
        conf.write_text(
            _CONF.format(
                names=f'"{json_name}"' if json_name else "",
                name=json_name or "unused",
                path=runtime,
            )
        )
        self.env = {
            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
            "HOME": str(directory),
            "CONTAINERS_CONF": str(conf),
        }
        if caller:
            self.env["XDG_RUNTIME_DIR"] = str(directory / "xdg")
        self._argv = [
            "podman",
            *("--root", str(directory / "root"), "--runroot", str(directory / "run")),
            *("--tmpdir", str(directory / "tmp"), "--storage-driver", "vfs"),
            *("--runtime", json_name or runtime),
        ]

    def argv(self, *arguments: str | Path) -> list[str]:
        """The command line for a verb of podman."""
        words = [str(word) for word in arguments]
        if self._caller is None:
            if words[0] in ("run", "create") and "--pod" not in words:
                words[1:1] = ["--cgroup-parent", PARENT]
            elif words[:2] == ["pod", "create"]:
                words += ["--cgroup-parent", PARENT]
        return [*self._argv, *words]

    def __call__(self, *arguments: str | Path, **choices: Any) -> Result:
        """Run podman to its end."""
        return run(self.argv(*arguments), env=self.env, caller=self._caller, **choices)

    def said(self, *arguments: str | Path, **choices: Any) -> str:
        """What podman printed; it must succeed."""
        result = self(*arguments, **choices)
        assert result.status == 0, result.stderr
        return result.stdout.strip()

    def once(self, *arguments: str | Path, network: str = "none", **choices: Any) -> Result:
        """`podman run --rm` of a command, with options before it, in a busybox."""
        options, words = _split(arguments)
        return self("run", "--rm", "--network", network, *options, IMAGE, *words, **choices)

    def seen(self, script: str, *options: str | Path, **choices: Any) -> str:
        """What a shell script printed in a container; it must succeed."""
        result = self.once(*options, "--", "sh", "-c", script, **choices)
        assert result.status == 0, result.stderr
        return result.stdout.strip()

    def import_image(self, busybox: Path) -> None:
        """Take the layer of our image.tar as podman's image."""
        self.said("load", "--input", busybox)
        loaded = self.said("images", "--format", "{{.ID}}", "--no-trunc").splitlines()
        self.said("tag", loaded[0], IMAGE)

    def clean(self) -> None:
        """End and remove everything."""
        self("pod", "rm", "--all", "--force")
        self("rm", "--all", "--force", "--time", "0")


def _split(
    arguments: tuple[str | Path, ...],
) -> tuple[tuple[str | Path, ...], tuple[str | Path, ...]]:
    if "--" not in arguments:
        return (), arguments
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


class Buildah:
    """buildah with storage and settings of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        conf = directory / "containers.conf"
        conf.write_text('[containers]\ndefault_ulimits=["nofile=1024:4096", "nproc=1024:2048"]\n')
        self.env = {
            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
            "HOME": str(directory),
            "CONTAINERS_CONF": str(conf),
        }

    def __call__(self, *arguments: str | Path, cwd: Path | None = None) -> Result:
        return run(["buildah", *self.storage, *arguments], env=self.env, cwd=cwd)

    @property
    def storage(self) -> tuple[str, ...]:
        """The options that name its storage, which podman has as well."""
        places = (f"--root={self.directory}/root", f"--runroot={self.directory}/run")
        return (*places, "--storage-driver=vfs")


def our_runtime() -> str:
    """The path of `pyrun-oci`, or "" where it is not installed as a script."""
    argv = command("pyrun-oci")
    return argv[0] if len(argv) == 1 else ""


def groups_below(name: str) -> list[str]:
    """The control groups with a name in any hierarchy."""
    return [
        os.path.join(folder, name)
        for folder, folders, _ in os.walk("/sys/fs/cgroup")
        if name in folders
    ]


def remove_groups() -> None:
    """Remove what an engine leaves of its group above all containers."""
    for top in groups_below(PARENT.strip("/")):
        for folder, _, _ in os.walk(top, topdown=False):
            subprocess.run(["rmdir", folder], check=False)


def sections(text: str) -> Iterator[tuple[str, str]]:
    """The parts of an output that lines `== NAME` begin."""
    for part in text.split("== ")[1:]:
        name, _, rest = part.partition("\n")
        yield name, rest.strip()


def run_in_terminal(argv: list[str], **choices: Any) -> Result:
    """Run a command in a terminal of 33 lines and 100 columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 100, 0, 0))
    running = subprocess.Popen(
        argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, **choices
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
