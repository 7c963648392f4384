"""Secrets: a container that asks for one is told, and nothing else is."""

from __future__ import annotations

import json
import os
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from runtime.engine.secret_words import SecretUse, parse_secret, without_clashes
from runtime.errors import UsageError
from tests.runtime.engine.engine_calls import Engine
from tests.support import wait_for

_VALUE = "kept-to-ourselves-4711"
_FOREVER = "; while :; do sleep 0.05; done"


def _create(engine: Engine, name: str, value: str = _VALUE) -> None:
    engine.done("secret", "create", "--replace", name, "-", stdin=value.encode())


def _files_with(value: str, place: Path) -> list[str]:
    found = []
    for folder, _, names in os.walk(place):
        for path in (Path(folder, name) for name in names):
            if path.is_file() and not path.is_symlink() and value.encode() in path.read_bytes():
                found.append(str(path.relative_to(place)))
    return found


def test_a_secret_is_a_file_of_a_tmpfs_or_a_variable(everyones: Engine) -> None:
    _create(everyones, "word")
    script = "cat /run/secrets/word; echo; cat /etc/place/x; echo; echo $TOKEN; stat -c %a "
    script += "/run/secrets/word; grep ' /run/secrets ' /proc/mounts"
    said = everyones.done(
        *("run", "--rm", "--secret", "word", "--secret", "word,target=/etc/place/x"),
        *("--secret", "word,type=env,target=TOKEN", everyones.image, "sh", "-c", script),
    ).splitlines()
    assert said[:4] == [_VALUE, _VALUE, _VALUE, "444"]
    assert said[4].startswith("tmpfs /run/secrets tmpfs ro,nosuid,nodev,noexec")
    everyones.done("secret", "rm", "word")
    wait_for(lambda: not everyones.remains())


def test_a_secret_has_the_owner_and_mode_that_are_asked_for(engine: Engine) -> None:
    _create(engine, "word")
    said = engine.done(
        *("run", "--rm", "--secret", "source=word,target=a/b,uid=7,gid=8,mode=0400"),
        *(engine.image, "stat", "-c", "%u %g %a", "/run/secrets/a/b"),
    )
    assert said == "7 8 400"
    wait_for(lambda: not engine.remains())


def test_a_secret_is_nowhere_but_in_its_container(engine: Engine, tmp_path: Path) -> None:
    _create(engine, "word")
    identity = engine.background(
        f"echo ready{_FOREVER}",
        *("--secret", "word", "--secret", "word,type=env,target=TOKEN"),
        *("--secret", "word,target=/etc/place", "--health-cmd", "test -n $TOKEN"),
        *("--name", "discreet", "--stop-timeout", "0"),
    )
    engine.says(identity, "ready")
    inside = engine.done("exec", "discreet", "sh", "-c", "echo $TOKEN; cat /run/secrets/word")
    assert inside.split("\n") == [_VALUE, _VALUE]
    assert engine("healthcheck", "run", "discreet").status == 0
    shown = engine.done("inspect", "discreet")
    assert _VALUE not in shown
    secrets = json.loads(shown)[0]["Config"]["Secrets"]
    assert [secret["Name"] for secret in secrets] == ["word"] * 3
    assert _VALUE not in engine.done("secret", "inspect", "word")
    assert _VALUE not in engine.done("events", "--since", "5m", "--until", "0s")
    engine.done("commit", "discreet", "copied")
    engine.done("export", "-o", tmp_path / "out.tar", "discreet")
    content = (tmp_path / "out.tar").read_bytes()
    assert _VALUE.encode() not in content
    with tarfile.open(fileobj=BytesIO(content)) as archive:
        assert archive.getmember("run/secrets").isdir()
    assert _files_with(_VALUE, engine.store) == ["secrets/word"]
    assert _files_with(_VALUE, Path("/run/pyrun") / identity) == []
    engine.done("stop", "discreet")
    assert _files_with(_VALUE, engine.store) == ["secrets/word"]


