"""The error of every function in this package."""

from __future__ import annotations


class InvalidValue(ValueError):
    """A value that its instruction cannot take; `text[start:end]` is the part at fault."""

    def __init__(
        self, message: str, start: int, end: int, *, code: str, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.start = start
        self.end = end
        self.code = code
        self.hint = hint
