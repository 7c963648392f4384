"""Completion for fish."""

from __future__ import annotations

from collections.abc import Iterator

from buildkit.pages.catalogue import Command, Option
from buildkit.pages.trees import (
    MADE,
    PROGRAMS,
    children,
    operand_kinds,
    spellings,
    tree_of,
)

_SCRIPT = r"""# fish completion for @PROGRAM@
# @MADE@

# Succeeds if these are the verbs of the line, and nothing of a command follows yet.
function @NAME@_at
    set -l words (commandline -opc)
    set -e words[1]
    set -l key ''
    while set -q words[1]; and contains -- (string trim "$key $words[1]") @KEYS@
        set key (string trim "$key $words[1]")
        set -e words[1]
    end
    test "$key" = "$argv[1]"
end

# Succeeds if nothing stands behind these verbs.
function @NAME@_alone
    @NAME@_at $argv[1]; or return
    test (count (commandline -opc)) -eq (math 1 + (count (string split -n ' ' -- "$argv[1]")))
end

function @NAME@_store
    set -l words (commandline -opc)
    for index in (seq (count $words))
        if string match -q -- '--root=*' $words[$index]
            printf '%s\n' --root (string replace -- --root= '' $words[$index])
        else if test "$words[$index]" = --root; and set -q words[(math $index + 1)]
            printf '%s\n' --root $words[(math $index + 1)]
        end
    end
end

function @NAME@_image
    pybuild images (@NAME@_store) 2>/dev/null | while read -l name tag rest
        contains -- $name REPOSITORY '<none>'; or printf '%s:%s\n' $name $tag
    end
end

function @NAME@_container
    pyrun ps -a --format '{{.Names}}' (@NAME@_store) 2>/dev/null
end

function @NAME@_inside
    @NAME@_container | string replace -r '$' ':'
end

function @NAME@_volume
    pyrun volume ls -q (@NAME@_store) 2>/dev/null
end

function @NAME@_secret
    pyrun secret ls --format '{{.Name}}' (@NAME@_store) 2>/dev/null
end

function @NAME@_id
    pyrun oci list -q (@NAME@_store) 2>/dev/null
end

complete -c @PROGRAM@ -f
@LINES@
"""


def fish_completions() -> dict[str, str]:
    """The scripts: `pyrun.fish` -> text."""
    return {f"{program}.fish": _script(program) for program in PROGRAMS}


def _script(program: str) -> str:
    tree = tree_of(program)
    name = f"__{program.replace('-', '_')}"
    lines = [line for key, command in tree.items() for line in _lines(name, key, command, tree)]
    text = _SCRIPT.replace("@LINES@", "\n".join(f"complete -c {program} {line}" for line in lines))
    text = text.replace("@KEYS@", " ".join(f"'{key}'" for key in tree if key))
    return text.replace("@NAME@", name).replace("@PROGRAM@", program).replace("@MADE@", MADE)


def _lines(name: str, key: str, command: Command, tree: dict[str, Command]) -> Iterator[str]:
    at = f"-n \"{name}_at '{key}'\""
    alone = f"-n \"{name}_alone '{key}'\""
    for verb, other in children(tree, key).items():
        yield f"{alone} -a {verb} -d {_quoted(other.summary)}"
    for option in command.options:
        yield f"{at} {_option(name, option)}"
    kinds, _, _ = operand_kinds(command)
    for kind in dict.fromkeys(kind for several in kinds for kind in several.split("|")):
        yield f"{at} {_values(name, kind)}"


def _option(name: str, option: Option) -> str:
    letters, long = spellings(option)
    words = [*(f"-s {letter}" for letter in letters), *(f"-l {word}" for word in long)]
    if option.takes is not None:
        words.append(f"-r {_values(name, option.kind)}".strip())
    return " ".join([*words, f"-d {_quoted(option.summary)}"])


def _values(name: str, kind: str) -> str:
    if kind == "volume|file":
        return f"-F -a '({name}_volume)'"
    match kind:
        case "" | "new":
            return "-f"
        case "file":
            return "-F"
        case "directory":
            return "-f -a '(__fish_complete_directories)'"
    if kind.startswith("="):
        return f"-f -a '{kind[1:].replace(',', ' ')}'"
    return f"-f -a '({name}_{kind})'"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
