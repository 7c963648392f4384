"""The command line of `pybuild doctor`."""

from __future__ import annotations

import json
import sys

from buildkit.doctor import MISSING, look
from buildkit.errors import DiskError, HostError, UsageError
from runtime.errors import UsageError as OptionError
from runtime.options import OptionTable
from runtime.store.store import default_root

HELP = """\
usage: pybuild doctor [--format text|json] [--root DIR]

What this machine and its user's rights allow, what is missing, and what works all the same. All
of it is tried: a container is started, a control group made. Nothing is left.

  ok       works
  less     works, in a weaker way or not for everything
  missing  does not work, and what would help

Exit status: 0; 6 no step of a build could run here; 5 the store cannot be written.
"""
TABLE = OptionTable(
    "pybuild doctor",
    values={"--format": "format", "--root": "root"},
    lists={},
    flags={"--help": "help"},
)
_INDENT = 33  # columns before what is said


def run_doctor(arguments: list[str]) -> int:
    """Look, and print; returns the exit status. Raises UsageError, DiskError."""
    try:
        fields, operands = TABLE.parse(arguments, operands_end_options=False)
    except OptionError as error:
        raise UsageError(error.message, hint=error.hint) from None
    if fields.get("help"):
        sys.stdout.write(HELP)
        return 0
    form = fields.get("format", "text")
    if operands or form not in ("text", "json"):
        wrong = " ".join(operands) or f"--format {form!r}"
        raise UsageError(f"pybuild doctor: {wrong}", hint="pybuild doctor --help")
    status, found = 0, []
    try:
        for finding in look(fields.get("root") or default_root()):
            found.append(finding)
            if form == "text":
                before = f"{finding.state:<8}{finding.what}"
                print(f"{before:<{_INDENT}} {finding.said}", flush=True)
                if finding.hint:
                    print(f"{'':<{_INDENT}} hint: {finding.hint}", flush=True)
            if finding.state == MISSING and finding.what in ("store", "RUN"):
                status = DiskError.status if finding.what == "store" else HostError.status
    except BrokenPipeError:
        raise
    except OSError as error:
        raise DiskError(f"{error.filename or 'the store'}: {error.strerror}") from error
    if form == "json":
        print(json.dumps([finding.to_json() for finding in found], indent=2))
    return status
