"""Completion for bash: one script for each program, which needs no other."""

from __future__ import annotations

from buildkit.pages.catalogue import Command
from buildkit.pages.trees import MADE, PROGRAMS, children, operand_kinds, tree_of

_SCRIPT = r"""# bash completion for @PROGRAM@ -*- shell-script -*-
# @MADE@

# Sets what may follow on a verb: options (those with "=" take a value, of the kind behind it),
# further verbs, kinds of operands; "..." repeats the last, "command" ends the options.
@NAME@_about() {
    case $1 in
@CASES@
    esac
}

# Prints names of things in the store: KIND [--root DIR]
@NAME@_names() {
    local kind=$1 name tag rest
    shift
    case $kind in
        image)
            pybuild images "$@" 2>/dev/null | while read -r name tag rest; do
                [[ $name == REPOSITORY || $name == '<none>' ]] || printf '%s\n' "$name:$tag"
            done
            ;;
        container) pyrun ps -a --format '{{.Names}}' "$@" 2>/dev/null ;;
        volume) pyrun volume ls -q "$@" 2>/dev/null ;;
        secret) pyrun secret ls --format '{{.Name}}' "$@" 2>/dev/null ;;
        id) pyrun oci list -q "$@" 2>/dev/null ;;
    esac
}

# Adds to found what a word can become: KINDS WORD BEFORE; uses store.
@NAME@_find() {
    local kind line kinds
    IFS='|' read -ra kinds <<<"$1"
    for kind in "${kinds[@]}"; do
        while IFS= read -r line; do
            [[ $line ]] && found+=("$3$line")
        done < <(
            case $kind in
                file) compgen -f -- "$2" ;;
                directory) compgen -d -- "$2" ;;
                =*) compgen -W "${kind//[=,]/ }" -- "$2" ;;
                # compgen -W would expand what is in a name.
                *)
                    @NAME@_names "${kind/#inside/container}" "${store[@]}" |
                        while IFS= read -r line; do
                            [[ $kind == inside ]] && line+=:
                            [[ $line == "$2"* ]] && printf '%s\n' "$line"
                        done
                    ;;
            esac
        )
        case $kind in
            file | directory) compopt -o filenames 2>/dev/null ;;
            inside) compopt -o nospace 2>/dev/null ;;
        esac
    done
}

@NAME@() {
    local options='' verbs='' operands='' key='' option='' ended='' anywhere=@ANYWHERE@
    local current word kind index head mark
    local -a words kinds store=() found=()
    local -i count=0
    # Not COMP_WORDS: bash takes names apart at each colon.
    read -ra words <<<"${COMP_LINE:0:COMP_POINT}"
    [[ ${COMP_LINE:0:COMP_POINT} == *[[:space:]] ]] && words+=('')
    current=${words[-1]}
    @NAME@_about ''
    for ((index = 1; index < ${#words[@]} - 1; index++)); do
        word=${words[index]}
        if [[ $option ]]; then
            [[ $option == --root ]] && store=(--root "$word")
            option=''
        elif [[ $word == -- && ! $ended ]]; then
            ended=yes
        elif [[ $word == -?* && ! $ended ]]; then
            [[ $word == --root=* ]] && store=(--root "${word#--root=}")
            [[ " $options " == *" $word="* ]] && option=$word
        elif ((count == 0)) && [[ $word && " $verbs " == *" $word "* && ! $ended ]] &&
            [[ $key || index -eq 1 || $anywhere ]]; then
            key=${key:+$key }$word
            @NAME@_about "$key"
        else
            count+=1
            [[ " $operands " == *" command "* ]] && ended=yes
        fi
    done

    if [[ ! $option && $current == --*=* && ! $ended ]]; then
        option=${current%%=*}
        head=$option=
    fi
    if [[ $option ]]; then
        for word in $options; do
            [[ $word == "$option="* ]] &&
                @NAME@_find "${word#"$option="}" "${current#"$head"}" "$head"
        done
    elif [[ $current == -* && ! $ended ]]; then
        for word in $options; do
            [[ ${word%%=*} == "$current"* ]] && found+=("${word%%=*}")
        done
    else
        ((count == 0)) && [[ $verbs && ! $ended ]] &&
            [[ $key || ${#words[@]} -eq 2 || $anywhere ]] &&
            @NAME@_find "=${verbs// /,}" "$current" ''
        read -ra kinds <<<"$operands"
        kind=${kinds[count]-}
        if ((${#kinds[@]} > 1)) && [[ ${kinds[-1]} == ... ]] && ((count >= ${#kinds[@]} - 1)); then
            kind=${kinds[-2]}
        fi
        [[ $kind && $kind != command ]] && @NAME@_find "$kind" "$current" ''
    fi

    # Readline puts what we say after the last of these.
    head=''
    for mark in : =; do
        if [[ $COMP_WORDBREAKS == *"$mark"* && $current == *"$mark"* ]]; then
            word=${current%"${current##*"$mark"}"}
            ((${#word} > ${#head})) && head=$word
        fi
    done
    COMPREPLY=("${found[@]#"$head"}")
}

complete -F @NAME@ @PROGRAM@
"""


def bash_completions() -> dict[str, str]:
    """The scripts: name of the program -> text."""
    return {program: _script(program) for program in PROGRAMS}


def _script(program: str) -> str:
    tree = tree_of(program)
    cases = "\n".join(_case(key, command, tree) for key, command in tree.items())
    words = {
        "@PROGRAM@": program,
        "@MADE@": MADE,
        "@CASES@": cases,
        "@NAME@": f"_{program.replace('-', '_')}",
        "@ANYWHERE@": "yes" if program == "pyrun-oci" else "''",
    }
    text = _SCRIPT
    for mark, word in words.items():
        text = text.replace(mark, word)
    return text


def _case(key: str, command: Command, tree: dict[str, Command]) -> str:
    options = " ".join(
        name if option.takes is None else f"{name}={option.kind}"
        for option in command.options
        for name in option.names
    )
    kinds, repeats, follows = operand_kinds(command)
    operands = " ".join([*kinds, *(["..."] if repeats else []), *(["command"] if follows else [])])
    verbs = " ".join(children(tree, key))
    return (
        f"        '{key}')\n"
        f"            options='{options}'\n"
        f"            verbs='{verbs}'\n"
        f"            operands='{operands}'\n"
        f"            ;;"
    )
