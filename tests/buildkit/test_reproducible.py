"""The same inputs give the same archive, bit for bit, whoever builds, wherever, whenever."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path

import pytest

from tests.buildkit.support import SHELL, Image, Pybuild, make_pybuild
from tests.support import PASSWD, Caller, TreeValue, command, run

TEXT = f"""\
{SHELL}
COPY --chmod=2755 d /d/
COPY --chown=1000 passwd /etc/passwd
ENV a=1
WORKDIR /w
RUN date > /dev/null; mkdir -p /etc/x /n/m; touch /n/f; ln -s f /n/l; ln /n/f /n/h; rm /d/x
RUN mv /d /e && chown -R 5:6 /e && chmod 4711 /e/y && umask 0 && mkdir /n/o
FROM scratch
COPY --from=0 / /
COPY <<f /f
$a
f
"""
FILES: dict[str, TreeValue] = {
    "d/x": "1",
    "d/y": "2",
    "d/s/é": "3",
    "d/l": Path("y"),
    "passwd": PASSWD,
}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _build(pybuild: Pybuild, *, umask: str = "022", time: int = 0) -> str:
    """Build in an environment of its own; returns the digest of the archive."""
    pybuild.add(FILES)
    pybuild.write(TEXT)
    for folder, _, files in os.walk(pybuild.context):
        for name in files:
            os.utime(os.path.join(folder, name), (time, time), follow_symlinks=False)
    limited = ["sh", "-c", f'umask {umask} && exec "$@"', "sh"]
    ended = run(
        [*limited, *command("pybuild"), "--no-cache", str(pybuild.context)],
        caller=pybuild.caller,
        env=pybuild.environment({"TZ": "Asia/Tokyo" if time else "UTC", "LANG": "C"}),
        cwd=pybuild.work,
    )
    assert ended.status == 0, ended.stderr
    return _sha256(pybuild.output)


def test_two_builds_in_other_places_at_other_times_are_the_same(public_root: Path) -> None:
    me = Caller("me", os.geteuid(), os.getegid(), os.path.expanduser("~"))
    one = make_pybuild(public_root / "one", me)
    two = make_pybuild(public_root / "another place", me)
    assert _build(one) == _build(two, umask="077", time=1_234_567_890)


@pytest.mark.needs_root
@pytest.mark.needs_userns
def test_root_and_a_user_without_rights_build_the_same(as_root: Pybuild, as_user: Pybuild) -> None:
    assert _build(as_root) == _build(as_user)


def test_a_cached_and_a_fresh_build_are_the_same(anybody: Pybuild) -> None:
    anybody.add(FILES)
    anybody.build(TEXT)
    first = _sha256(anybody.output)
    anybody.add({"d/y": "changed"})
    anybody.build(TEXT)
    anybody.add({"d/y": "2"})
    anybody.build(TEXT)
    assert _sha256(anybody.output) == first


# --- Times


def _times(image: Image) -> set[float]:
    return {info.mtime for info in image.files.values()}


@pytest.mark.parametrize("given", ["variable", "build argument"])
def test_source_date_epoch_is_the_time_of_everything(pybuild: Pybuild, given: str) -> None:
    pybuild.add(FILES)
    variable = "SOURCE_DATE_EPOCH"
    if given == "variable":
        image = pybuild.build(TEXT, env={variable: "1000000000"})
    else:
        argument = f"--build-arg={variable}=1000000000"
        image = pybuild.build(TEXT, argument, env={variable: "1"})
    assert _times(image) == {1_000_000_000}
    created = {image.config["created"], *(e["created"] for e in image.config["history"])}
    assert created == {"2001-09-09T01:46:40Z"}


def test_a_step_can_ask_for_source_date_epoch(pybuild: Pybuild) -> None:
    text = f"{SHELL}RUN echo [$SOURCE_DATE_EPOCH] > /a\nARG SOURCE_DATE_EPOCH\n"
    text += "RUN echo $SOURCE_DATE_EPOCH > /b\n"
    image = pybuild.build(text, env={"SOURCE_DATE_EPOCH": "1000000000"})
    assert (image.read("a"), image.read("b")) == (b"[]\n", b"1000000000\n")


def test_without_it_nothing_is_younger_than_1980(pybuild: Pybuild) -> None:
    pybuild.add(FILES)
    image = pybuild.build(TEXT)
    assert _times(image) == {315_532_800}
    assert image.config["created"] == "1980-01-01T00:00:00Z"


def test_the_time_of_the_base_is_the_time_of_what_is_new(pybuild: Pybuild) -> None:
    pybuild.add(FILES)
    env = {"SOURCE_DATE_EPOCH": "1000000000"}
    assert pybuild.try_build(SHELL, "-t", "base", env=env).status == 0
    image = pybuild.build("FROM base\nRUN touch /new\nCOPY d /d\n")
    assert {info.mtime for info in image.files.values()} == {1_000_000_000}


def test_an_older_time_that_run_gives_is_kept(pybuild: Pybuild) -> None:
    text = f"{SHELL}RUN touch -d @400000000 /a\n"
    image = pybuild.build(text, env={"SOURCE_DATE_EPOCH": "1000000000"})
    assert image.files["a"].mtime == 400_000_000


def test_run_sees_the_times_that_the_layer_will_have(pybuild: Pybuild) -> None:
    text = f"{SHELL}RUN touch /a\nRUN stat -c %Y /a > /said\n"
    assert pybuild.build(text).read("said") == b"315532800\n"


def test_the_archive_itself_has_fixed_times_and_owners(pybuild: Pybuild) -> None:
    pybuild.add({"a": ""})
    with tarfile.open(pybuild.build("FROM scratch\nCOPY a /\n").path) as archive:
        members = list(archive)
    assert {(m.mtime, m.uid, m.gid, m.uname) for m in members} == {(0, 0, 0, "")}
    assert {m.mode for m in members if m.isfile()} == {0o644}
