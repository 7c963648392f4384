"""Command-line options by a table, as docker and podman take them.

argparse would cost `pyrun` as much time as starting the container.
"""

from __future__ import annotations

from runtime.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class OptionTable:
    """The options of one program: `spelling -> field`, by what each takes."""

    def __init__(
        self,
        program: str,
        *,
        values: Mapping[str, str],
        lists: Mapping[str, str],
        flags: Mapping[str, str],
    ) -> None:
        """`values` take one value, the last counts; `lists` collect; `flags` are bool."""
        self.program = program
        self._help = f"{program} --help"
        self.values = values
        self.lists = lists
        self.flags = flags

    def parse(
        self, arguments: list[str], *, operands_end_options: bool
    ) -> tuple[dict[str, Any], list[str]]:
        """Return the fields that were set, and the operands; raises UsageError.

        With `operands_end_options` everything after the first operand is one, as in `docker run`.
        """
        fields: dict[str, Any] = {}
        operands: list[str] = []
        rest = list(arguments)
        while rest:
            argument = rest.pop(0)
            if argument == "--":
                return fields, operands + rest
            if argument == "-" or not argument.startswith("-"):
                operands.append(argument)
                if operands_end_options:
                    return fields, operands + rest
            elif argument.startswith("--"):
                self._take_long(argument, rest, fields)
            else:
                self._take_short(argument, rest, fields)
        return fields, operands

    def _take_long(self, argument: str, rest: list[str], fields: dict[str, Any]) -> None:
        name, equals, value = argument.partition("=")
        if name in self.flags:
            if equals and value not in ("true", "false"):
                raise UsageError(f"{name}: {value!r} is not true or false")
            fields[self.flags[name]] = value != "false"
        elif name in self.values or name in self.lists:
            self._set(name, value if equals else _next(name, rest), fields)
        else:
            raise UsageError(f"unknown option {name}", hint=self._nearest(name))

    def _take_short(self, argument: str, rest: list[str], fields: dict[str, Any]) -> None:
        # -it is -i -t, and -eNAME=VALUE is -e NAME=VALUE.
        letters = argument[1:]
        while letters:
            name, letters = f"-{letters[0]}", letters[1:]
            if name in self.flags:
                fields[self.flags[name]] = True
            elif name in self.values or name in self.lists:
                self._set(name, letters.removeprefix("=") or _next(name, rest), fields)
                return
            else:
                raise UsageError(f"unknown option {name}", hint=self._help)

    def _set(self, name: str, value: str, fields: dict[str, Any]) -> None:
        if name in self.lists:
            field = self.lists[name]
            fields[field] = (*fields.get(field, ()), value)
        else:
            fields[self.values[name]] = value

    def _nearest(self, name: str) -> str:
        import difflib

        known = [*self.values, *self.lists, *self.flags]
        near = difflib.get_close_matches(name, known, 1)
        return f"did you mean {near[0]}?" if near else self._help


def _next(name: str, rest: list[str]) -> str:
    if not rest:
        raise UsageError(f"{name} needs a value")
    return rest.pop(0)
