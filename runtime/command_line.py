"""`pyrun`'s command line. As with docker, options end at the image; the command follows."""

from __future__ import annotations

from runtime.bundle import Options
from runtime.errors import UsageError
from runtime.options import OptionTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HELP = """\
usage: pyrun [OPTIONS] IMAGE [COMMAND...]
       pyrun run, ps, logs, exec, enter, mount, volume, cp, commit, stop, rm, ... --help
                                               containers that live
       pyrun info [IMAGE]                      what is possible here, and how an image starts
       pyrun bundle [OPTIONS] IMAGE DIR        an image as an OCI bundle
       pyrun oci VERB...                       an OCI runtime, also as pyrun-oci

Run an image in fresh namespaces. IMAGE is an image archive (image.tar) or a name
that `pybuild -t NAME` gave. What the container writes is thrown away when it ends.

  -e, --env NAME[=VALUE]     set a variable, or pass on the caller's
  -v, --volume SRC:DEST[:ro] mount a file or directory of the host
  -w, --workdir DIR          working directory
  -u, --user USER[:GROUP]    names are looked up in the image
      --hostname NAME        hostname (default: random)
      --entrypoint PROGRAM   instead of the image's; "" for none
      --platform linux/ARCH  of an image for several platforms, the one for this
      --read-only            make the root filesystem read-only
      --rootfs auto|inplace|unpack|tmpfs
                             mount the archive where it lies (as root, Linux 6.4), or
                             unpack its layers into the store, or to memory; auto does
                             what can be
      --verify auto|always|never
                             check the layers' digests before an archive's first start,
                             before each start, or not at all
      --network none|host    loopback only (default), or the host's network
  -i, --interactive          connect standard input
  -t, --tty                  give it a terminal
      --cap-add CAP          grant a capability, or ALL
      --cap-drop CAP         take a capability away, or ALL
      --security-opt no-new-privileges=false
                             let set-uid programs work
      --security-opt seccomp=FILE|unconfined
                             another filter of system calls than ours, or none
      --landlock RULE,...    let it touch only this: ro:/usr, rw:/data, connect:443
      --init                 a small init as PID 1, that reaps and passes signals on
  -m, --memory BYTES         memory limit, such as 512m; also --memory-swap
      --cpus N               processor time, such as 1.5; also --cpu-shares,
                             --cpuset-cpus, --cpuset-mems
      --pids-limit N         processes (default: 2048 as root)
      --ulimit NAME=SOFT[:HARD]
      --rm                   accepted; nothing is ever kept
      --root DIR             the store (default: $PYBUILD_ROOT, /var/lib/pybuild)
      --help, --version

Exit status: the command's own; 128+N if signal N ended it; 127 if it is not found,
126 if it cannot be executed, 125 if pyrun itself failed.
"""

BUNDLE_HELP = """\
usage: pyrun bundle [OPTIONS] IMAGE DIR [COMMAND...]

Write an image as an OCI bundle, for any runtime: DIR/rootfs and DIR/config.json. The options are
those of `pyrun IMAGE`; DIR must not exist. With --rootfs=inplace no file is copied: DIR/rootfs is
empty, and `pyrun oci`, no other runtime, mounts the image there where it lies.
"""

INFO_HELP = """\
usage: pyrun info [--root DIR] [--platform linux/ARCH] [--rootfs HOW] [--format json] [IMAGE]

What this machine lets pyrun do; of an image, how its next start comes by its root filesystem,
and why.
"""

ROOTFS = ("auto", "inplace", "unpack", "tmpfs")  # how a root filesystem comes to be
VERIFY = ("auto", "always", "never")  # when digests are checked

TABLE = OptionTable(
    "pyrun",
    values={
        "-w": "working_dir",
        "--workdir": "working_dir",
        "-u": "user",
        "--user": "user",
        "-h": "hostname",
        "--hostname": "hostname",
        "--entrypoint": "entrypoint",
        "--platform": "platform",
        "--network": "network",
        "--net": "network",
        "--root": "root",
        "--rootfs": "rootfs",
        "--verify": "verify",
        "-m": "memory",
        "--memory": "memory",
        "--memory-swap": "memory_swap",
        "--cpus": "cpus",
        "-c": "cpu_shares",
        "--cpu-shares": "cpu_shares",
        "--cpuset-cpus": "cpuset_cpus",
        "--cpuset-mems": "cpuset_mems",
        "--pids-limit": "pids_limit",
    },
    lists={
        "-e": "env",
        "--env": "env",
        "-v": "volumes",
        "--volume": "volumes",
        "--cap-add": "cap_add",
        "--cap-drop": "cap_drop",
        "--security-opt": "security_opt",
        "--landlock": "landlock",
        "--ulimit": "ulimits",
    },
    flags={
        "-i": "interactive",
        "--interactive": "interactive",
        "-t": "terminal",
        "--tty": "terminal",
        "--read-only": "readonly",
        "--init": "init",
        "--rm": "rm",
        "--help": "help",
        "--version": "version",
    },
)


class CommandLine:
    """A parsed command line: what to run, where the store is, and how."""

    def __init__(self, arguments: list[str]) -> None:
        """Parse; raises UsageError."""
        fields, operands = TABLE.parse(arguments, operands_end_options=True)
        self.help: bool = fields.pop("help", False)
        self.version: bool = fields.pop("version", False)
        self.root: str | None = fields.pop("root", None)
        self.platform = platform_of(fields.pop("platform", ""))
        self.rootfs = one_of(fields, "rootfs", ROOTFS)
        self.verify = one_of(fields, "verify", VERIFY)
        fields.pop("rm", None)  # nothing is ever kept
        self.image = operands[0] if operands else ""
        self.options = options_of(fields, tuple(operands[1:]))
        if not (self.image or self.help or self.version):
            raise UsageError("no image given", hint="pyrun --help")


def one_of(fields: dict[str, Any], name: str, values: tuple[str, ...]) -> str:
    """Take an option that has one of some values, the first of which is the default."""
    value: str = fields.pop(name, values[0])
    if value not in values:
        raise UsageError(f"--{name} {value}: {', '.join(values[:-1])} or {values[-1]}")
    return value


def platform_of(text: str) -> str:
    """What --platform names; raises UsageError."""
    if not text:
        return ""
    from runtime.oci.platform import asked_platform

    return asked_platform(text)


def options_of(fields: dict[str, Any], command: tuple[str, ...]) -> Options:
    """The fields of a table, as far as they are about the container; raises UsageError."""
    network = fields.pop("network", "none")
    if network not in ("none", "host"):
        raise UsageError(f"--network {network!r}: none or host expected")
    for item in fields.pop("security_opt", ()):
        # As docker: "=" or, in old scripts, ":" behind the key.
        separator = "=" if "=" in item else ":"
        key, _, value = item.partition(separator)
        if key == "no-new-privileges" and value in ("", "true", "false"):
            fields["new_privileges"] = value == "false"
        elif key == "seccomp" and value:
            fields["seccomp"] = value
        else:
            raise UsageError(
                f"--security-opt {item!r}: no-new-privileges=true|false or "
                "seccomp=FILE|unconfined expected"
            )
    entrypoint = fields.pop("entrypoint", None)
    if entrypoint is not None:
        fields["entrypoint"] = (entrypoint,) if entrypoint else ()
    return Options(command=command, host_network=network == "host", **fields)
