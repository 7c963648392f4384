"""Completion for zsh: functions for `_arguments`."""

from __future__ import annotations

from buildkit.pages.catalogue import Command, Option
from buildkit.pages.trees import MADE, PROGRAMS, children, operand_kinds, tree_of

_NAMES = r"""
@NAME@_image() {
    local -a names
    names=(${(f)"$(pybuild images $store 2>/dev/null |
        while read -r name tag rest; do
            [[ $name == (REPOSITORY|'<none>') ]] || print -r -- "$name:$tag"
        done)"})
    _wanted images expl image compadd -a names
}

@NAME@_container() {
    local -a names
    names=(${(f)"$(pyrun ps -a --format '{{.Names}}' $store 2>/dev/null)"})
    _wanted containers expl container compadd "$@" -a names
}

@NAME@_inside() {
    @NAME@_container -S :
}

@NAME@_volume() {
    local -a names
    names=(${(f)"$(pyrun volume ls -q $store 2>/dev/null)"})
    _wanted volumes expl volume compadd -a names
}

@NAME@_secret() {
    local -a names
    names=(${(f)"$(pyrun secret ls --format '{{.Name}}' $store 2>/dev/null)"})
    _wanted secrets expl secret compadd -a names
}

@NAME@_new() {
    _message 'new name'
}

@NAME@_id() {
    local -a names
    names=(${(f)"$(pyrun oci list -q $store 2>/dev/null)"})
    _wanted ids expl id compadd -a names
}
"""
_SCRIPT = r"""#compdef @PROGRAM@
# @MADE@
@NAMES@
@NAME@() {
    local key= word expl
    local -i index=2
    local -a store
    local -A verbs
    verbs=(
@VERBS@
    )
    for word in ${words[2,CURRENT-1]}; do
        [[ $word == --root=?* ]] && store=(--root "${(Q)word#--root=}")
    done
    index=${words[(I)--root]}
    ((index > 1 && index + 1 < CURRENT)) && store=(--root "${(Q)words[index+1]}")
    # A verb is the first word behind the program or another verb.
    index=2
    while ((index < CURRENT)) && [[ " ${verbs[key:$key]} " == *" $words[index] "* ]]; do
        key=${key:+$key }$words[index]
        ((index++))
    done
    words=($words[1] "${(@)words[index,-1]}")
    ((CURRENT -= index - 2))
    case $key in
@CASES@
    esac
}

@NAME@ "$@"
"""
_ACTIONS = {"file": "_files", "directory": "_files -/", "": ""}


def zsh_completions() -> dict[str, str]:
    """The functions: `_pyrun` -> text."""
    return {f"_{program}": _script(program) for program in PROGRAMS}


def _script(program: str) -> str:
    tree = tree_of(program)
    name = f"_{program.replace('-', '_')}"
    verbs = "\n".join(
        f"        'key:{key}' '{' '.join(children(tree, key))}'"
        for key in tree
        if children(tree, key)
    )
    cases = "\n".join(_case(name, key, command, tree) for key, command in tree.items())
    text = _SCRIPT.replace("@NAMES@", _NAMES).replace("@CASES@", cases).replace("@VERBS@", verbs)
    return text.replace("@NAME@", name).replace("@PROGRAM@", program).replace("@MADE@", MADE)


def _case(name: str, key: str, command: Command, tree: dict[str, Command]) -> str:
    kinds, repeats, follows = operand_kinds(command)
    specs = [spec for option in command.options for spec in _option(name, option)]
    verbs = children(tree, key)
    if verbs:
        described = " ".join(
            _quoted(f"{verb}:{other.summary.replace(':', ' ')}") for verb, other in verbs.items()
        )
        lines = [f"        local -a further=({described})"]
        others = kinds[0].split("|") if kinds else []
        actions = [
            '"verbs:verb: _describe -t verbs verb further"',
            *(f'"{kind}s:{kind}:{_action(name, kind)}"' for kind in others),
        ]
        specs.append(f"'1: : _alternative {' '.join(actions)}'")
    else:
        lines = []
        for number, kind in enumerate(kinds, 1):
            place = "*" if repeats and number == len(kinds) else str(number)
            specs.append(f"'{place}: :{_alternatives(name, kind)}'")
    if follows or verbs:
        specs.append("'*:: : '")
    ends = " -A '-*'" if follows or verbs else ""
    body = " \\\n                ".join([f"_arguments -s -S{ends} :", *specs])
    return "\n".join([f"        ('{key}')", *(f"    {line}" for line in lines)]) + (
        f"\n            {body}\n            ;;"
    )


def _alternatives(name: str, kinds: str) -> str:
    several = kinds.split("|")
    if len(several) == 1:
        return _action(name, kinds)
    return " _alternative " + " ".join(
        f'"{kind}s:{kind}:{_action(name, kind)}"' for kind in several
    )


def _action(name: str, kind: str) -> str:
    if kind.startswith("="):
        return f"({kind[1:].replace(',', ' ')})"
    return _ACTIONS.get(kind, f" {name}_{kind}")


def _option(name: str, option: Option) -> list[str]:
    """Specifications of `_arguments`: one for each spelling."""
    said = option.summary.replace("[", "(").replace("]", ")").replace("\\", "")
    once = "*" if option.repeats else f"({' '.join(option.names)})"
    found = []
    for spelling in option.names:
        if option.takes is None:
            found.append(_quoted(f"{once}{spelling}[{said}]"))
        else:
            joined = "=" if spelling.startswith("--") else "+"
            takes = option.takes.partition("|")[0].replace(":", "\\:")
            action = _action(name, option.kind) or " "
            if "|" in option.kind:
                action = _alternatives(name, option.kind).replace(":", "\\:")
            found.append(_quoted(f"{once}{spelling}{joined}[{said}]:{takes}:{action}"))
    return found


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
