"""Bytes -> Source. What is refused here leaves nothing to go on with."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from grammar.errors import ContainerfileError, ContainerfileErrors
from grammar.limits import MAX_FILE_BYTES, MAX_LINE_BYTES
from grammar.source import Source, Span

_BYTE_ORDER_MARK = "\ufeff"
_SHOWN = 10  # faults of one kind; in a binary file each line has some
_READABLE = 4096  # characters of a file that is too large, kept for the excerpt


def decode(text: bytes | str, name: str) -> Source:
    """The source, if it is text at all and not too long; raises ContainerfileErrors."""
    if len(text) > MAX_FILE_BYTES:
        raise _too_large(text, name)
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8")
        decoded.encode("utf-8")
    except UnicodeDecodeError as error:
        readable = error.object[: error.start].decode("utf-8")
        byte = error.object[error.start]
        raise _unreadable(readable, f"byte 0x{byte:02x} is not UTF-8", name) from None
    except UnicodeEncodeError as error:
        message = "a surrogate has no UTF-8"
        raise _unreadable(error.object[: error.start], message, name) from None
    source = Source(name, decoded.removeprefix(_BYTE_ORDER_MARK))
    errors = [
        *islice(_nul_characters(source), _SHOWN),
        *islice(_long_lines(source), _SHOWN),
    ]
    if errors:
        raise ContainerfileErrors(errors)
    return source


def _too_large(text: bytes | str, name: str) -> ContainerfileErrors:
    start = text[:_READABLE]
    shown = start if isinstance(start, str) else start.decode("utf-8", "replace")
    source = Source(name, shown)
    message = f"the file is larger than {MAX_FILE_BYTES >> 20} MiB"
    span = Span.within(1, 1, max(1, len(source.lines[0])))
    error = ContainerfileError(message, span=span, source=source, code="file-too-large")
    return ContainerfileErrors([error])


def _unreadable(readable: str, message: str, name: str) -> ContainerfileErrors:
    shown = Source(name, readable.removeprefix(_BYTE_ORDER_MARK) + "\N{REPLACEMENT CHARACTER}")
    span = Span.within(len(shown.lines), len(shown.lines[-1]))
    error = ContainerfileError(message, span=span, source=shown, code="not-utf8")
    return ContainerfileErrors([error])


def _nul_characters(source: Source) -> Iterable[ContainerfileError]:
    if "\0" not in source.text:
        return
    for number, line in enumerate(source.lines, 1):
        column = line.find("\0") + 1
        if column:
            span = Span.within(number, column)
            yield ContainerfileError(
                "NUL character", span=span, source=source, code="nul-character"
            )


def _long_lines(source: Source) -> Iterable[ContainerfileError]:
    for number, line in enumerate(source.lines, 1):
        # A character has four bytes at most.
        if len(line) * 4 <= MAX_LINE_BYTES:
            continue
        size = len(line) if line.isascii() else len(line.encode(errors="replace"))
        if size > MAX_LINE_BYTES:
            span = Span.within(number, 1, len(line))
            message = f"the line is {size} bytes long, the limit is {MAX_LINE_BYTES}"
            yield ContainerfileError(message, span=span, source=source, code="line-too-long")
