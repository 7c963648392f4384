"""pyrun's exit status, as docker's and podman's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import (
    Caller,
    Result,
    busybox_layer,
    directory,
    file,
    make_image,
    run_pyrun,
    symlink,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Shell = Callable[..., Result]
    Pyrun = Callable[..., Result]


@pytest.mark.parametrize("status", [0, 1, 42, 125, 127, 128, 255])
def test_is_the_commands_own(status: int, shell: Shell) -> None:
    assert shell(f"exit {status}") == Result(status, "", "")


@pytest.mark.parametrize("number", [1, 6, 9, 11, 15])
def test_is_128_plus_the_signal_that_ended_a_child_of_the_shell(number: int, shell: Shell) -> None:
    assert shell(f"sh -c 'kill -{number} $$'; exit $?").status == 128 + number


def test_is_139_when_the_first_process_crashes(public: Path, store: Path, caller: Caller) -> None:
    # A signal that the kernel raises reaches PID 1 as well: an ELF with nothing at its entry.
    elf = bytes.fromhex("7f454c4602010100") + bytes(8) + bytes.fromhex("02003e0001000000")
    elf += (0x400000 + 0x1000000).to_bytes(8, "little") + (64).to_bytes(8, "little") + bytes(8)
    elf += bytes.fromhex("00000000") + bytes.fromhex("4000380001000000") + bytes(4)
    elf += bytes.fromhex("0100000005000000") + bytes(8) + (0x400000).to_bytes(8, "little") * 2
    elf += (120).to_bytes(8, "little") * 2 + (0x1000).to_bytes(8, "little")
    image = make_image(public / "i.tar", [[file("crash", elf, mode=0o755)]], {"Cmd": ["/crash"]})
    assert run_pyrun(image, store=store, caller=caller) == Result(139, "", "")


STRANGE = [
    *busybox_layer(),
    file("text", "no program", mode=0o755),
    file("unreadable", "#!/bin/sh\n", mode=0o644),
    file("script", "#!/bin/sh\nexit 7\n", mode=0o755),
    file("orphan", "#!/missing/interpreter\n", mode=0o755),
    file("empty", "", mode=0o755),
    directory("bin/folder"),
    symlink("dangling", "/missing"),
    symlink("circle", "circle"),
]  # fmt: skip


@pytest.mark.parametrize("caller", ["root", "user"], indirect=True)
@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (["missing"], 127, "missing: executable file not found in PATH"),
        (["/missing"], 127, "/missing: no such file"),
        (["/bin/busybox/x"], 127, "/bin/busybox/x: no such file"),
        (["./missing"], 127, "./missing: no such file"),
        ([""], 127, "the command is an empty string"),
        (["/orphan"], 127, "/orphan: exists, but its interpreter"),
        (["/dangling"], 127, "/dangling: exists, but"),
        (["/circle"], 126, "/circle: Too many levels of symbolic links"),
        (["/unreadable"], 126, "/unreadable: Permission denied"),
        (["/etc"], 126, "/etc: Permission denied"),
        (["folder"], 126, "folder: Permission denied"),
        (["/text"], 126, "/text: not a program of this machine"),
        (["/empty"], 126, "/empty: not a program of this machine"),
    ],
)
def test_tells_what_cannot_be_executed(
    argv: list[str], status: int, message: str, public: Path, store: Path, caller: Caller
) -> None:
    image = make_image(public / "i.tar", [STRANGE], {"Env": ["PATH=/sbin:/bin"]})
    result = run_pyrun(image, *argv, store=store, caller=caller)
    assert (result.status, result.stdout) == (status, "")
    assert result.stderr.startswith(f"pyrun: {message}")
    assert result.stderr.count("\n") == 1


def test_of_a_script_is_the_scripts(public: Path, store: Path, caller: Caller) -> None:
    image = make_image(public / "i.tar", [STRANGE])
    assert run_pyrun(image, "/script", store=store, caller=caller).status == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "pyrun: no image given\nhint: pyrun --help\n"),
        (["--no-such", "x"], "pyrun: unknown option --no-such\n"),
        (["-w", "x", "IMAGE", "true"], "pyrun: -w 'x': an absolute path expected\n"),
        (["--cap-add", "FLY", "IMAGE", "true"], "pyrun: unknown capability 'FLY'\n"),
        (["--entrypoint", "", "IMAGE"], "pyrun: no command: "),
    ],
)
def test_is_125_for_what_pyrun_itself_refuses(
    arguments: list[str], message: str, pyrun: Pyrun, busybox: Path
) -> None:
    result = pyrun(*(busybox if word == "IMAGE" else word for word in arguments))
    assert (result.status, result.stdout) == (125, "")
    assert result.stderr.startswith(message)


@pytest.mark.parametrize(
    ("option", "begins"),
    [("--help", "usage: pyrun [OPTIONS] IMAGE [COMMAND...]\n"), ("--version", "pyrun ")],
)
def test_is_0_for_help_and_version(option: str, begins: str, pyrun: Pyrun) -> None:
    result = pyrun(option)
    assert (result.status, result.stderr) == (0, "")
    assert result.stdout.startswith(begins)


def test_entrypoint_and_command_of_the_image_run(
    public: Path, store: Path, caller: Caller
) -> None:
    config = {"Entrypoint": ["/bin/echo", "a"], "Cmd": ["b"]}
    image = make_image(public / "i.tar", [busybox_layer()], config)

    def printed(*words: str | Path) -> str:
        return run_pyrun(*words, store=store, caller=caller).stdout

    assert printed(image) == "a b\n"
    assert printed(image, "c", "d") == "a c d\n"
    assert printed("--entrypoint", "/bin/printf", image, "x") == "x"
    assert printed("--entrypoint", "", image, "/bin/echo", "y") == "y\n"


@pytest.mark.parametrize("caller", ["root"], indirect=True)
@pytest.mark.parametrize(
    "config",
    [
        {"Env": ["A=\0"]},
        {"Env": ["A=\ud800"]},
        {"Env": ["=x"]},
        {"Cmd": ["/bin/sh", "\0"]},
        {"Cmd": ["/bin/echo", "\ud800"]},
        {"WorkingDir": "/x\0y"},
        {"WorkingDir": "/\ud800"},
        {"User": "a\0b"},
        {"User": "\ud800"},
    ],
)
def test_is_125_for_words_that_no_process_can_have(
    config: dict[str, object], public: Path, store: Path, caller: Caller
) -> None:
    image = make_image(public / "i.tar", [busybox_layer()], {"Cmd": ["/bin/true"]} | config)
    result = run_pyrun(image, store=store, caller=caller)
    assert result.status == 125
    assert result.stderr.startswith(f"pyrun: {image}: config")
    assert "Traceback" not in result.stderr


def test_an_image_of_a_hundred_and_thirty_layers_runs(
    public: Path, store: Path, caller: Caller
) -> None:
    layers = [[file(f"n/{number}", b"")] for number in range(129)]
    image = make_image(public / "i.tar", [busybox_layer(), *layers])
    result = run_pyrun(image, "/bin/ls", "/n", store=store, caller=caller)
    assert len(result.stdout.split()) == 129, result.stderr
