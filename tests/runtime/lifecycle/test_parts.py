"""The parts that only compute: options, sizes, ids, texts."""

from __future__ import annotations

import json
import signal
import struct
from pathlib import Path

import pytest

from runtime.errors import ContainerError, UsageError
from runtime.lifecycle.cli import signal_number
from runtime.lifecycle.command_line import number, parse
from runtime.lifecycle.exec_options import exec_options, exec_process
from runtime.lifecycle.limits import asked_limits
from runtime.lifecycle.state import ContainerDirectory, State, check_id
from runtime.limits import rlimits, size
from runtime.oci.json_text import to_text
from runtime.oci.spec import IOPriority, Scheduler, User
from runtime.sandbox import syscalls
from runtime.sandbox.mount_options import known_options, sort_options
from runtime.sandbox.running import exit_status
from runtime.sandbox.scheduling import attributes, io_priority_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@pytest.mark.parametrize(
    ("words", "to_set", "to_clear"),
    [
        (("ro",), syscalls.MOUNT_ATTR_RDONLY, 0),
        (("ro", "rw"), 0, syscalls.MOUNT_ATTR_RDONLY),
        (("rw", "ro"), syscalls.MOUNT_ATTR_RDONLY, 0),
        (("nosuid", "nodev"), syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV, 0),
        (("noatime",), syscalls.MOUNT_ATTR_NOATIME, syscalls.MOUNT_ATTR_ATIME),
        (("noatime", "relatime"), 0, syscalls.MOUNT_ATTR_ATIME),
        (("defaults", "async", "norelatime"), 0, 0),
    ],
)
def test_of_opposite_mount_options_the_last_one_counts(
    words: tuple[str, ...], to_set: int, to_clear: int
) -> None:
    options = sort_options(words)
    # The mask of access times is set in and cleared from the same bits.
    assert (options.set_attributes, options.clear_attributes & ~options.set_attributes) == (
        to_set,
        to_clear & ~to_set,
    )
    assert (options.set_below, options.clear_below, options.data) == (0, 0, ())


def test_recursive_forms_are_for_what_is_mounted_below() -> None:
    options = sort_options(("rro", "rnosuid", "rsuid", "rbind", "rslave"))
    assert options.set_below == syscalls.MOUNT_ATTR_RDONLY
    assert options.clear_below == syscalls.MOUNT_ATTR_NOSUID
    assert (options.bind, options.recursive) == (True, True)
    assert (options.propagation, options.propagation_below) == (syscalls.MS_SLAVE, True)
    assert options.set_attributes == 0


def test_words_that_are_not_known_are_the_filesystems() -> None:
    options = sort_options(("mode=755", "size=1k", "newinstance", "x=", "a=b=c", "idmap"))
    assert options.data == (
        *(("mode", "755"), ("size", "1k"), ("newinstance", None)),
        *(("x", ""), ("a", "b=c")),
    )
    assert options.idmap == "idmap"


def test_every_word_that_features_tells_of_is_known_here() -> None:
    for word in known_options():
        assert sort_options((word,)).data == (), word


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0), ("512", 512), ("1b", 1), ("1k", 1024), ("1K", 1024), ("2m", 2 << 20),
        ("1.5g", 3 << 29), ("1t", 1 << 40), ("-1", -1), ("0.5k", 512),
    ],
)  # fmt: skip
def test_a_size_is_bytes_with_a_letter(text: str, expected: int) -> None:
    assert size(text, "--memory") == expected


@pytest.mark.parametrize("text", ["", "m", "1x", "1mm", "-2", "1e3", "0x10", " 1", "1.2.3"])
def test_what_is_no_size_is_named(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        size(text, "--memory")
    assert caught.value.message == f"--memory {text!r}: bytes expected, such as 512m"


def test_ulimits_have_a_soft_and_a_hard_value() -> None:
    found = rlimits(("nofile=1:2", "core=0", "nproc=-1", "stack=1:unlimited"))
    assert [(x.type, x.soft, x.hard) for x in found] == [
        ("RLIMIT_NOFILE", 1, 2),
        ("RLIMIT_CORE", 0, 0),
        ("RLIMIT_NPROC", 2**64 - 1, 2**64 - 1),
        ("RLIMIT_STACK", 1, 2**64 - 1),
    ]


@pytest.mark.parametrize("text", ["nofile", "=1", "moon=1", "infinity=1", "nofile=", "nofile=a:1"])
def test_what_is_no_ulimit_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="--ulimit"):
        rlimits((text,))


@pytest.mark.parametrize("identity", ["a", "A-1_2+3.x", "_x", "0", "x" * 255])
def test_a_container_id_may_be(identity: str) -> None:
    check_id(identity)


@pytest.mark.parametrize("identity", ["", ".", "..", ".x", "a/b", "a b", "x" * 256, "é", "a\n"])
def test_a_container_id_may_not_be(identity: str) -> None:
    with pytest.raises(ContainerError, match="is no container id"):
        check_id(identity)


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 0, -5, 2**63, 1.5, "", 'quote" back\\slash', "\n\t\0\x1f", "é☃😀", [],
        {}, [1, [2, {"a": None}]], {"a b": [True], "": {}}, "\ud800",
    ],
)  # fmt: skip
def test_json_text_is_read_back_as_it_was(value: object) -> None:
    assert json.loads(to_text(value)) == value


