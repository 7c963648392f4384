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

Run an image in fresh namespaces. IMAGE is an image archive (image.tar) or a name
that `pybuild -t NAME` gave. What the container writes is thrown away when it ends.

  -e, --env NAME[=VALUE]     set a variable, or pass on the caller's
  -v, --volume SRC:DEST[:ro] mount a file or directory of the host
  -w, --workdir DIR          working directory
  -u, --user USER[:GROUP]    names are looked up in the image
      --hostname NAME        hostname (default: random)
      --entrypoint PROGRAM   instead of the image's; "" for none
      --read-only            make the root filesystem read-only
      --network none|host    loopback only (default), or the host's network
  -i, --interactive          connect standard input
  -t, --tty                  give it a terminal
      --cap-add CAP          grant a capability, or ALL
      --cap-drop CAP         take a capability away, or ALL
      --security-opt no-new-privileges=false
                             let set-uid programs work
      --rm                   accepted; nothing is ever kept
      --root DIR             the store (default: $PYBUILD_ROOT, /var/lib/pybuild)
      --help, --version

Exit status: the command's own; 128+N if signal N ended it; 127 if it is not found,
126 if it cannot be executed, 125 if pyrun itself failed.
"""

_TABLE = OptionTable(
    "pyrun",
    values={
        "-w": "working_dir",
        "--workdir": "working_dir",
        "-u": "user",
        "--user": "user",
        "-h": "hostname",
        "--hostname": "hostname",
        "--entrypoint": "entrypoint",
        "--network": "network",
        "--net": "network",
        "--root": "root",
    },
    lists={
        "-e": "env",
        "--env": "env",
        "-v": "volumes",
        "--volume": "volumes",
        "--cap-add": "cap_add",
        "--cap-drop": "cap_drop",
        "--security-opt": "security_opt",
    },
    flags={
        "-i": "interactive",
        "--interactive": "interactive",
        "-t": "terminal",
        "--tty": "terminal",
        "--read-only": "readonly",
        "--rm": "rm",
        "--help": "help",
        "--version": "version",
    },
)


class CommandLine:
    """A parsed command line: what to run, where the store is, and how."""

    def __init__(self, arguments: list[str]) -> None:
        """Parse; raises UsageError."""
        fields, operands = _TABLE.parse(arguments, operands_end_options=True)
        self.help: bool = fields.pop("help", False)
        self.version: bool = fields.pop("version", False)
        self.root: str | None = fields.pop("root", None)
        fields.pop("rm", None)  # nothing is ever kept
        self.image = operands[0] if operands else ""
        self.options = _options(fields, tuple(operands[1:]))
        if not (self.image or self.help or self.version):
            raise UsageError("no image given", hint="pyrun --help")


def _options(fields: dict[str, Any], command: tuple[str, ...]) -> Options:
    network = fields.pop("network", "none")
    if network not in ("none", "host"):
        raise UsageError(f"--network {network!r}: none or host expected")
    for item in fields.pop("security_opt", ()):
        key, _, value = item.replace(":", "=").partition("=")
        if key != "no-new-privileges" or value not in ("", "true", "false"):
            raise UsageError(f"--security-opt {item!r}: no-new-privileges=true|false expected")
        fields["new_privileges"] = value == "false"
    entrypoint = fields.pop("entrypoint", None)
    if entrypoint is not None:
        fields["entrypoint"] = (entrypoint,) if entrypoint else ()
    return Options(command=command, host_network=network == "host", **fields)
