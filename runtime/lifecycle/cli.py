"""`pyrun oci` (also `pyrun-oci`): an OCI runtime's verbs. Prints, and returns the exit status."""

from __future__ import annotations

import os

from runtime.errors import PyrunError, UsageError
from runtime.lifecycle.command_line import HELP, CommandLine, number, parse
from runtime.lifecycle.state import ContainerDirectory, default_root, report
from runtime.oci.json_text import to_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.lifecycle.create import CreateOptions


def main(arguments: list[str]) -> int:
    """Run one verb; raises PyrunError, which is also written to --log FILE."""
    line = parse(arguments)
    if not line.verb:
        return _print_about(line)
    if line.settings.get("debug"):
        os.environ["PYBUILD_DEBUG"] = "1"  # internal errors show where
    root = line.settings.get("root") or default_root()
    try:
        return _VERBS[line.verb](line, root)
    except PyrunError as error:
        if line.settings.get("log"):
            _log(line, error)
        raise


def _print_about(line: CommandLine) -> int:
    from runtime import VERSION
    from runtime.oci.spec import VERSION as SPEC

    text = HELP if line.settings.get("help") else f"pyrun version {VERSION}\nspec: {SPEC}\n"
    _print(text)
    return 0


def _print(text: str) -> None:
    os.write(1, text.encode("utf-8", "surrogateescape"))


def _log(line: CommandLine, error: PyrunError) -> None:
    """What an engine reads when a verb failed: lines of JSON, as logrus writes them."""
    from runtime.lifecycle.create import now

    text = f"{error.message}\n"
    if line.settings.get("log_format") == "json":
        text = to_text({"level": "error", "msg": error.message, "time": now()}) + "\n"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(line.settings["log"], flags, 0o644)
    except OSError as failure:
        raise UsageError(f"--log {line.settings['log']}: {failure.strerror}") from error
    os.write(fd, text.encode("utf-8", "surrogateescape"))
    os.close(fd)


def _create_options(line: CommandLine) -> CreateOptions:
    from runtime.lifecycle.create import CreateOptions

    fields = dict(line.fields)
    fields.pop("keep", None)
    if "preserved_fds" in fields:
        fields["preserved_fds"] = number(fields["preserved_fds"], "--preserve-fds")
    return CreateOptions(new_keyring=not fields.pop("no_new_keyring", False), **fields)


def _create(line: CommandLine, root: str) -> int:
    from runtime.lifecycle.create import create

    create(ContainerDirectory(root, line.operands[0]), _create_options(line), waits=True)
    return 0


def _run(line: CommandLine, root: str) -> int:
    from runtime.lifecycle.create import create
    from runtime.lifecycle.operations import delete_container
    from runtime.sandbox.foreground import attend, hold_signals

    options = _create_options(line)
    directory = ContainerDirectory(root, line.operands[0])
    if not options.detach:
        hold_signals()
    container, _ = create(directory, options, waits=False)
    if options.detach:
        return 0
    try:
        return attend(container, interactive=True)
    finally:
        if not line.fields.get("keep"):
            delete_container(directory, force=True)


def _start(line: CommandLine, root: str) -> int:
    from runtime.lifecycle.operations import start_container

    start_container(ContainerDirectory(root, line.operands[0]))
    return 0


def _state(line: CommandLine, root: str) -> int:
    from runtime.lifecycle.operations import look

    seen = look(ContainerDirectory(root, line.operands[0]))
    pid = 0 if seen.status == "stopped" else seen.state.pid
    _print(to_text(report(seen.state, seen.status, pid)) + "\n")
    return 0


def _kill(line: CommandLine, root: str) -> int:
    from runtime.lifecycle.operations import kill_container

    text = line.operands[1] if len(line.operands) > 1 else "TERM"
    everyone = bool(line.fields.get("all"))
    kill_container(
        ContainerDirectory(root, line.operands[0]), signal_number(text), everyone=everyone
    )
    return 0