def test_what_json_has_no_word_for_is_our_own_fault() -> None:
    with pytest.raises(TypeError, match="not a JSON value"):
        to_text({"a": {1}})


def test_scheduling_attributes_are_the_kernels_struct() -> None:
    scheduler = Scheduler(
        policy="SCHED_DEADLINE", flags=("SCHED_FLAG_RESET_ON_FORK",), nice=-3, priority=7,
        runtime=10, deadline=20, period=30,
    )  # fmt: skip
    expected = (48, 6, 1, -3, 7, 10, 20, 30)
    assert struct.unpack("=IIQiIQQQ", attributes(scheduler)) == expected


def test_an_io_priority_is_class_and_level() -> None:
    assert io_priority_number(IOPriority(io_class="IOPRIO_CLASS_RT", priority=3)) == 1 << 13 | 3
    assert io_priority_number(IOPriority(io_class="IOPRIO_CLASS_IDLE")) == 3 << 13


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9", 9),
        ("KILL", 9),
        ("SIGKILL", 9),
        ("sigterm", 15),
        ("0", 0),
        ("RTMIN+3", 37),
        ("64", 64),
    ],
)
def test_a_signal_is_a_name_or_a_number(text: str, expected: int) -> None:
    assert signal_number(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SIG",
        "65",
        "-1",
        "999999999999",
        "NOTHING",
        "DFL",
        "_DFL",
        "_BLOCK",
        "RTMIN+99",
        "9" * 5000,
    ],
)
def test_what_is_no_signal_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="is no signal"):
        signal_number(text)


@pytest.mark.parametrize("status", [0, 1, 255])
def test_an_exit_status_is_as_a_shell_has_it(status: int) -> None:
    assert exit_status(status << 8) == status
    assert exit_status(signal.SIGKILL) == 137


def test_global_options_stand_before_the_verb_and_others_behind() -> None:
    line = parse(["--root", "/r", "--log=/l", "--debug", "create", "-b", "B", "--init", "id"])
    assert (line.verb, line.operands) == ("create", ("id",))
    assert line.settings["root"] == "/r"
    assert line.fields["bundle"] == "B"
    assert line.fields["init"] is True
    with pytest.raises(UsageError, match="unknown option --root"):
        parse(["create", "--root", "/r", "id"])


def test_options_may_follow_the_id_but_not_that_of_exec() -> None:
    assert parse(["delete", "id", "--force"]).fields == {"force": True}
    line = parse(["exec", "-t", "id", "ls", "--all", "-t"])
    assert line.operands == ("id", "ls", "--all", "-t")
    assert line.fields == {"tty": True}


@pytest.mark.parametrize("text", ["", "x", "1.0", "--1", "1" * 30, "\uff11"])
def test_what_is_no_number_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"--x .*: a number expected"):
        number(text, "--x")


def test_limits_of_update_are_the_specifications_members() -> None:
    found = asked_limits({"memory.limit": "1g", "cpu.cpus": "0-3", "pids.limit": "-1"})
    assert found.memory is not None
    assert found.cpu is not None
    assert (found.memory.limit, found.cpu.cpus, found.pids_limit) == (1 << 30, "0-3", -1)
    with pytest.raises(UsageError, match="update: no limit given"):
        asked_limits({})


@pytest.fixture
def recorded(tmp_path: Path) -> ContainerDirectory:
    """A container's directory, with a configuration."""
    directory = ContainerDirectory(str(tmp_path), "box")
    directory.make()
    process: dict[str, Any] = {
        "args": ["sh"], "cwd": "/home", "env": ["A=1"], "user": {"uid": 3, "gid": 4},
        "capabilities": {"bounding": ["CAP_CHOWN"]}, "terminal": True,
    }  # fmt: skip
    config = {"ociVersion": "1.0.0", "process": process, "root": {"path": "r"}, "linux": {}}
    directory.write_file("config.json", json.dumps(config).encode())
    return directory


def test_exec_takes_the_containers_process_with_changes(recorded: ContainerDirectory) -> None:
    process = exec_process(recorded, parse(["exec", "-e", "B=2", "box", "ls", "-l"]))
    assert process.args == ("ls", "-l")
    assert process.env == ("A=1", "B=2")
    assert (process.cwd, process.user) == ("/home", User(uid=3, gid=4))
    assert process.terminal is False
    assert process.capabilities.bounding == {"CHOWN"}


def test_exec_options_are_numbers_and_paths() -> None:
    options = exec_options(parse(["exec", "-d", "--pid-file", "/p", "--preserve-fds=2", "x", "y"]))
    assert (options.detach, options.pid_file, options.preserved_fds) == (True, "/p", 2)


def test_a_state_is_read_as_it_was_written(recorded: ContainerDirectory) -> None:
    state = State(
        id="box", pid=1, start_time=2, bundle="/b", rootfs="/r", created="now", uid=0,
        annotations=(("a", "1"), ("b", "\x1b")), group={"places": []},
    )  # fmt: skip
    recorded.write(state)
    assert recorded.read() == state
    assert state.is_alive is False  # the time is not that of the machine's first process
