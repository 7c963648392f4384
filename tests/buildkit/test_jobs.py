"""Independent stages are built at the same time, the same step is done once."""

from __future__ import annotations

import os
import signal
import socket
import time

import pytest

from tests.buildkit.support import SHELL, Pybuild, mounts, processes

BASE = SHELL.replace("FROM scratch", "FROM scratch AS base")


def _stages(*runs: str) -> str:
    """A Containerfile whose stages do these commands over one base; the last takes from all."""
    stages = [f"FROM base AS s{n}\nRUN {run}\n" for n, run in enumerate(runs)]
    copies = [f"COPY --from=s{n} /out /out{n}\n" for n in range(len(runs))]
    return f"{BASE}{''.join(stages)}FROM scratch\n{''.join(copies)}"


@pytest.fixture
def meeting() -> str:
    """Two commands for `_stages`, neither of which ends before the other runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    call = "sh -c 'until echo ho | nc -w 30 127.0.0.1 %d; do sleep 0.02; done' > /out"
    answer = "echo hi | nc -l -p %d -w 60 > /out"
    return _stages(answer % port, call % port)


# By chroot, in a plain container, one step is done at a time.
@pytest.mark.parametrize("anybody", ["root", "user"], indirect=True)
def test_independent_stages_run_at_the_same_time(anybody: Pybuild, meeting: str) -> None:
    image = anybody.build(meeting, "--jobs=2")
    assert image.read("out1") == b"hi\n"  # from a process of the other stage


def test_any_number_of_jobs_gives_the_same_image(anybody: Pybuild) -> None:
    text = _stages("echo 1 > /out", "echo 2 > /out", "sleep 0.1; echo 3 > /out")
    digests = {
        anybody.try_build(text, "--no-cache", f"--jobs={jobs}").stdout for jobs in (1, 2, 3, 0)
    }
    assert len(digests) == 1
    assert digests != {""}
    assert os.listdir(anybody.store / "tmp") == []


@pytest.mark.parametrize("cache", [(), ("--no-cache",)], ids=["cache", "no cache"])
def test_a_step_that_two_stages_have_is_done_once(
    anybody: Pybuild, cache: tuple[str, ...]
) -> None:
    text = _stages("head -c 8 /dev/urandom > /out", "head -c 8 /dev/urandom > /out")
    image = anybody.build(text, "--jobs=2", *cache)
    assert image.read("out0") == image.read("out1")


def test_a_linked_layer_that_two_stages_have_lies_over_both(anybody: Pybuild) -> None:
    anybody.add({"x": "linked"})
    stages = "".join(
        f"FROM base AS s{n}\nRUN echo {n} > /n\nCOPY --link x /x\nRUN cat /x /n > /out\n"
        for n in range(2)
    )
    text = f"{BASE}{stages}FROM scratch\nCOPY --from=s0 /out /0\nCOPY --from=s1 /out /1\n"
    image = anybody.build(text, "--jobs=2")
    assert (image.read("0"), image.read("1")) == (b"linked0\n", b"linked1\n")


def test_two_builds_at_once_do_the_same_step_once(anybody: Pybuild) -> None:
    text = f"{SHELL}RUN sleep 1; head -c 8 /dev/urandom > /out\n"
    anybody.build(SHELL)
    running = [anybody.start(text, "-o", f"{n}.tar") for n in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0], anybody.log
    assert len({(anybody.work / f"{n}.tar").read_bytes() for n in range(3)}) == 1
    assert os.listdir(anybody.store / "tmp") == []


def test_a_failed_stage_cancels_the_others_and_its_error_is_shown(pybuild: Pybuild) -> None:
    pybuild.build(SHELL)
    text = _stages("echo begun; sleep 1000", "sleep 0.3; echo the reason; exit 3")
    ended = pybuild.try_build(text, "--jobs=2")
    assert ended.status == 1
    assert "exited with status 3" in ended.stderr
    assert " > the reason" in ended.stderr
    assert " > begun" not in ended.stderr
    words = [line.split()[1] for line in ended.stderr.splitlines() if line.startswith("#")]
    assert (words.count("ERROR"), words.count("CANCELED")) == (1, 1)
    assert processes(pybuild.directory) == []
    assert mounts(pybuild.directory) == []
    assert os.listdir(pybuild.store / "tmp") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stages_at_work_are_stopped_together(anybody: Pybuild, number: int) -> None:
    anybody.build(SHELL)
    process = anybody.start(
        _stages(*(f"echo rea''dy; sleep 100{n}" for n in range(3))), "--jobs=3"
    )
    expected, until = 1 if anybody.launcher else 3, time.monotonic() + 60
    while anybody.log.count(" ready\n") < expected:
        assert process.poll() is None, anybody.log
        assert time.monotonic() < until, anybody.log
        time.sleep(0.01)
    os.killpg(process.pid, number)
    assert process.wait(30) == 128 + number
    assert processes(anybody.directory) == []
    assert os.listdir(anybody.store / "tmp") == []


def test_a_wrong_number_of_jobs_is_refused(pybuild: Pybuild) -> None:
    for wrong in ("-1", "many", "1.5"):
        ended = pybuild.try_build("FROM scratch\n", f"--jobs={wrong}")
        assert ended.status == 2
        assert f"--jobs {wrong!r}: a number expected" in ended.stderr
