"""`pyrun ps`, times and templates."""

from __future__ import annotations

import json
import os

import pytest

from runtime.engine.cli import VERBS
from runtime.engine.times import duration_text, read_time
from runtime.errors import UsageError
from runtime.templates import filled_in, rows_text
from tests.runtime.engine.engine_calls import Engine

_S = 10**9


def test_the_columns_are_those_of_docker(engine: Engine) -> None:
    engine.background("sleep 1000", "--name", "runs")
    ended = engine.background("exit 3", "--name", "ended")
    engine.done("wait", ended)
    engine.done("create", "--name", "waits", engine.image, "true")
    head, first = engine.done("ps").splitlines()
    words = "CONTAINER ID,IMAGE,COMMAND,CREATED,STATUS,PORTS,NAMES".split(",")
    assert [cell.strip() for cell in head.split("   ") if cell.strip()] == words
    assert '"sh -c sleep 1000"' in first
    assert first.endswith("runs")
    states = engine.done("ps", "-a", "--format", "{{.Names}} {{.State}} {{.Status}}").splitlines()
    assert states[0] == "waits created Created"
    assert states[1].startswith("ended exited Exited (3) ")
    assert states[1].endswith(" ago")
    assert states[2].startswith("runs running Up ")


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["name=^o"], "one"),
        (["name=e$", "name=two"], "two one"),
        (["label=kind=b"], "two"),
        (["label=kind", "label=more"], "two"),
        (["status=exited"], "two"),
        (["status=running"], "one"),
        (["exited=4"], "two"),
        (["exited=0"], ""),
        (["ancestor=busybox.tar"], "two one"),
        (["ancestor=other"], ""),
    ],
)
def test_filters_are_those_of_docker(pair: Engine, filters: list[str], names: str) -> None:
    arguments = [word for text in filters for word in ("--filter", text)]
    assert pair.done("ps", "-a", "--format", "{{.Names}}", *arguments).split() == names.split()


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest, public_root: object) -> object:
    """Two containers that are only looked at."""
    from pathlib import Path

    from tests.conftest import root_is_missing
    from tests.support import Caller

    if reason := root_is_missing():
        pytest.skip(reason)
    store = Path(str(public_root)) / "engine pair"
    store.mkdir()
    made = Engine(store, Caller("root", 0, 0, "/root"), request.getfixturevalue("busybox"))
    made.background("sleep 1000", "--name", "one", "-l", "kind=a")
    made.done("wait", made.background("exit 4", "--name", "two", "-l", "kind=b", "-l", "more"))
    yield made
    made.clean()


def test_ids_and_the_newest(pair: Engine) -> None:
    ids = pair.done("ps", "-aq", "--no-trunc").splitlines()
    assert pair.made == set(ids)
    assert pair.done("ps", "-lq") == ids[0][:12]
    assert pair.done("ps", "-n", "1", "--format", "{{.Names}}") == "two"
    rows = [json.loads(line) for line in pair.done("ps", "-a", "--format", "json").splitlines()]
    assert [row["ID"] for row in rows] == [identity[:12] for identity in ids]
    assert rows[0]["Labels"] == "kind=b,more="


def test_a_table_of_a_template_has_a_head(pair: Engine) -> None:
    table = pair.done("ps", "-a", "--format", "table {{.Names}}\\t{{.Ports}}\\t{{.State}}")
    assert [line.split() for line in table.splitlines()] == [
        ["NAMES", "PORTS", "STATE"],
        ["two", "exited"],
        ["one", "running"],
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--format", "{{.Nothing}}"],
        ["--format", "{{range .Names}}"],
        ["--filter", "colour=red"],
        ["--filter", "name"],
        ["--filter", "name=("],
        ["--filter", "status=happy"],
        ["-n", "many"],
        ["one"],
    ],
)
def test_what_is_not_known_is_an_error_without_a_list(pair: Engine, arguments: list[str]) -> None:
    failed = pair("ps", "-a", *arguments)
    assert (failed.status, failed.stdout) == (125, "")
    assert arguments[-1] in failed.stderr or "Nothing" in failed.stderr


def test_every_verb_says_what_it_takes(pair: Engine) -> None:
    for verb in VERBS:
        told = pair(verb, "--help")
        assert told.status == 0, verb
        assert f" pyrun {verb} " in told.stdout.partition("\n\n")[0], told


def test_namespaces_are_those_of_the_process(everyones: Engine) -> None:
    identity = everyones.background("sleep 1000")
    pid = everyones.file(identity, "run.json")["pid"]
    names = {"PIDNS": "pid", "MNT": "mnt", "NET": "net", "USERNS": "user", "CGROUPNS": "cgroup"}
    row = json.loads(everyones.done("ps", "--format", "json"))
    for field, name in names.items():
        link = os.readlink(f"/proc/{pid}/ns/{name}")  # the test is root, who may
        assert link == f"{name}:[{row[field]}]"
    assert row["PIDNS"] in everyones.done("ps", "--ns")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1700000000", 1700000000 * _S),
        ("1700000000.5", 1700000000 * _S + _S // 2),
        ("10m", 10**18 - 600 * _S),
        ("1h30m", 10**18 - 5400 * _S),
        ("1.5s", 10**18 - 3 * _S // 2),
        ("2023-11-14T22:13:20Z", 1700000000 * _S),
        ("2023-11-14T22:13:20.000000007Z", 1700000000 * _S + 7),
        ("2023-11-14T23:13:20+01:00", 1700000000 * _S),
    ],
)
def test_times_are_read_as_docker_reads_them(text: str, expected: int) -> None:
    assert read_time(text, "--since", 10**18) == expected


def test_what_is_no_time_is_named() -> None:
    with pytest.raises(UsageError, match="--since 'soon'"):
        read_time("soon", "--since", 0)


def test_durations_are_dockers_words() -> None:
    seconds = (0, 1, 59, 60, 120, 3600, 7200, 172800, 1209600, 5184000, 63072000)
    assert [duration_text(count * _S) for count in seconds] == [
        "Less than a second",
        "1 second",
        "59 seconds",
        "About a minute",
        "2 minutes",
        "About an hour",
        "2 hours",
        "2 days",
        "2 weeks",
        "2 months",
        "2 years",
    ]


def test_a_value_is_not_read_as_a_template() -> None:
    document = {"a": "{{.b}}", "l": {"x.y": "z"}}
    assert filled_in('{{.a}} {{index .l "x.y"}} {{index .l "q"}}', document) == "{{.b}} z "
    with pytest.raises(UsageError, match="no field"):
        rows_text([], "{{.nothing}}", {"a": "A"})