def signal_number(text: str) -> int:
    """A signal by its name or number, as kill(1) takes it; raises UsageError."""
    import signal

    name = text.upper().removeprefix("SIG")
    digits = name.removeprefix("RTMIN+")
    if digits.isascii() and digits.isdigit() and len(digits) < 4:
        first = int(signal.SIGRTMIN) if digits != name else 0
        if first + int(digits) < signal.NSIG:
            return first + int(digits)
    found = getattr(signal, f"SIG{name}", None)
    if not isinstance(found, signal.Signals):
        raise UsageError(f"{text!r} is no signal")
    return int(found)


def _delete(line: CommandLine, root: str) -> int:
    from runtime.lifecycle.operations import delete_container

    directory = ContainerDirectory(root, line.operands[0])
    force = bool(line.fields.get("force"))
    if force and not os.path.exists(directory.path):
        return 0  # as runc: engines clean up more than once
    delete_container(directory, force=force)
    return 0


def _exec(line: CommandLine, root: str) -> int:
    from runtime.lifecycle.exec import execute
    from runtime.lifecycle.exec_options import exec_options, exec_process
    from runtime.sandbox.foreground import attend, hold_signals

    directory = ContainerDirectory(root, line.operands[0])
    process = exec_process(directory, line)
    options = exec_options(line)
    if not options.detach:
        hold_signals()
    container = execute(directory, process, options)
    return 0 if options.detach else attend(container, interactive=True)


def _list(line: CommandLine, root: str) -> int:
    from runtime.lifecycle.listing import print_containers

    _print(print_containers(root, line.fields.get("format", "table"), line.fields.get("quiet")))
    return 0


def _ps(line: CommandLine, root: str) -> int:
    from runtime.lifecycle.listing import print_processes

    directory = ContainerDirectory(root, line.operands[0])
    _print(print_processes(directory, line.fields.get("format", "table")))
    return 0


def _pause(line: CommandLine, root: str) -> int:
    from runtime.lifecycle.operations import pause_container

    pause_container(ContainerDirectory(root, line.operands[0]))
    return 0


def _resume(line: CommandLine, root: str) -> int:
    from runtime.lifecycle.operations import resume_container

    resume_container(ContainerDirectory(root, line.operands[0]))
    return 0


def _update(line: CommandLine, root: str) -> int:
    from runtime.lifecycle.limits import asked_limits
    from runtime.lifecycle.operations import update_container

    update_container(ContainerDirectory(root, line.operands[0]), asked_limits(line.fields))
    return 0


def _events(line: CommandLine, root: str) -> int:
    from runtime.lifecycle.events import follow, stats_event

    directory = ContainerDirectory(root, line.operands[0])
    if line.fields.get("stats"):
        _print(stats_event(directory) + "\n")
        return 0
    for event in follow(directory, number(line.fields.get("interval", "5"), "--interval")):
        _print(event + "\n")
    return 0


def _mounts(line: CommandLine, root: str) -> int:
    from runtime.lifecycle.hot_mounts import change_mounts

    if len(line.operands) != 3 or line.operands[0] not in ("add", "remove"):
        raise UsageError("mounts: add|remove ID FILE expected")
    verb, identity, path = line.operands
    change_mounts(ContainerDirectory(root, identity), path, add=verb == "add")
    return 0


def _features(line: CommandLine, root: str) -> int:
    from runtime.lifecycle.features import features

    _print(to_text(features()) + "\n")
    return 0


def _spec(line: CommandLine, root: str) -> int:
    from runtime.lifecycle.example import write_example

    write_example(line.fields.get("bundle", "."), rootless=bool(line.fields.get("rootless")))
    return 0


_VERBS: dict[str, Callable[[CommandLine, str], int]] = {
    "create": _create,
    "start": _start,
    "run": _run,
    "state": _state,
    "kill": _kill,
    "delete": _delete,
    "exec": _exec,
    "list": _list,
    "ps": _ps,
    "pause": _pause,
    "resume": _resume,
    "update": _update,
    "events": _events,
    "mounts": _mounts,
    "features": _features,
    "spec": _spec,
}
