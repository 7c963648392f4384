"""Logs: bounded files, and what `pyrun logs` makes of them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from runtime.engine.log_reader import LogReader
from runtime.engine.logfile import LogWriter
from tests.runtime.engine.engine_calls import Engine


def _texts(reader: LogReader) -> list[str]:
    return [entry.text.decode() for entry in reader.entries()]


def test_a_log_has_no_more_than_its_files(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), 1000, 3)
    for number in range(500):
        writer.write(0, b"line %d\n" % number)
    writer.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    texts = _texts(LogReader(str(tmp_path), 3))
    assert texts == [f"line {number}" for number in range(500 - len(texts), 500)]
    assert len(texts) > 40


@pytest.mark.parametrize("files", [1, 2, 5])
def test_a_reader_follows_over_rotated_files_without_a_gap(tmp_path: Path, files: int) -> None:
    writer = LogWriter(str(tmp_path), 400, files)
    reader = LogReader(str(tmp_path), files)
    found = []
    for number in range(300):
        writer.write(number % 2, b"line %d\n" % number)
        if number % 3 == 0:  # at most one rotation between two looks
            found += _texts(reader)
    writer.close()
    found += _texts(reader)
    assert found == [f"line {number}" for number in range(300)]


def test_who_reads_too_slowly_goes_on_with_the_oldest_that_there_is(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), 400, 2)
    reader = LogReader(str(tmp_path), 2)
    writer.write(0, b"first\n")
    assert _texts(reader) == ["first"]
    for number in range(300):
        writer.write(0, b"line %d\n" % number)
    numbers = [int(text.split()[1]) for text in _texts(reader)]
    assert numbers == sorted(set(numbers))
    assert numbers[-10:] == list(range(290, 300))
    assert len(numbers) < 100


def test_much_at_once_is_bounded_as_well(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), 1000, 2)
    writer.write(0, b"".join(b"line %d\n" % number for number in range(1000)))
    writer.close()
    assert [path.stat().st_size <= 1000 for path in tmp_path.iterdir()] == [True, True]
    assert _texts(LogReader(str(tmp_path), 2))[-1] == "line 999"


def test_a_line_without_an_end_and_a_long_one_are_whole(engine: Engine) -> None:
    script = "head -c 40000 /dev/zero | tr '\\0' x; echo; printf end"
    identity = engine.background(script)
    engine.done("wait", identity)
    assert engine("logs", identity).stdout == f"{'x' * 40000}\nend"
    assert engine("logs", "-n", "2", identity).stdout == f"{'x' * 40000}\nend"
    stamped = engine("logs", "-t", identity).stdout
    assert len(re.findall(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{9}Z ", stamped)) == 2


def test_limits_of_a_log_are_kept(engine: Engine) -> None:
    limits = ("--log-opt", "max-size=2k", "--log-opt", "max-file=2")
    identity = engine.background(
        "i=0; while [ $i -lt 300 ]; do echo n$i; i=$((i+1)); done", *limits
    )
    engine.done("wait", identity)
    files = sorted(engine.folder(identity).glob("log*"))
    assert [path.name for path in files] == ["log", "log.1"]
    lines = engine("logs", identity).stdout.splitlines()
    assert lines == [f"n{number}" for number in range(300 - len(lines), 300)]
    assert engine("logs", "-n", "3", identity).stdout == "n297\nn298\nn299\n"
    assert engine("logs", "-n", "0", identity).stdout == ""


def test_since_and_until_cut_it(engine: Engine) -> None:
    identity = engine.background("echo a; sleep 0.3; echo b; sleep 0.3; echo c")
    engine.done("wait", identity)
    times = [line.split()[0] for line in engine("logs", "-t", identity).stdout.splitlines()]
    assert engine("logs", "--since", times[1], identity).stdout == "b\nc\n"
    assert engine("logs", "--until", times[1], identity).stdout == "a\nb\n"
    assert engine("logs", "--since", "10m", identity).stdout == "a\nb\nc\n"
    assert engine("logs", "--since", "0s", identity).stdout == ""
    assert engine("logs", "--since", "soon", identity).status == 125


def test_following_ends_with_the_container_and_crosses_rotations(everyones: Engine) -> None:
    limits = ("--log-opt", "max-size=1500", "--log-opt", "max-file=5")
    script = "i=0; while [ $i -lt 100 ]; do echo n$i; i=$((i+1)); sleep 0.01; done; echo e >&2"
    identity = everyones.background(script, *limits)
    process = everyones.popen(
        "logs", "-f", identity, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = process.communicate(timeout=60)
    assert out.decode().split() == [f"n{number}" for number in range(100)]
    assert (err, process.returncode) == (b"e\n", 0)


def test_following_shows_what_is_said_at_once(engine: Engine) -> None:
    identity = engine.background("echo a; while [ ! -e /go ]; do sleep 0.05; done; echo b")
    engine.says(identity, "a")
    process = engine.popen("logs", "-f", "--names", identity, stdout=subprocess.PIPE)
    assert process.stdout is not None
    name = engine.file(identity, "record.json")["name"]
    assert process.stdout.readline() == f"{name} a\n".encode()
    pid = engine.file(identity, "run.json")["pid"]
    Path(f"/proc/{pid}/root/go").touch()
    assert process.communicate(timeout=20)[0] == f"{name} b\n".encode()


def test_a_reader_who_leaves_is_no_error(engine: Engine) -> None:
    identity = engine.background("while :; do echo yes; sleep 0.01; done")
    process = engine.popen("logs", "-f", identity, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"yes\n"
    process.stdout.close()
    with process.stderr as errors:
        assert errors.read() == b""
    assert process.wait(20) == 141
