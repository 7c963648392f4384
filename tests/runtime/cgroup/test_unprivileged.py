"""A user to whom no group was delegated: no limits, no error; a limit, a clear one."""

from __future__ import annotations

import sys

import pytest

from runtime.cgroup.layout import find_layout
from tests.support import CHECKOUT, Caller, Result, environment, run

CODE = """
from runtime.cgroup.group import make_group
from runtime.errors import ContainerError
from runtime.oci.resources import DeviceRule, Resources
try:
    group = make_group("", {resources}, name="pybuild-test-user", kinds={kinds!r})
except ContainerError as error:
    print(error.message, error.hint, sep="\\n")
else:
    print("places:", len(group.places), *group.notes)
    group.remove()
"""


def make(user: Caller, resources: str, *before: str, kinds: str = "asked") -> Result:
    argv = [*before, sys.executable, "-c", CODE.format(resources=resources, kinds=kinds)]
    result = run(argv, caller=user, env=environment(user, PYTHONPATH=str(CHECKOUT)))
    assert result.status == 0, result.stderr
    return result


def test_who_asks_for_nothing_gets_nothing(user: Caller) -> None:
    assert make(user, "None").stdout == "places: 0\n"


def test_who_may_have_no_group_but_asks_for_none_gets_what_there_is(user: Caller) -> None:
    assert make(user, "None", kinds="all").stdout.startswith("places: ")


def test_a_limit_that_needs_rights_says_where_and_what_to_do(user: Caller) -> None:
    where = find_layout().hierarchy_of("pids")
    if where is None:
        pytest.skip("no pids controller here")
    message, hint = make(user, "Resources(pids_limit=5)").stdout.splitlines()
    assert message.startswith(f"resources.pids.limit: {where.mount}")
    assert message.endswith("pybuild-test-user: Permission denied")
    assert "root" in hint
    assert "Delegate=yes" in hint


@pytest.mark.needs_userns
def test_device_rules_are_left_out_in_a_user_namespace_and_that_is_said(user: Caller) -> None:
    rules = "Resources(devices=(DeviceRule(allow=False),))"
    found = make(user, rules, "unshare", "--user", "--map-root-user").stdout
    assert found.startswith("places: 0 device rules are not enforced: in a user namespace")
