"""What the container's side says on its pipe to the host's: why it failed, or how far it is."""

from __future__ import annotations

import os

from runtime.errors import CommandError, ContainerError, PyrunError
from runtime.sandbox import entry
from runtime.stub.enter import decode_report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

HOOKS, CREATED = b"H", b"C"  # said when nothing is wrong


def report_failure(report: int, error: BaseException) -> None:
    """Say on a report pipe what went wrong, as `STATUS MESSAGE`; see `raise_report`."""
    if isinstance(error, PyrunError):
        hint = f"\n{error.hint}" if error.hint else ""
        message = f"{error.status} {error.message}{hint}"
    elif isinstance(error, OSError):
        where = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        message = f"125 {where}{error.strerror}"
    else:
        message = f"125 internal error: {error!r}"
    os.write(report, os.fsencode(message)[:4000])


def raise_report(report: bytes, command: str) -> NoReturn:
    """Raise what a child said on its report pipe (`report_failure`), or what the stub did."""
    failure = decode_report(report)
    if failure is not None and failure.phase == "exec":
        raise entry.refusal(command, failure.errno)
    if failure is not None:
        raise ContainerError(f"{failure.phase}: {os.strerror(failure.errno)}")
    text, _, hint = os.fsdecode(report).partition("\n")
    status, _, message = text.partition(" ")
    if status in ("126", "127"):
        raise CommandError(message, status=int(status), hint=hint or None)
    raise ContainerError(message, hint=hint or None)
