"""Golden tables: a line in a file of `cases-values` or `cases-expansion` is a test.

text => value          text !! message
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from grammar import ContainerfileError, Copy, Expose, Run, expand_word, parse, values
from grammar.record import fields_of
from grammar.values import InvalidValue

HERE = Path(__file__).parent


def _lines(folder: str) -> list[tuple[str, str]]:
    return [
        (file.name, line)
        for file in sorted((HERE / folder).iterdir())
        for line in file.read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]


def _signal(text: str) -> str:
    signal = values.parse_signal(text)
    return f"{signal.number} {signal.written}"


def _mode(text: str) -> str:
    mode, _, file = text.partition(" | ")
    before = int(file.removeprefix("d"), 8)
    return f"{values.parse_mode(mode).apply(before, is_directory=file[0] == 'd'):o}"


def _owner(text: str) -> str:
    owner = values.parse_owner(text)
    return f"{owner.user!r} {owner.group!r}"


def _checksum(text: str) -> str:
    checksum = values.parse_checksum(text)
    return f"{checksum.algorithm} {checksum.hex}"


def _git(text: str) -> str:
    reference = values.parse_git_reference(text)
    if reference is None:
        return "None"
    return f"{reference.url} {reference.ref or '-'} {reference.subdir or '-'}"


def _device(text: str) -> str:
    device = values.parse_device(text)
    return f"{device.name} {device.required}"


def _mount(text: str) -> str:
    mount = values.parse_mount(text)
    shown = [type(mount).__name__]
    defaults = type(mount)._defaults
    for name, value in fields_of(mount):
        if name not in defaults or value != defaults[name]:
            shown.append(f"{name}={value!r}")
    return " ".join(shown)


SHOWN: dict[str, Callable[[str], str]] = {
    "checksum": _checksum,
    "device": _device,
    "git": _git,
    "mode": _mode,
    "mount": _mount,
    "owner": _owner,
    "platform": lambda text: str(values.parse_platform(text)),
    "port": lambda text: " ".join(values.parse_port(text)),
    "signal": _signal,
}


@pytest.mark.parametrize(("kind", "line"), _lines("cases-values"))
def test_a_value_means_what_the_table_says(kind: str, line: str) -> None:
    if " !! " in line:
        text, message = line.split(" !! ")
        with pytest.raises(InvalidValue) as caught:
            SHOWN[kind](text)
        assert caught.value.message == message
        assert 0 <= caught.value.start <= caught.value.end <= len(text)
        return
    text, value = line.split(" => ")
    assert SHOWN[kind](text) == value


@pytest.mark.parametrize(("topic", "line"), _lines("cases-expansion"))
def test_a_word_expands_to_what_the_table_says(topic: str, line: str) -> None:
    word, environment, value = (part.strip() for part in line.split(" |", 2))
    if value.startswith("!! "):
        with pytest.raises(ContainerfileError) as caught:
            expand_word(word, environment.split())
        assert caught.value.message == value.removeprefix("!! ")
    else:
        assert expand_word(word, environment.split()) == value


def test_an_assignment_without_an_equals_sign_is_refused() -> None:
    with pytest.raises(ContainerfileError, match="an assignment is written NAME=VALUE") as caught:
        expand_word("$a", ["a"])
    assert caught.value.code == "bad-assignment"


def test_a_value_with_a_variable_is_checked_after_expansion() -> None:
    containerfile = parse("FROM a\nCOPY --chmod=$m a b\n", name="f")
    (copy,) = containerfile.stages[0].instructions
    assert isinstance(copy, Copy)
    assert copy.chmod is not None
    mode = containerfile.value(copy.chmod, {"m": "644"}, values.parse_mode)
    assert mode == values.OctalMode(0o644)
    with pytest.raises(ContainerfileError) as caught:
        containerfile.value(copy.chmod, {"m": "9"}, values.parse_mode)
    assert (caught.value.code, caught.value.span.column) == ("bad-mode", 14)


def test_a_comma_in_a_variable_does_not_add_an_option_to_a_mount() -> None:
    containerfile = parse("FROM a\nRUN --mount=type=cache,target=/c,id=$i x\n", name="f")
    (run,) = containerfile.stages[0].instructions
    assert isinstance(run, Run)
    mount = containerfile.mount(run.mounts[0], {"i": "x,from=evil"})
    assert mount == values.CacheMount(target="/c", id="x,from=evil")


def test_an_error_in_a_mount_points_at_its_option_over_a_continuation() -> None:
    containerfile = parse("FROM a\nRUN --mount=type=cache,\\\ntarget=$t,mode=$m x\n", name="f")
    (run,) = containerfile.stages[0].instructions
    assert isinstance(run, Run)
    with pytest.raises(ContainerfileError) as caught:
        containerfile.mount(run.mounts[0], {"t": "/a", "m": "9"})
    span = caught.value.span
    assert (span.line, containerfile.source.slice(span)) == (3, "$m")


def test_ports_of_an_expanded_word_are_checked_one_by_one() -> None:
    containerfile = parse("FROM a\nEXPOSE $p\n", name="f")
    (expose,) = containerfile.stages[0].instructions
    assert isinstance(expose, Expose)
    words = containerfile.expand_words(expose.ports[0], {"p": "80 81/udp"})
    assert [values.parse_port(word) for word in words] == [("80/tcp",), ("81/udp",)]
