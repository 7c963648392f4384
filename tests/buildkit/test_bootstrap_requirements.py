"""What packages need of the rpm that installs them is known before it starts."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.buildkit.bootstraps import fails, installed
from tests.buildkit.odd_packages import odd_packages as odd_packages
from tests.buildkit.support import Pybuild

pytestmark = pytest.mark.needs_program("dnf", "rpm", "rpmbuild")


def _bootstrap(pybuild: Pybuild, odd_packages: Path, *names: str) -> str:
    for name in names:
        shutil.copy2(odd_packages / f"{name}-1-1.noarch.rpm", pybuild.context)
    words = " ".join(f"./{name}-1-1.noarch.rpm" for name in names)
    return f"FROM scratch\nBOOTSTRAP {words}\n"


def _makes_users() -> bool:
    said = subprocess.run(["rpm", "--version"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"(\d+)\.(\d+)", said)
    assert found is not None
    return (int(found[1]), int(found[2])) >= (4, 19)


def test_a_feature_that_rpm_lacks_is_status_6(pybuild: Pybuild, odd_packages: Path) -> None:
    text = _bootstrap(pybuild, odd_packages, "with-macros", "with-future")
    message = "package with-future-1-1.noarch needs an rpm with rpmlib(FutureFeature)"
    said = fails(pybuild, text, 6, "Containerfile:2:1:", message, "hint: --tools=IMAGE")
    assert "Preparing packages" not in said.stderr


def test_users_that_rpm_is_to_make_are_status_6_before_4_19(
    pybuild: Pybuild, odd_packages: Path
) -> None:
    if _makes_users():
        pytest.skip("this rpm makes users")
    text = _bootstrap(pybuild, odd_packages, "with-users")
    message = "package with-users-1-1.noarch counts on rpm to make group(foo), user(foo)"
    said = fails(pybuild, text, 6, "Containerfile:2:1:", message, "from 4.19 on", "--tools=IMAGE")
    assert "Preparing packages" not in said.stderr


def test_users_that_a_scriptlet_makes_need_no_such_rpm(
    pybuild: Pybuild, odd_packages: Path
) -> None:
    text = _bootstrap(pybuild, odd_packages, "with-users-made")
    assert installed(pybuild.build(text)) == {"with-users-made"}
