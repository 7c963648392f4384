"""`--chown=USER[:GROUP]`, names or numbers. Whether a name exists only the image can tell."""

from __future__ import annotations

from grammar.errors import quoted
from grammar.record import Record
from grammar.values.invalid import InvalidValue

_MAX_ID = 2**32 - 2  # the last one means "no change" to chown(2)


class Owner(Record):
    """A user and perhaps a group; an int is a number, a str a name to look up."""

    user: int | str
    group: int | str | None


def parse_owner(text: str) -> Owner:
    """Read a value of --chown; raises InvalidValue."""
    user, _, group = text.partition(":")
    if not user and not group:
        raise _invalid("the owner is empty", text, 0)
    # As in BuildKit, an empty half says nothing: `:g` is root's, `u:` has the user's group.
    return Owner(
        user=_account("user", user, 0) if user else 0,
        group=_account("group", group, len(user) + 1) if group else None,
    )


def _account(kind: str, text: str, offset: int) -> int | str:
    if text.isascii() and text.isdigit():
        if int(text[:11]) > _MAX_ID:
            raise _invalid(f"{kind} number {quoted(text)} is greater than {_MAX_ID}", text, offset)
        return int(text)
    if any(char.isspace() or char in ":/" for char in text):
        raise _invalid(f"{quoted(text)} is no {kind}", text, offset)
    return text


def _invalid(message: str, text: str, offset: int) -> InvalidValue:
    hint = "an owner is written USER or USER:GROUP, each a name or a number"
    return InvalidValue(message, offset, offset + len(text), code="bad-owner", hint=hint)
