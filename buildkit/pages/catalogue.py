"""All commands of the programs, with their options: what pages and completions are made of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from functools import cache
from importlib import import_module

from buildkit import (
    archive_commands,
    command_words,
    doctor_command,
    image_commands,
    registry_commands,
    store_commands,
)
from buildkit.bake import command as bake
from buildkit.pages.help_text import Entry, Help, Verbatim, parse_help
from buildkit.pages.verbs import OPTIONS, VERBS
from buildkit.sbom import command as sbom
from runtime import command_line, info_cli
from runtime.engine import cli as engine
from runtime.lifecycle import command_line as oci
from runtime.options import OptionTable
from runtime.record import Record

_FILES = ("FILE", "PATH", "ARCHIVE", "SRC:DEST", "SOCKET")
# Fields of a family's options that only some of its verbs look at.
_WITHIN = {
    "pyrun volume create": {"labels"},
    "pyrun volume ls": {"quiet"},
    "pyrun volume inspect": set(),
    "pyrun volume rm": {"force"},
    "pyrun volume prune": {"all", "force"},
    "pyrun secret create": {"labels", "env", "replace"},
    "pyrun secret ls": {"quiet", "format"},
    "pyrun secret inspect": {"format"},
    "pyrun secret rm": {"all"},
}
_WORD = re.compile(r"[a-z][a-z0-9.-]*")


class Option(Record):
    """An option in all its spellings."""

    names: tuple[str, ...]  # as its table has them
    takes: str | None  # "FILE", "auto|always|never"; None for a flag
    text: str  # what it does
    repeats: bool = False

    @property
    def kind(self) -> str:
        """What its value is, in terms of `verbs`; "" if nobody knows."""
        if self.takes is None or "type=" in self.takes:
            return ""
        plain = re.sub(r"\[.*?\]+", "", self.takes)
        words = plain.split("|")
        if words[0].startswith("NAME:DEST"):
            return "volume|file"
        if words[0].startswith(_FILES):
            return "file"
        if words[0].startswith("DIR"):
            return "directory"
        known = [word for word in words if _WORD.fullmatch(word)]
        return f"={','.join(known)}" if known and "=" not in plain else ""

    @property
    def summary(self) -> str:
        """The first words of what it does, for a line of a list."""
        said = self.text.removeprefix("(default: ").strip("() ")
        said = (
            f"default: {said}" if "(default" in self.text[:8] else re.split(r"; | \(|: ", said)[0]
        )
        return said if len(said) <= 60 else said[:60].rpartition(" ")[0] + " ..."


class Command(Record):
    """A program, or one of its verbs."""

    name: str  # "pyrun oci create"
    help: Help
    options: tuple[Option, ...]
    page: str  # the manual page that says all, without its section

    @property
    def summary(self) -> str:
        """What it is for."""
        return VERBS[self.name][0]

    @property
    def operands(self) -> str:
        """What its operands are, in terms of `verbs`."""
        return VERBS[self.name][1]


@cache
def commands() -> tuple[Command, ...]:
    """All commands; KeyError if one is not in `verbs`."""
    return (*_pybuild(), *_pyrun(), *_oci("pyrun oci"))


def _pybuild() -> Iterator[Command]:
    own = ("pybuild", "pybuild shell", "pybuild verify-reproducible", "pybuild lock")
    for name in own:
        yield _command(name, command_words.HELP, command_words.TABLE, page="pybuild")
    for module in (image_commands, registry_commands, archive_commands, store_commands):
        page = module.TABLE.program.replace(" ", "-")
        verbs = [*module.ALLOWED, *(["cache"] if module is store_commands else [])]
        for verb in verbs:
            table = image_commands.RMI_TABLE if verb == "rmi" else module.TABLE
            fields = {"help", "root"} | module.ALLOWED.get(verb, set())
            if verb in ("login", "logout"):
                fields -= {"root"}
            yield _command(f"pybuild {verb}", module.HELP, table, fields, page=page)
    for single in (doctor_command, bake, sbom):
        yield _command(single.TABLE.program, single.HELP, single.TABLE)


def _pyrun() -> Iterator[Command]:
    above = parse_help(command_line.HELP)
    yield _command("pyrun", command_line.HELP, command_line.TABLE)
    yield _command("pyrun info", command_line.INFO_HELP, info_cli.TABLE, above=above)
    yield _command("pyrun bundle", command_line.BUNDLE_HELP, command_line.TABLE, above=above)
    for verb, name in engine.VERBS.items():
        module = import_module(name)
        table = module.TABLES[verb] if hasattr(module, "TABLES") else module.TABLE
        text = module.HELPS[verb] if hasattr(module, "HELPS") else module.HELP
        page = "pyrun-mount" if verb == "umount" else "pyrun-run" if verb == "create" else ""
        yield _command(f"pyrun {verb}", text, table, page=page, above=above)
        for further in [key for key in VERBS if key.startswith(f"pyrun {verb} ")]:
            within = _WITHIN.get(further)
            fields = None if within is None else {"root", "help"} | within
            yield _command(further, text, table, fields, page=f"pyrun-{verb}", above=above)


def _oci(program: str) -> Iterator[Command]:
    page = "pyrun-oci"
    yield _command(program, oci.HELP, oci.GLOBAL_TABLE, page=page)
    for verb, make_table in oci.VERBS.items():
        yield _command(f"{program} {verb}", oci.HELP, make_table(), page=page)


def _command(
    name: str,
    text: str,
    table: OptionTable,
    fields: Set[str] | None = None,
    *,
    page: str = "",
    above: Help | None = None,
) -> Command:
    """A command; `fields` are those of its options, if a table is that of several."""
    said = parse_help(text)
    entries = [*said.entries(), *(above.entries() if above else ())]
    return Command(
        name=name,
        help=said,
        options=tuple(_options(name, table, fields, said, entries)),
        page=page or name.replace(" ", "-"),
    )


def _options(
    name: str, table: OptionTable, fields: Set[str] | None, said: Help, entries: list[Entry]
) -> Iterator[Option]:
    groups: dict[str, list[str]] = {}
    for spellings in (table.values, table.lists, table.flags):
        for spelling, field in spellings.items():
            if fields is None or field in fields:
                groups.setdefault(field, []).append(spelling)
    for spelled in groups.values():
        names = sorted(spelled, key=lambda word: word.startswith("--"))
        takes = None if names[0] in table.flags else _taken(names, entries) or _shown(names, said)
        yield Option(
            names=tuple(names),
            takes=takes,
            text=_text(names, entries, name),
            repeats=names[0] in table.lists,
        )


def _taken(names: list[str], entries: list[Entry]) -> str:
    about = [entry.taken() for entry in entries if entry.is_about(names)]
    for taken in about:
        known = list(taken)
        places = [known.index(name) for name in names if name in taken]
        # "--this, --that VALUE": both take it.
        for place in places:
            if found := next(filter(None, [taken[name] for name in known[place:]]), ""):
                return found
    return ""


def _shown(names: list[str], said: Help) -> str:
    """What stands behind an option in a usage, or elsewhere."""
    text = "\n".join(said.usage)
    for part in said.parts:
        text += "\n" + ("\n".join(part.lines) if isinstance(part, Verbatim) else part.text)
    for name in reversed(names):
        if match := re.search(rf"(?<![\w-]){name}[ =]([A-Za-z][^\s\],]*)", text):
            return match[1]
    return "VALUE"


def _text(names: list[str], entries: list[Entry], command: str) -> str:
    for key in (f"{command} {name}" for name in names):
        if key in OPTIONS:
            return OPTIONS[key]
    for entry in entries:
        if entry.text and not entry.text.startswith("{{") and entry.is_about(names):
            return entry.text
    for name in names:
        if name in OPTIONS:
            return OPTIONS[name]
    for entry in entries:
        if any(re.search(rf"(?<![\w-]){name}(?![\w-])", entry.text) for name in names):
            return f"see {max(entry.taken(), key=len)}"
    raise KeyError(f"{command} {names[-1]}: no text; see buildkit.pages.verbs")
