"""`.env`: variables for compose files, one a line."""

from __future__ import annotations

import re
from collections.abc import Mapping

from buildkit.bake.interpolation import Variables
from buildkit.bake.problems import Problem, at

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*(?:=|:\s)\s*(.*)", re.DOTALL)
_QUOTED = re.compile(r"""(?:"((?:[^"\\]|\\.)*)"|'([^']*)')\s*(?:#.*)?""", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def read_dotenv(name: str, text: str, outside: Mapping[str, str]) -> dict[str, str]:
    """The variables of a file; they may use earlier ones, and those from `outside`.

    Raises UsageError.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        with at(f"{name}:{number}"):
            parts = _LINE.fullmatch(line)
            if parts is None:
                raise Problem("NAME=VALUE expected")
            variables = Variables(found | dict(outside), lambda _: None)
            found[parts[1]] = _value(parts[2], variables)
    return found


def _value(text: str, variables: Variables) -> str:
    if text[:1] in ('"', "'"):
        quoted = _QUOTED.fullmatch(text)
        if quoted is None:
            raise Problem("a quote that does not end on its line")
        if quoted[2] is not None:
            return quoted[2]
        plain = re.sub(r"\\([^$])", lambda found: _ESCAPES.get(found[1], found[1]), quoted[1])
        return variables.expand(plain.replace("\\$", "$$"))
    return variables.expand(re.split(r"\s#", text, maxsplit=1)[0].strip())
