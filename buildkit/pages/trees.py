"""The commands that one completion script knows, by what stands behind its program."""

from __future__ import annotations

from buildkit.pages.catalogue import Command, Option, commands

# What programs are started as, and how that begins in the catalogue.
PROGRAMS = {"pybuild": "pybuild", "pyrun": "pyrun", "pyrun-oci": "pyrun oci"}
MADE = "Made by buildkit.pages.make_pages of the tables of options."


def tree_of(program: str) -> dict[str, Command]:
    """The verbs of a program, in words ("" for none): what is known of each."""
    above = PROGRAMS[program]
    return {
        command.name.removeprefix(above).strip(): command
        for command in commands()
        if f"{command.name} ".startswith(f"{above} ")
    }


def children(tree: dict[str, Command], key: str) -> dict[str, Command]:
    """The verbs that may follow on those of `key`, each one word."""
    before = f"{key} " if key else ""
    return {
        other[len(before) :]: command
        for other, command in tree.items()
        if other and other.startswith(before) and " " not in other[len(before) :]
    }


def operand_kinds(command: Command) -> tuple[list[str], bool, bool]:
    """Kinds of its operands, whether the last repeats, and whether a command follows them."""
    words = command.operands.split()
    repeats, follows = words[-1:] == ["..."], words[-1:] == ["command"]
    return (words[:-1] if repeats or follows else words), repeats, follows


def spellings(option: Option) -> tuple[list[str], list[str]]:
    """Its letters and its long names, without dashes."""
    long = [name[2:] for name in option.names if name.startswith("--")]
    return [name[1:] for name in option.names if not name.startswith("--")], long
