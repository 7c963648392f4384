"""Tasks advance as what they wait for comes; what fails or is stopped leaves no process."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from buildkit.errors import BuildError, LocatedError
from buildkit.scheduler import Scheduler, Steps, Task, Work, value_of
from buildkit.worker import Output
from grammar import Span


def _silent(chunk: bytes) -> None:
    raise AssertionError(f"nobody said {chunk!r}")


def _in_worker(function: Any) -> Steps[Any]:
    return (yield from value_of(Work(lambda _: function(), _silent)))


def _run(*tasks: Task[Any], jobs: int = 4) -> list[Any]:
    Scheduler(jobs).run(tasks)
    return [task.value for task in tasks]


def _no_child_is_left() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


def _meet(mine: Path, other: Path) -> int:
    """Come, and wait until the other has come too; returns the process's id."""
    mine.touch()
    for _ in range(6000):
        if other.exists():
            return os.getpid()
        time.sleep(0.01)
    raise TimeoutError("the other one never came")


def test_work_is_done_in_another_process_and_its_value_comes_back() -> None:
    [(pid, value)] = _run(Task(_in_worker(lambda: (os.getpid(), {"a": b"\0"}))))
    assert value == {"a": b"\0"}
    assert pid != os.getpid()
    assert _no_child_is_left()


def test_two_pieces_of_work_meet(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    pids = _run(
        Task(_in_worker(lambda: _meet(a, b))), Task(_in_worker(lambda: _meet(b, a))), jobs=2
    )
    assert len({*pids, os.getpid()}) == 3


def test_no_more_than_the_allowed_jobs_are_at_work_at_once(tmp_path: Path) -> None:
    def alone(name: int) -> int:
        (tmp_path / str(name)).touch()
        time.sleep(0.02)
        seen = len(os.listdir(tmp_path))
        (tmp_path / str(name)).unlink()
        return seen

    tasks = [Task(_in_worker(lambda n=n: alone(n))) for n in range(6)]
    assert _run(*tasks, jobs=1) == [1] * 6
    assert max(_run(*(Task(_in_worker(lambda n=n: alone(n))) for n in range(6)), jobs=2)) <= 2


def test_tasks_wait_for_one_another_and_a_shared_one_is_done_once() -> None:
    begun = []

    def base() -> Steps[int]:
        begun.append("base")
        value: int = yield from _in_worker(lambda: 20)
        return value

    shared = Task(base())

    def above(number: int) -> Steps[int]:
        value: int = yield from value_of(shared)
        again: int = yield from value_of(shared)
        return number + value + again

    assert _run(Task(above(1)), Task(above(2))) == [41, 42]
    assert begun == ["base"]


def test_output_comes_while_the_work_goes_on(tmp_path: Path) -> None:
    heard = bytearray()
    seen = tmp_path / "seen"

    def hear(chunk: bytes) -> None:
        heard.extend(chunk)
        seen.touch()

    def talk(output: Output) -> None:
        output(b"first " * 50_000)
        _meet(tmp_path / "talker", seen)  # which it waits for
        output(b"last")

    def task() -> Steps[None]:
        return (yield from value_of(Work(talk, hear)))

    _run(Task(task()))
    assert heard == b"first " * 50_000 + b"last"


SPAN = Span(line=1, column=2, end_line=3, end_column=4)


@pytest.mark.parametrize(
    "error",
    [
        BuildError("what", hint="how"),
        LocatedError(BuildError("what", hint="how"), SPAN),
        FileNotFoundError(2, "No such file", "/x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_work_raises_is_raised_where_its_task_waits(error: Exception) -> None:
    def fail() -> None:
        raise error

    caught = []

    def task() -> Steps[None]:
        try:
            yield from _in_worker(fail)
        except Exception as found:
            caught.append(found)
            raise

    with pytest.raises(type(error)) as raised:
        _run(Task(task()))
    assert raised.value is caught[0]
    expected = {key: vars(error)[key] for key in vars(error) if key != "error"}
    found = vars(raised.value)
    assert {key: found[key] for key in expected if key != "__notes__"} == {
        key: expected[key] for key in expected if key != "__notes__"
    }
    if isinstance(raised.value, LocatedError):
        assert raised.value.error.hint == "how"
        assert raised.value.span == SPAN
    if isinstance(raised.value, OSError):
        assert raised.value.filename == "/x"
    assert _no_child_is_left()


def test_what_a_shared_task_raises_is_raised_in_who_waits_for_it() -> None:
    def fail() -> None:
        raise BuildError("no")

    shared = Task(_in_worker(fail))

    def above() -> Steps[None]:
        try:
            yield from value_of(shared)
        except BuildError as error:
            raise LocatedError(error, SPAN) from error

    with pytest.raises(LocatedError, match="no"):
        _run(Task(above()), Task(above()))
    assert _no_child_is_left()


def test_an_exception_that_cannot_be_handed_over_still_says_what_it_was() -> None:
    def fail() -> None:
        class OddError(Exception):
            pass

        raise OddError("strange")

    with pytest.raises(RuntimeError, match="strange"):
        _run(Task(_in_worker(fail)))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGALRM])
def test_a_process_that_dies_is_an_error(number: int) -> None:
    with pytest.raises(BuildError, match=f"status {128 + number}"):
        _run(Task(_in_worker(lambda: os.kill(os.getpid(), number))))
    assert _no_child_is_left()


def test_a_failure_ends_the_other_work_which_cleans_up(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()

    def wait() -> None:
        try:
            (tmp_path / "work/begun").touch()
            time.sleep(600)
        finally:
            (tmp_path / "work/begun").unlink()
            (tmp_path / "cleaned").touch()

    def fail() -> None:
        _meet(tmp_path / "failing", tmp_path / "work/begun")
        raise BuildError("no")

    ended: list[str] = []

    def task() -> Steps[None]:
        try:
            yield from _in_worker(wait)
        except GeneratorExit:
            ended.append("closed")
            raise

    with pytest.raises(BuildError, match="no"):
        _run(Task(task()), Task(_in_worker(fail)))
    assert ended == ["closed"]
    assert os.listdir(tmp_path / "work") == []
    assert (tmp_path / "cleaned").exists()
    assert _no_child_is_left()


def test_work_that_waits_to_talk_is_ended_too(tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def slow(_: bytes) -> None:
        begun.touch()
        raise BuildError("the listener failed")

    def talk(output: Output) -> None:
        while True:
            output(b"x" * 100_000)

    def task() -> Steps[None]:
        return (yield from value_of(Work(talk, slow)))

    with pytest.raises(BuildError, match="listener"):
        _run(Task(task()))
    assert begun.exists()
    assert _no_child_is_left()
