"""Manual pages, man(7): a page for each help text, and links for the other names that it is of."""

from __future__ import annotations

import re

from buildkit.pages.catalogue import Command, Option, commands
from buildkit.pages.help_text import Entry, Help, Paragraph, Verbatim

_OPTION = re.compile(r"(?<![\w-])(--?[A-Za-z][\w-]*)")
_QUOTED = re.compile(r"`([^`]*)`")
_VALUE = re.compile(r"\b([A-Z]{2,}(?:-[A-Z]+)*)\b")


def manual_pages() -> dict[str, str]:
    """All pages: `pyrun-ps.1` -> its text."""
    pages: dict[str, list[Command]] = {}
    for command in commands():
        pages.setdefault(command.page, []).append(command)
    made = {f"{name}.1": _page(name, family, list(pages)) for name, family in pages.items()}
    for command in commands():
        name = command.name.replace(" ", "-")
        if command.name.count(" ") == 1 and f"{name}.1" not in made:
            made[f"{name}.1"] = f".so man1/{command.page}.1\n"
    return made


def _page(name: str, family: list[Command], pages: list[str]) -> str:
    said = family[0].help
    named = [command for command in family if command.name.count(" ") < 2]
    named.sort(key=lambda command: command.name.replace(" ", "-") != name)
    names = ", ".join(command.name.replace(" ", "-") for command in named)
    lines = [
        '.\\" Made by buildkit.pages.make_pages of the help text and the table of options.',
        f'.TH "{_plain(name.upper())}" 1 "" "pybuild"',
        ".ad l",
        ".SH NAME",
        f"{_plain(names)} \\- {_plain('; '.join(dict.fromkeys(c.summary for c in named)))}"
        if len(named) < 3
        else f"{_plain(names)} \\- {_plain(family[0].summary)}, and the like",
        ".SH SYNOPSIS",
        *_verbatim(said.usage),
    ]
    body = [part for part in said.parts if not isinstance(part, Entry)]
    if body:
        lines += [".SH DESCRIPTION"]
    for part in body:
        if isinstance(part, Verbatim):
            lines += [".sp", ".RS 4", *_verbatim(part.lines), ".RE"]
        elif isinstance(part, Paragraph):
            lines += [".PP", _text(part.text)]
    lines += _options(family, said)
    if name in ("pybuild", "pyrun", "pyrun-oci"):
        lines += [".SH COMMANDS"]
        within = [c for c in commands() if c.name.replace(" ", "-").startswith(f"{name}-")]
        for command in within:
            if command.name.count(" ") == (2 if name == "pyrun-oci" else 1):
                lines += [".TP", f"\\fB{_plain(command.name)}\\fR", _text(command.summary)]
    if said.exit_status:
        lines += [".SH EXIT STATUS", _text(said.exit_status)]
    others = _others(name, pages)
    lines += [".SH SEE ALSO", ",\n".join(f"\\fB{_plain(page)}\\fR(1)" for page in others)]
    return "\n".join(lines) + "\n"


def _others(name: str, pages: list[str]) -> list[str]:
    program, within, _ = name.partition("-")
    near = [page for page in pages if page.startswith(f"{program}-")]
    wanted = [program] if within else near
    return sorted({*wanted, "pybuild", "pyrun"} - {name})


def _options(family: list[Command], said: Help) -> list[str]:
    """The options as the help text has them, then those that it leaves out."""
    groups = {option.names: option for command in family for option in command.options}
    lines = [".SH OPTIONS"]
    shown: set[str] = set()
    for entry in said.entries():
        words = entry.taken()
        further = [
            name
            for names in groups
            if entry.is_about(names)
            for name in names
            if name not in words and name not in shown
        ]
        shown |= {*words, *further}
        text = entry.text or "; ".join(
            option.text for names, option in groups.items() if entry.is_about(names)
        )
        if further:
            text = f"{text} (also {', '.join(further)})".strip()
        lines += [".TP", _term(entry.term), *([_text(text)] if text else [])]
    if family[0].page == "pyrun-oci":  # where the same option is another with each verb
        for command in family:
            if command.options:
                lines += [f".SS {_plain(command.name)}"]
            for option in command.options:
                lines += _option(option)
        return lines
    for names, option in groups.items():
        if not any(entry.is_about(names) for entry in said.entries()):
            lines += _option(option)
    return lines


def _option(option: Option) -> list[str]:
    takes = "" if option.takes is None else f" {option.takes}"
    return [".TP", _term(", ".join(option.names) + takes), _text(option.text)]


def _verbatim(lines: tuple[str, ...]) -> list[str]:
    return [".nf", *(_safe(_bold(line)) for line in lines), ".fi"]


def _term(text: str) -> str:
    return _safe(_VALUE.sub(r"\\fI\1\\fR", _bold(text)))


def _text(text: str) -> str:
    return _safe(_QUOTED.sub(r"\\fB\1\\fR", _bold(text)))


def _bold(text: str) -> str:
    pieces = _OPTION.split(text)
    return "".join(
        f"\\fB{_plain(piece)}\\fR" if number % 2 else _plain(piece)
        for number, piece in enumerate(pieces)
    )


def _plain(text: str) -> str:
    """Text without anything that roff would take as its own."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return text.replace("…", "...").replace("^", "\\(ha").replace("~", "\\(ti")


def _safe(line: str) -> str:
    return f"\\&{line}" if line.startswith((".", "'")) else line
