"""`pyrun`'s options, parsed by hand: argparse would cost as much as starting the container.

As with docker, options end at the image: what follows belongs to the container's command.
"""

from __future__ import annotations

from runtime.bundle import Options
from runtime.errors import UsageError

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

_WITH_VALUE = {
    "-e": "env",
    "--env": "env",
    "-v": "volumes",
    "--volume": "volumes",
    "-w": "working_dir",
    "--workdir": "working_dir",
    "-u": "user",
    "--user": "user",
    "-h": "hostname",
    "--hostname": "hostname",
    "--entrypoint": "entrypoint",
    "--network": "network",
    "--net": "network",
    "--cap-add": "cap_add",
    "--cap-drop": "cap_drop",
    "--security-opt": "security_opt",
    "--root": "root",
}
_FLAGS = {
    "-i": "interactive",
    "--interactive": "interactive",
    "-t": "terminal",
    "--tty": "terminal",
    "--read-only": "readonly",
    "--rm": "rm",
    "--help": "help",
    "--version": "version",
}
_REPEATABLE = frozenset({"env", "volumes", "cap_add", "cap_drop", "security_opt"})


class CommandLine:
    """A parsed command line: what to run, where the store is, and how."""

    def __init__(self, arguments: list[str]) -> None:
        """Parse; raises UsageError."""
        self._values: dict[str, Any] = {}
        rest = self._take_options(arguments)
        self.help: bool = self._values.pop("help", False)
        self.version: bool = self._values.pop("version", False)
        self.root: str | None = self._values.pop("root", None)
        self.image = rest[0] if rest else ""
        self.options = self._options(tuple(rest[1:]))
        if not (self.image or self.help or self.version):
            raise UsageError("no image given", hint="pyrun --help")

    def _take_options(self, arguments: list[str]) -> list[str]:
        rest = list(arguments)
        while rest and rest[0].startswith("-") and rest[0] != "-":
            argument = rest.pop(0)
            if argument == "--":
                break
            if argument.startswith("--"):
                self._take_long(argument, rest)
            else:
                self._take_short(argument, rest)
        return rest

    def _take_long(self, argument: str, rest: list[str]) -> None:
        name, equals, value = argument.partition("=")
        if name in _FLAGS:
            if equals and value not in ("true", "false"):
                raise UsageError(f"{name}: {value!r} is not true or false")
            self._values[_FLAGS[name]] = value != "false"
        elif name in _WITH_VALUE:
            self._set(name, value if equals else self._next(name, rest))
        else:
            raise UsageError(f"unknown option {name}", hint=_nearest(name))

    def _take_short(self, argument: str, rest: list[str]) -> None:
        # -it is -i -t, and -eNAME=VALUE is -e NAME=VALUE.
        letters = argument[1:]
        while letters:
            name, letters = f"-{letters[0]}", letters[1:]
            if name in _FLAGS:
                self._values[_FLAGS[name]] = True
            elif name in _WITH_VALUE:
                self._set(name, letters.removeprefix("=") or self._next(name, rest))
                return
            else:
                raise UsageError(f"unknown option {name}", hint="pyrun --help")

    def _next(self, name: str, rest: list[str]) -> str:
        if not rest:
            raise UsageError(f"{name} needs a value")
        return rest.pop(0)

    def _set(self, name: str, value: str) -> None:
        field = _WITH_VALUE[name]
        if field in _REPEATABLE:
            self._values[field] = (*self._values.get(field, ()), value)
        else:
            self._values[field] = value

    def _options(self, command: tuple[str, ...]) -> Options:
        values = self._values
        values.pop("rm", None)
        network = values.pop("network", "none")
        if network not in ("none", "host"):
            raise UsageError(f"--network {network!r}: none or host expected")
        for item in values.pop("security_opt", ()):
            key, _, value = item.replace(":", "=").partition("=")
            if key != "no-new-privileges" or value not in ("", "true", "false"):
                raise UsageError(f"--security-opt {item!r}: no-new-privileges=true|false expected")
            values["new_privileges"] = value == "false"
        entrypoint = values.pop("entrypoint", None)
        if entrypoint is not None:
            values["entrypoint"] = (entrypoint,) if entrypoint else ()
        return Options(command=command, host_network=network == "host", **values)


def _nearest(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, [*_WITH_VALUE, *_FLAGS], 1)
    return f"did you mean {near[0]}?" if near else "pyrun --help"
