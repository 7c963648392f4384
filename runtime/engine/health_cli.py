"""`pyrun healthcheck run`."""

from __future__ import annotations

from runtime.engine.cli import say
from runtime.engine.joining import open_store_beside, running
from runtime.errors import ContainerError, UsageError
from runtime.options import OptionTable

HELP = """\
usage: pyrun healthcheck run [--root DIR] CONTAINER

Ask a container that runs whether it is well, now. The answer counts as those that it gives by
itself do.

Exit status: 0 if the command says so, 1 if it does not.
"""
TABLE = OptionTable(
    "pyrun healthcheck", values={"--root": "root"}, lists={}, flags={"--help": "help"}
)


def main(_: str, arguments: list[str]) -> int:
    """Run the check; raises PyrunError."""
    fields, operands = TABLE.parse(arguments, operands_end_options=False)
    if fields.get("help"):
        say(HELP)
        return 0
    if operands[:1] != ["run"] or len(operands) != 2:
        raise UsageError("pyrun healthcheck: run CONTAINER expected")
    store, path = open_store_beside(fields.get("root"), operands[1])
    seen = running(store, path)
    if seen.record.health is None:
        raise ContainerError(
            f"container {seen.record.name} has no health check",
            hint="`pyrun run --health-cmd COMMAND` makes one with a check",
        )
    from runtime.engine.health_check import ask

    status, answer = ask(store, seen)
    if answer:
        say(f"{status}\n")
    return 1 if answer else 0
