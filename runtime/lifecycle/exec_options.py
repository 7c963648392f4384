"""What `exec` runs: a process file, or the container's own process with another command."""

from __future__ import annotations

from runtime.errors import UsageError
from runtime.lifecycle.command_line import number
from runtime.lifecycle.exec import ExecOptions
from runtime.lifecycle.kept import spec_of
from runtime.oci.spec import Capabilities, User
from runtime.sandbox.capabilities import parse_capability

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.lifecycle.command_line import CommandLine
    from runtime.lifecycle.state import ContainerDirectory
    from runtime.oci.spec import Process


def exec_options(line: CommandLine) -> ExecOptions:
    """The options that say how the process is started."""
    fields = line.fields
    return ExecOptions(
        pid_file=fields.get("pid_file", ""),
        console_socket=fields.get("console_socket", ""),
        preserved_fds=number(fields.get("preserved_fds", "0"), "--preserve-fds"),
        detach=bool(fields.get("detach")),
    )


def exec_process(directory: ContainerDirectory, line: CommandLine) -> Process:
    """The process that the command line asks for."""
    fields, command = line.fields, line.operands[1:]
    if "process" in fields:
        return _process_file(fields["process"])
    if not command:
        raise UsageError("exec: no command given")
    base = spec_of(directory).process
    granted = base.capabilities
    if "cap" in fields:
        granted = _with(granted, frozenset(parse_capability(name) for name in fields["cap"]))
    return base.replace(
        args=command,
        env=base.env + fields.get("env", ()),
        cwd=fields.get("cwd", base.cwd),
        # Empty is as good as absent: a script's unset variable must not make somebody root.
        user=user_of(fields["user"]) if fields.get("user") else base.user,
        terminal=bool(fields.get("tty")),
        console_size=None,
        capabilities=granted,
        no_new_privileges=bool(fields.get("no_new_privs")) or base.no_new_privileges,
    )


def _process_file(path: str) -> Process:
    from runtime.oci.config_process import parse_process
    from runtime.oci.reader import parse_json

    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise UsageError(f"--process {path}: {error.strerror}") from error
    return parse_process(parse_json(content, path), path)


def _with(granted: Capabilities, names: frozenset[str]) -> Capabilities:
    return granted.replace(
        bounding=granted.bounding | names,
        permitted=granted.permitted | names,
        effective=granted.effective | names,
    )


def user_of(text: str) -> User | str:
    """Two numbers are meant as they are; names are looked up in the container."""
    uid, _, gid = text.partition(":")
    if uid.isascii() and uid.isdigit() and gid.isascii() and gid.isdigit():
        # int() raises for thousands of digits.
        if max(len(uid), len(gid)) > 10 or max(int(uid), int(gid)) > (1 << 32) - 2:
            raise UsageError(f"--user {text!r}: ids end at {(1 << 32) - 2}")
        return User(uid=int(uid), gid=int(gid))
    return text
