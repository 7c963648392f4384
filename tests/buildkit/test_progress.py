"""What a build shows of itself: plain lines, a picture on a terminal, BuildKit's events."""

from __future__ import annotations

import base64
import datetime
import json
import re
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from buildkit.counting import Count
from tests.buildkit.support import SHELL, Pybuild
from tests.buildkit.terminal import on_a_terminal
from tests.buildkit.web import Request, running_site

TEXT = f"""\
{SHELL}RUN for i in 1 2 3; do echo line $i; sleep 0.2; done
RUN printf 'a\\rb\\033[31mc\\n' && sleep 0.3
"""
FAILS = f"{SHELL}RUN echo said && exit 3\n"


def _on_a_terminal(
    pybuild: Pybuild,
    text: str,
    *words: str,
    columns: int = 80,
    rows: int = 24,
    env: dict[str, str] | None = None,
) -> tuple[int, str]:
    """Status, and all that a terminal of that size got."""
    pybuild.write(text)
    return on_a_terminal(pybuild, *words, pybuild.context, columns=columns, rows=rows, env=env)


class Screen:
    """What a terminal shows: the few sequences that are used here, and none beside them."""

    def __init__(self, text: str, columns: int = 80) -> None:
        self.rows: list[str] = [""]
        self.highest = 0
        row = 0
        for part in re.split(r"(\x1b\[[0-9;]*[A-Za-z]|\r?\n)", text):
            if part.endswith("\n"):
                row += 1
                self.rows += [""] * (row + 1 - len(self.rows))
            elif match := re.fullmatch(r"\x1b\[(\d*)F", part):
                row -= int(match[1] or 1)
                assert row >= 0, "above what was written"
            elif part == "\x1b[J":
                del self.rows[row + 1 :]
                self.rows[row] = ""
            elif part == "\x1b[K" or re.fullmatch(r"\x1b\[[0-9;]*m", part):
                continue
            else:
                assert "\x1b" not in part, repr(part)
                if part:
                    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in part)
                    assert len(part) + wide <= columns, part
                    self.rows[row] = part
            self.highest = max(self.highest, len(self.rows))


def test_a_terminal_shows_all_steps_and_their_ends(anybody: Pybuild) -> None:
    status, said = _on_a_terminal(anybody, TEXT)
    assert status == 0, said
    shown = Screen(said, 10_000).rows
    assert any(re.match(r"\[\+\] Finished \d+\.\ds \(4/4\)", row) for row in shown)
    for title in ("[stage-0 1/4] COPY busybox /bin/", "[stage-0 4/4] RUN printf"):
        [row] = [row for row in shown if title in row]
        assert re.search(r" \d+\.\ds$", row)
        assert len(row) == 79
    assert "image.tar: written" in shown
    assert " => => # line 2" in said
    status, said = _on_a_terminal(anybody, f"{TEXT}RUN true\n")
    assert " => CACHED [stage-0 1/5] COPY busybox /bin/" in said


def test_what_a_step_says_cannot_command_the_terminal(pybuild: Pybuild) -> None:
    _, said = _on_a_terminal(pybuild, TEXT)
    assert "\x1b[31m" not in said
    assert " => => # bc" in said


def test_timers_go_on_while_nothing_happens(pybuild: Pybuild) -> None:
    _, said = _on_a_terminal(pybuild, f"{SHELL}RUN sleep 1\n")
    timers = set(re.findall(r"RUN sleep 1 +(\d\.\d)s", said))
    assert len(timers) >= 5


def test_a_download_shows_how_far_it_is(pybuild: Pybuild) -> None:
    def answer(request: Request) -> None:
        request.send(bytes(1 << 20), length=3 << 20)
        for _ in range(2):
            time.sleep(0.4)
            request.wfile.write(bytes(1 << 20))

    with running_site() as site:
        site.answer = answer
        status, said = _on_a_terminal(pybuild, f"FROM scratch\nADD {site.url}/f /\n")
    assert status == 0, said
    assert " => => 1.0MB / 3.1MB" in said
    assert " => => 2.1MB / 3.1MB" in said
    assert "MB" not in said[said.index("Finished") :]


def test_a_step_shows_how_much_of_its_layer_is_packed(pybuild: Pybuild) -> None:
    pybuild.add({f"d/{number}": "x" for number in range(2000)})
    with open(pybuild.context / "d/large", "wb") as large:
        large.truncate(400_000_000)
    status, said = _on_a_terminal(pybuild, "FROM scratch\nCOPY d /\n")
    assert status == 0, said
    assert re.search(r" => => 2,00\d files, \d+\.\dMB\b", said)


@pytest.mark.needs_program("dnf", "rpm")
def test_packages_that_are_fetched_are_counted(pybuild: Pybuild, hello_repository: Path) -> None:
    pybuild.add({"key": (hello_repository / "RPM-GPG-KEY-hello").read_bytes()})
    with running_site() as site:
        site.add(hello_repository / "repo")

        def answer(request: Request) -> None:
            content = site.files.get(request.path, b"")
            half = len(content) // 2 if "busybox" in request.path else len(content)
            request.send(content[:half], length=len(content))
            if half < len(content):
                time.sleep(0.6)
                request.wfile.write(content[half:])

        site.answer = answer
        repository = f"--repo=id=hello,url={site.url} --key=key"
        text = f"FROM scratch\nBOOTSTRAP {repository} hello-system hello-release busybox\n"
        status, said = _on_a_terminal(pybuild, text)
    assert status == 0, said
    assert re.search(r" => => 2 packages, 5\d\d\.\dkB / 1\.1MB", said)


