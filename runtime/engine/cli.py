"""`pyrun run`, `ps` and the other verbs of containers that live: who does what each asks for."""

from __future__ import annotations

import os

from runtime.errors import PyrunError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runtime.store.store import Store

VERBS = {
    "attach": "runtime.engine.run_cli",
    "commit": "runtime.engine.commit_cli",
    "container": "runtime.engine.changing_cli",
    "cp": "runtime.engine.cp_cli",
    "create": "runtime.engine.run_cli",
    "diff": "runtime.engine.export_cli",
    "enter": "runtime.engine.enter_cli",
    "events": "runtime.engine.events_cli",
    "exec": "runtime.engine.exec_cli",
    "export": "runtime.engine.export_cli",
    "healthcheck": "runtime.engine.health_cli",
    "inspect": "runtime.engine.changing_cli",
    "kill": "runtime.engine.ending_cli",
    "logs": "runtime.engine.logs_cli",
    "mount": "runtime.engine.mount_cli",
    "pause": "runtime.engine.changing_cli",
    "ps": "runtime.engine.listing_cli",
    "rename": "runtime.engine.changing_cli",
    "restart": "runtime.engine.changing_cli",
    "rm": "runtime.engine.ending_cli",
    "run": "runtime.engine.run_cli",
    "secret": "runtime.engine.secret_cli",
    "start": "runtime.engine.run_cli",
    "stats": "runtime.engine.watching_cli",
    "stop": "runtime.engine.ending_cli",
    "top": "runtime.engine.watching_cli",
    "umount": "runtime.engine.mount_cli",
    "unpause": "runtime.engine.changing_cli",
    "update": "runtime.engine.changing_cli",
    "volume": "runtime.engine.volume_cli",
    "wait": "runtime.engine.ending_cli",
}

_PIPE = 141  # as a shell has it of who was ended by SIGPIPE


def main(arguments: list[str]) -> int:
    """Run one verb; raises PyrunError."""
    module = __import__(VERBS[arguments[0]], fromlist=["main"])
    command: Callable[[str, list[str]], int] = module.main
    try:
        return command(arguments[0], arguments[1:])
    except BrokenPipeError:  # nobody reads any more, as with `pyrun logs ... | head`
        return _PIPE


def open_store(root: str | None) -> Store:
    """The store with the containers, as root of it; raises PyrunError."""
    from runtime.sandbox.userns import become_root
    from runtime.store.store import Store, default_root

    place = root or default_root()
    become_root()
    return Store(place)


def say(text: str) -> None:
    """Print to standard output, whatever the text is."""
    os.write(1, text.encode("utf-8", "surrogateescape"))


def for_each(words: Iterable[str], do: Callable[[str], None]) -> None:
    """Do it for each container, whatever becomes of the others; raises the first error."""
    problems: list[PyrunError] = []
    for word in words:
        try:
            do(word)
        except PyrunError as error:
            problems.append(error)
    for problem in problems[1:]:
        os.write(2, f"pyrun: {problem.message}\n".encode("utf-8", "surrogateescape"))
    if problems:
        raise problems[0]


def one_or_more(operands: list[str], usage: str) -> list[str]:
    """The containers that a command line names; raises UsageError if there is none."""
    if not operands:
        raise UsageError(f"pyrun {usage}: which container?", hint="pyrun ps lists them")
    return operands
