"""pyrun's command line, as docker and podman spell theirs."""

from __future__ import annotations

import pytest

from runtime.command_line import CommandLine
from runtime.errors import UsageError


def test_options_end_at_the_image() -> None:
    line = CommandLine(["-i", "image.tar", "ls", "-t", "--read-only"])
    assert line.options.command == ("ls", "-t", "--read-only")
    assert (line.options.interactive, line.options.terminal) == (True, False)


def test_a_double_dash_ends_options_before_the_image() -> None:
    line = CommandLine(["--", "-odd-name.tar", "ls"])
    assert (line.image, line.options.command) == ("-odd-name.tar", ("ls",))


@pytest.mark.parametrize(
    "spelled",
    [["-e", "A=b"], ["-eA=b"], ["-e=A=b"], ["--env", "A=b"], ["--env=A=b"], ["-ieA=b"]],
)
def test_an_option_and_its_value_may_be_joined_or_not(spelled: list[str]) -> None:
    assert CommandLine([*spelled, "image"]).options.env == ("A=b",)


def test_short_flags_may_be_joined() -> None:
    options = CommandLine(["-it", "image"]).options
    assert options.interactive
    assert options.terminal


def test_of_a_repeated_option_the_last_counts_and_lists_collect() -> None:
    options = CommandLine(["-w", "/a", "-w", "/b", "-e", "A=1", "-e", "B=2", "image"]).options
    assert (options.working_dir, options.env) == ("/b", ("A=1", "B=2"))


def test_a_flag_may_be_turned_off() -> None:
    assert not CommandLine(["--read-only=false", "image"]).options.readonly


def test_an_empty_entrypoint_is_one_of_no_words() -> None:
    assert CommandLine(["--entrypoint", "", "image"]).options.entrypoint == ()
    assert CommandLine(["image"]).options.entrypoint is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no image given"),
        (["-i"], "no image given"),
        (["--hostnme", "x", "image"], "unknown option --hostnme"),
        (["-Z", "image"], "unknown option -Z"),
        (["-e"], "-e needs a value"),
        (["--workdir"], "--workdir needs a value"),
        (["--read-only=maybe", "image"], "--read-only: 'maybe' is not true or false"),
        (["--network", "bridge0", "image"], "--network 'bridge0': none or host expected"),
        (["--security-opt", "apparmor=x", "image"], "--security-opt 'apparmor=x'"),
    ],
)
def test_a_wrong_command_line_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        CommandLine(arguments)
    assert caught.value.message.startswith(message)


def test_a_mistyped_option_gets_a_suggestion() -> None:
    with pytest.raises(UsageError) as caught:
        CommandLine(["--hostnme", "x", "image"])
    assert caught.value.hint == "did you mean --hostname?"


@pytest.mark.parametrize("value", ["true", "", "false"])
def test_no_new_privileges_stays_unless_it_is_said_to_be_false(value: str) -> None:
    option = f"no-new-privileges{'=' if value else ''}{value}"
    line = CommandLine(["--security-opt", option, "image"])
    assert line.options.new_privileges == (value == "false")