def test_a_start_reads_the_secret_as_it_is_then(engine: Engine) -> None:
    _create(engine, "word", "one")
    identity = engine.done("create", "--secret", "word", engine.image, "cat", "/run/secrets/word")
    _create(engine, "word", "two")
    assert engine.done("start", "-a", identity) == "two"
    engine.done("secret", "rm", "word")
    failed = engine("start", identity)
    assert failed.status == 125
    assert "pyrun secret create word" in failed.stderr


def test_secrets_are_made_listed_and_removed(everyones: Engine) -> None:
    env = {"SAID": _VALUE}
    identity = everyones.done("secret", "create", "-l", "a=b", "--env", "first", "SAID", env=env)
    assert len(identity) == 25
    taken = everyones("secret", "create", "first", "-", stdin=b"x")
    assert taken.status == 125
    assert "--replace" in taken.stderr
    listed = everyones.done("secret", "ls").splitlines()
    assert listed[0].split() == ["ID", "NAME", "DRIVER", "CREATED", "UPDATED"]
    assert listed[1].split()[:3] == [identity, "first", "file"]
    document = json.loads(everyones.done("secret", "inspect", identity[:8]))[0]
    assert document["Spec"]["Name"] == "first"
    assert document["Spec"]["Labels"] == {"a": "b"}
    assert (everyones.store / "secrets/first").stat().st_mode & 0o777 == 0o600
    assert everyones.done("secret", "ls", "--format", "{{.Name}}") == "first"
    assert everyones.done("secret", "rm", "first") == identity
    assert everyones.done("secret", "ls", "-q") == ""
    assert everyones("secret", "rm", "first").status == 125
    assert os.listdir(everyones.store / "secrets") == []


def test_a_secret_that_is_not_there_or_too_large_is_an_error(engine: Engine) -> None:
    failed = engine("run", "--secret", "nobodys", engine.image, "true")
    assert failed.status == 125
    assert "'nobodys'" in failed.stderr
    assert engine("secret", "create", "a/b", "-", stdin=b"x").status == 125
    assert engine("secret", "create", "large", "-", stdin=bytes(512_001)).status == 125
    assert engine("secret", "create", "empty", "-", stdin=b"").status == 125
    assert engine("secret", "create", "gone", "/no/such/file").status == 125
    engine.done("secret", "create", "nul", "-", stdin=b"a\0b")
    failed = engine("run", "--rm", "--secret", "nul,type=env", engine.image, "true")
    assert failed.status == 125
    assert "NUL" in failed.stderr
    engine.done("secret", "rm", "-a")


def test_words_are_podmans() -> None:
    assert parse_secret("a") == SecretUse(name="a", target="/run/secrets/a")
    assert parse_secret("a,target=b").target == "/run/secrets/b"
    assert parse_secret("a,type=env") == SecretUse(name="a", type="env", target="a")
    use = parse_secret("a,type=mount,target=/x,uid=1,gid=2,mode=0640")
    assert use == SecretUse(name="a", target="/x", uid=1, gid=2, mode=0o640)
    assert SecretUse.from_json(use.to_json()) == use


@pytest.mark.parametrize(
    "text",
    [
        *("", "a/b", "a,b", "a,type=x", "a,uid=-1", "a,uid=x", "a,mode=888", "a,mode=77777"),
        *("a,target=..", "a,target=/", "a,uid=1,uid=2", "a,type=env,mode=0400", "a,color=red"),
        *("a,type=env,target=", "a,type=env,target=x=y"),
    ],
)
def test_words_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--secret"):
        parse_secret(text)


def test_two_secrets_cannot_be_in_one_place() -> None:
    with pytest.raises(UsageError, match="two secrets"):
        without_clashes((parse_secret("a,target=b"), parse_secret("b")))
    with pytest.raises(UsageError, match="a mount"):
        without_clashes((parse_secret("a"),), {"/run/secrets"})
    assert without_clashes((parse_secret("a,target=/x"),), {"/run/secrets"})
