"""`pyrun ps`."""

from __future__ import annotations

from runtime.engine.cli import open_store, say
from runtime.engine.containers import Seen, look_at_all, short
from runtime.options import OptionTable

_TABLE = OptionTable(
    "pyrun ps",
    values={"--root": "root"},
    lists={},
    flags={"-a": "all", "--all": "all", "-q": "quiet", "--quiet": "quiet", "--no-trunc": "whole"},
)


def main(_: str, arguments: list[str]) -> int:
    """List containers."""
    fields, _operands = _TABLE.parse(arguments, operands_end_options=False)
    store = open_store(fields.get("root"))
    found = [seen for seen in look_at_all(store) if seen.is_alive or fields.get("all")]
    if fields.get("quiet"):
        say("".join(f"{_id(seen, fields)}\n" for seen in found))
        return 0
    rows = [("CONTAINER ID", "IMAGE", "COMMAND", "STATUS", "NAMES")]
    rows += [
        (
            _id(seen, fields),
            seen.record.image,
            " ".join(seen.record.command)[:30],
            seen.status if seen.exit is None else f"exited ({seen.exit.status})",
            seen.record.name,
        )
        for seen in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        line = "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say(f"{line.rstrip()}\n")
    return 0


def _id(seen: Seen, fields: dict[str, object]) -> str:
    return seen.record.id if fields.get("whole") else short(seen.record.id)
