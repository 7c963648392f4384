"""HEALTHCHECK: how often, how long and how many times a command is tried."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from grammar.arguments import command
from grammar.context import Context, place
from grammar.durations import duration_ns
from grammar.errors import quoted
from grammar.flags import Flags
from grammar.instructions import Healthcheck

if TYPE_CHECKING:
    from lark import Token

_MIN_INTERVAL_NS = 1_000_000  # what the runtime can measure; 0 means its default


def healthcheck(context: Context, flags: Flags, tokens: Sequence[Token]) -> Healthcheck:
    """Build the instruction; a flag without a value is one that was not given."""
    token = tokens[0]
    if token.type == "NONE" and flags.values:
        message = "HEALTHCHECK NONE takes no flags"
        context.report(message, context.start, place(token)[1], code="unexpected-argument")
    return Healthcheck(
        span=context.line.span(context.start, len(context.line.text)),
        text=context.line.text[context.start :],
        comments=context.line.comments,
        command=None if token.type == "NONE" else command(context, token),
        interval_ns=_duration(context, flags, "interval"),
        timeout_ns=_duration(context, flags, "timeout"),
        start_period_ns=_duration(context, flags, "start-period"),
        start_interval_ns=_duration(context, flags, "start-interval"),
        retries=_retries(context, flags),
    )


def _duration(context: Context, flags: Flags, name: str) -> int:
    word = flags.one(name)
    if word is None or not word.text:
        return 0
    try:
        duration = duration_ns(word.text)
        if 0 < duration < _MIN_INTERVAL_NS:
            raise ValueError("is shorter than 1ms")
    except ValueError as error:
        hint = "a duration is written 30s, 1m30s or 500ms"
        message = f"--{name}: {quoted(word.text)} {error}"
        context.report_at(message, word, code="bad-duration", hint=hint)
        return 0
    return duration


def _retries(context: Context, flags: Flags) -> int:
    word = flags.one("retries")
    if word is None or not word.text:
        return 0
    if not re.fullmatch(r"[0-9]{1,9}", word.text):
        message = f"--retries: {quoted(word.text)} is no count"
        context.report_at(message, word, code="bad-count")
        return 0
    return int(word.text)
