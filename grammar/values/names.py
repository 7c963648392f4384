"""Names of stages: `FROM image AS name`."""

from __future__ import annotations

import re

from grammar.errors import quoted
from grammar.values.invalid import InvalidValue

_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")


def parse_stage_name(text: str) -> str:
    """The name in lower case; raises InvalidValue."""
    name = text.lower()
    if not _STAGE_NAME.fullmatch(name):
        hint = "it starts with a letter; then letters, digits, '-', '_' and '.'"
        message = f"{quoted(text)} is no name for a stage"
        raise InvalidValue(message, 0, len(text), code="bad-stage-name", hint=hint)
    return name
