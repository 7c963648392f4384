"""The benchmarks as programs: what they are called, how they take turns, what they draw."""

from __future__ import annotations

import ast
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from tests.bench.harness import Command, Goal, Options, measure, report, seen_from
from tests.bench.plot import Axis, Chart, Series, svg, ticks

BENCH = Path(__file__).parent / "bench"
OPTIONS = Options(venv="/none", fast_rounds=3, slow_rounds=3, json=None, only="")
OURS = Command(name="ours", argv=("true",))
CHART = Chart(
    title="Time & files",
    note="2 x <machine>",
    x=Axis(label="files", logarithmic=True),
    y=Axis(label="milliseconds"),
    series=(
        Series(name="build", points=((1000, 20.0), (50_000, 410.0))),
        Series(name="no-op & all", points=((1000, 3.5), (50_000, 9.0))),
    ),
)


def _programs() -> set[str]:
    """The modules that can be run: they have a main()."""
    return {
        path.stem
        for path in BENCH.glob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == "main"
    }


def _rows() -> dict[str, list[int]]:
    """What the help lists: benchmarks, and of which rows of the table each is."""
    argv = [str(BENCH / "run"), "--help"]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    lines = re.findall(r"^ +([\d ]*)\b([a-z]\w*) +\d+  \S", text, re.MULTILINE)
    return {name: [int(number) for number in numbers.split()] for numbers, name in lines}


def test_the_help_names_every_benchmark_with_the_minutes_it_takes() -> None:
    assert set(_rows()) == _programs()


def test_the_benchmarks_are_those_of_every_row_of_the_table() -> None:
    rows = {number for numbers in _rows().values() for number in numbers}
    assert rows >= set(range(1, 12))


def test_a_run_without_names_does_all_benchmarks() -> None:
    text = (BENCH / "run").read_text(encoding="utf-8")
    listed = text.partition("\nall=(")[2].partition(")")[0].split()
    assert sorted(listed) == sorted(_programs())


def test_a_peer_that_is_not_installed_is_left_out_and_named() -> None:
    missing = Command(name="peer", argv=("/none/peer",))
    goals = (Goal(peer="peer", at_most=0.5),)
    measured = measure("title", [OURS, missing], OPTIONS, goals=goals)
    assert list(measured.samples) == ["ours"]
    assert "- not measured: peer: /none/peer: No such file or directory" in report(measured)
    assert "- goal not judged: 0.50 of peer" in report(measured)


def test_what_takes_long_is_run_as_often_as_it_says() -> None:
    long = Command(name="long", argv=("true",), rounds=1)
    measured = measure("title", [OURS, long], OPTIONS)
    assert {name: len(taken) for name, taken in measured.samples.items()} == {"ours": 3, "long": 1}


def test_only_leaves_out_peers_and_none_of_ours() -> None:
    commands = [OURS, replace(OURS, name="ours too"), *(replace(OURS, name=n) for n in ("a", "b"))]
    measured = measure("title", commands, replace(OPTIONS, only="b"), ours=2)
    assert list(measured.samples) == ["ours", "ours too", "b"]


def test_what_must_not_be_measured_happens_after_every_run() -> None:
    seen: list[int] = []
    measured = measure("title", [OURS], OPTIONS, after=lambda: seen.append(1))
    assert len(seen) == 2 + len(measured.samples["ours"])  # two more that are not counted


def test_the_same_samples_serve_several_tables() -> None:
    measured = measure("title", [OURS, replace(OURS, name="also ours")], OPTIONS, ours=2)
    seen = seen_from(measured, "another", ["also ours", "ours"])
    assert [command.name for command in seen.commands] == ["also ours", "ours"]
    assert seen.samples == measured.samples


def test_a_chart_is_well_formed_and_has_every_curve() -> None:
    root = ElementTree.fromstring(svg(CHART))
    space = "{http://www.w3.org/2000/svg}"
    texts = {element.text for element in root.iter(f"{space}text")}
    names = {series.name for series in CHART.series}
    assert names | {CHART.title, CHART.note, CHART.x.label, CHART.y.label, "1,000"} <= texts
    curves = [element.get("class", "") for element in root.iter(f"{space}polyline")]
    assert sorted(curves) == ["line c0"] * 2 + ["line c1"] * 2  # in the plot and in the legend
    points = sum(len(series.points) for series in CHART.series)
    assert len(list(root.iter(f"{space}circle"))) == points


def test_a_chart_is_drawn_for_light_paper_and_for_dark() -> None:
    assert "@media (prefers-color-scheme: dark)" in svg(CHART)


def test_a_chart_of_the_same_figures_is_the_same_text() -> None:
    assert svg(CHART) == svg(replace(CHART))


def test_ticks_are_round_and_enclose_the_figures() -> None:
    assert ticks([3.5, 410.0], logarithmic=False) == [0, 100, 200, 300, 400, 500]
    assert ticks([12, 1400], logarithmic=True) == [10, 20, 50, 100, 200, 500, 1000, 2000]
    assert ticks([1000, 1000], logarithmic=True) == [1000, 2000]
