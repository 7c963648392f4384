"""`pyrun logs`."""

from __future__ import annotations

import os

from runtime.engine.cli import one_or_more, open_store
from runtime.engine.containers import look_at
from runtime.engine.logfile import LOG
from runtime.options import OptionTable

_TABLE = OptionTable("pyrun logs", values={"--root": "root"}, lists={}, flags={})


def main(_: str, arguments: list[str]) -> int:
    """Show what a container has said."""
    fields, operands = _TABLE.parse(arguments, operands_end_options=False)
    names = one_or_more(operands, "logs")
    seen = look_at(open_store(fields.get("root")), names[0])
    for number in range(seen.record.log_files - 1, -1, -1):
        path = f"{seen.path}/{LOG}.{number}" if number else f"{seen.path}/{LOG}"
        if not os.path.exists(path):
            continue
        with open(path, "rb") as file:
            for line in file:
                time, stream, tag, text = line.split(b" ", 3)
                del time
                os.write(1 if stream == b"stdout" else 2, text if tag == b"F" else text[:-1])
    return 0
