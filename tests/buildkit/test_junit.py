"""--report junit=FILE: how each step went."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from tests.buildkit.support import SHELL, Pybuild

TWO = "FROM scratch AS a\nCOPY f /a\nFROM scratch AS b\nCOPY f /b\nFROM a\nCOPY --from=b /b /\n"
OPTION = "--report=junit=results.xml"


def _suite(pybuild: Pybuild) -> ElementTree.Element:
    root = ElementTree.fromstring((pybuild.work / "results.xml").read_bytes())
    assert root.tag == "testsuites"
    [suite] = root
    cases = list(suite)
    assert int(suite.attrib["tests"]) == len(cases) > 0
    failed = [case for case in cases if case.find("failure") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    assert int(suite.attrib["failures"]) == len(failed)
    assert int(suite.attrib["skipped"]) == len(skipped)
    return suite


def test_each_step_is_a_case_with_the_time_that_it_took(pybuild: Pybuild) -> None:
    pybuild.add({"f": ""})
    pybuild.build(TWO, OPTION)
    suite = _suite(pybuild)
    assert suite.attrib["name"].endswith("Containerfile")
    assert suite.attrib["failures"] == suite.attrib["skipped"] == "0"
    names = {case.attrib["name"] for case in suite}
    assert {name.split("] ")[1] for name in names} == {
        "COPY f /a", "COPY f /b", "COPY --from=b /b /",
    }  # fmt: skip
    assert all(float(case.attrib["time"]) >= 0 for case in suite)


def test_a_build_that_is_found_has_the_same_cases(pybuild: Pybuild) -> None:
    pybuild.add({"f": ""})
    names = []
    for _ in range(2):
        pybuild.build(TWO, OPTION)
        names.append([case.attrib["name"] for case in _suite(pybuild)])
    assert sorted(names[0]) == sorted(names[1])
    assert _suite(pybuild).attrib["time"] == "0.000"


def test_a_step_that_fails_has_its_error_and_what_it_said(pybuild: Pybuild) -> None:
    ended = pybuild.try_build(f"{SHELL}RUN printf 'a <b> \\001\\n'; exit 3\nRUN true\n", OPTION)
    assert ended.status == 1
    [failed] = [case for case in _suite(pybuild) if case.find("failure") is not None]
    failure = failed.find("failure")
    assert failure is not None
    assert "RUN printf" in failed.attrib["name"]
    assert "Containerfile:" in failure.attrib["message"]
    assert "hint: " in (failure.text or "")
    assert failed.findtext("system-out") == "a <b> \ufffd\n"


@pytest.mark.parametrize("text", ["FROB\n", "FROM ./none-such\n"])
def test_an_error_before_the_first_step_is_a_case_of_its_own(pybuild: Pybuild, text: str) -> None:
    assert pybuild.try_build(text, OPTION).status in (1, 2)
    [case] = _suite(pybuild)
    assert case.attrib["name"] == "Containerfile"
    assert case.find("failure") is not None


def test_a_report_that_cannot_be_written_is_status_5(pybuild: Pybuild) -> None:
    ended = pybuild.try_build("FROM scratch\nCMD x\n", "--report=junit=/proc/none/x")
    assert ended.status == 5
    assert "/proc/none/x: No such file" in ended.stderr


def test_another_kind_is_status_2(pybuild: Pybuild) -> None:
    ended = pybuild.try_build("FROM scratch\n", "--report=tap=x")
    assert (ended.status, "junit=FILE expected" in ended.stderr) == (2, True)


def test_the_steps_of_all_targets_are_cases(pybuild: Pybuild) -> None:
    pybuild.add({"f": "", "Containerfile": TWO})
    target = {"context": str(pybuild.context)}
    targets = {"one": target | {"target": "a"}, "two": target | {"target": "b"}}
    definition = {"group": {"default": {"targets": list(targets)}}, "target": targets}
    (pybuild.work / "docker-bake.json").write_text(json.dumps(definition))
    ended = pybuild.run("bake", OPTION)
    assert ended.status == 0, ended.stderr
    names = {case.attrib["name"] for case in _suite(pybuild)}
    assert names == {"[one a 1/1] COPY f /a", "[two b 1/1] COPY f /b"}
    pybuild.write("FROM scratch AS a\nCOPY f /\nFROM scratch AS b\nCOPY none /\n")
    ended = pybuild.run("bake", OPTION, "--error-format=json")
    assert ended.status == 1
    [error] = json.loads(ended.stderr.splitlines()[-1])
    assert error["line"] == 4
    assert _suite(pybuild).attrib["failures"] == "1"