@pytest.mark.parametrize(
    ("size", "of", "files", "text"),
    [
        (0, 0, 0, ""),
        (999, 0, 1, "1 file, 999B"),
        (1000, 0, 1234, "1,234 files, 1.0kB"),
        (999_951, 12_345_678, 0, "1.0MB / 12.3MB"),
        (10**16, 0, 0, "10000.0TB"),
    ],
)
def test_counts_are_written_as_docker_writes_sizes(
    size: int, of: int, files: int, text: str
) -> None:
    count = Count()
    count.set(size, of=of, files=files)
    assert str(count) == text


@pytest.mark.parametrize(("columns", "rows"), [(30, 24), (80, 5), (12, 3)])
def test_a_small_terminal_is_not_overrun(pybuild: Pybuild, columns: int, rows: int) -> None:
    text = SHELL + "".join(f"RUN echo 日本語 {number}; sleep 0.1\n" for number in range(8))
    status, said = _on_a_terminal(pybuild, text, columns=columns, rows=rows)
    assert status == 0
    while_it_runs = said[: said.index("image.tar: written")].rpartition("\x1b[J")[0]
    screen = Screen(while_it_runs.rpartition("\x1b[")[0], columns)
    assert screen.highest <= rows + 1


def test_without_colours_there_are_none(pybuild: Pybuild) -> None:
    _, said = _on_a_terminal(pybuild, TEXT)
    assert "\x1b[34m" in said
    _, said = _on_a_terminal(pybuild, f"{TEXT}RUN true\n", env={"NO_COLOR": "1"})
    assert not re.search(r"\x1b\[\d*m", said)


def test_an_error_stays_below_the_picture(anybody: Pybuild) -> None:
    status, said = _on_a_terminal(anybody, FAILS)
    assert status == 1
    shown = Screen(said, 10_000).rows
    [place] = [n for n, row in enumerate(shown) if "=> ERROR [stage-0 3/3] RUN echo said" in row]
    [error] = [n for n, row in enumerate(shown) if "exited with status 3" in row]
    assert place < error
    assert " > said" in shown


@pytest.mark.parametrize(
    ("words", "env"), [(["--progress=plain"], {}), ([], {"TERM": "dumb"}),
                       ([], {"BUILDKIT_PROGRESS": "plain"})],
)  # fmt: skip
def test_a_terminal_can_have_plain_lines(
    pybuild: Pybuild, words: list[str], env: dict[str, str]
) -> None:
    _, said = _on_a_terminal(pybuild, TEXT, *words, env=env)
    assert "#1 [stage-0 1/4] COPY busybox /bin/\r\n#1 DONE" in said
    assert "=>" not in said


def test_quiet_says_nothing(pybuild: Pybuild) -> None:
    for words in (["-q"], ["--progress=quiet"]):
        ended = pybuild.try_build(SHELL, *words)
        assert (ended.status, ended.stderr) == (0, "")
        assert ended.stdout.startswith("sha256:")


def _events(stderr: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in stderr.splitlines():
        for kind, items in json.loads(line).items():
            found.setdefault(kind, []).extend(items)
    return found


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def test_programs_get_buildkits_events(anybody: Pybuild) -> None:
    ended = anybody.try_build(TEXT, "--progress=rawjson")
    lines = [line for line in ended.stderr.splitlines() if line.startswith("{")]
    events = _events("\n".join(lines))
    last = {vertex["name"]: vertex for vertex in events["vertexes"]}
    assert len(last) == 4
    for vertex in last.values():
        begun, done = (_time(vertex[key]) for key in ("started", "completed"))
        assert begun <= done
    looped = last["[stage-0 3/4] RUN for i in 1 2 3; do echo line $i; sleep 0.2; done"]
    logs = [log for log in events["logs"] if log["vertex"] == looped["digest"]]
    assert b"".join(base64.b64decode(log["data"]) for log in logs) == b"line 1\nline 2\nline 3\n"
    again = anybody.try_build(TEXT, "--progress=rawjson")
    cached = _events("\n".join(x for x in again.stderr.splitlines() if x.startswith("{")))
    assert {v["name"] for v in cached["vertexes"] if v.get("cached")} == set(last)


def test_an_event_tells_of_a_failure(pybuild: Pybuild) -> None:
    ended = pybuild.try_build(FAILS, "--progress=rawjson")
    lines = [line for line in ended.stderr.splitlines() if line.startswith("{")]
    assert [v for v in _events("\n".join(lines))["vertexes"] if v.get("error") == "error"]


def test_a_view_that_there_is_not_is_refused(pybuild: Pybuild) -> None:
    ended = pybuild.try_build(SHELL, "--progress=fancy")
    assert ended.status == 2
    assert "auto, plain, tty, rawjson or quiet" in ended.stderr
