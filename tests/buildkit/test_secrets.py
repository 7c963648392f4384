"""Of a secret nothing is left: in images, the store, temporary files, or what was said."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.buildkit.support import SHELL, Pybuild, add_program
from tests.buildkit.traces import Watch, contents, needles, said, traces
from tests.buildkit.web import running_site
from tests.claims import secret
from tests.runtime.registry.registries import (
    PASSWORD,
    PROGRAM,
    USER,
    password_settings,
    running_registry,
)
from tests.runtime.registry.token_server import running_token_server
from tests.support import Result, compressed, file, tar_of, wait_for

CANARY = "c4nary-5d1c-f00d-face-0b5e55ed"
# All that a build can write beside its image.
ALL = (
    *("--attest=type=sbom", "--provenance=mode=max", "--metadata-file=metadata.json"),
    *("--cache-to=type=local,dest=cache,mode=max", "--iidfile=id"),
)
slow = pytest.mark.slow
needs_registry = pytest.mark.skipif(not PROGRAM, reason="docker-registry is not installed")


@dataclass
class Scene:
    """A builder whose home and temporary files are looked through as well."""

    pybuild: Pybuild
    spare: Path  # what the test itself keeps
    ended: list[Result] = field(default_factory=list)
    watch: Watch = field(default_factory=Watch)

    def build(self, text: str, *options: str, status: int = 0, **choices: Any) -> Result:
        """Build in the context."""
        return self.note(self.pybuild.try_build(text, *options, **choices), status)

    def run(self, *arguments: str, status: int = 0, **choices: Any) -> Result:
        """Another command."""
        return self.note(self.pybuild.run(*arguments, **choices), status)

    def note(self, ended: Result, status: int) -> Result:
        """How a command must have ended; its words are looked through."""
        assert ended.status == status, ended.stderr
        self.ended.append(ended)
        return ended

    def check(self, word: str = CANARY) -> None:
        """Nothing is left."""
        assert said(word, *self.ended) == []
        assert traces(word, self.pybuild.directory, spare=self.spare) == []
        assert traces(word, *self.watch.new()) == []


def _scene(pybuild: Pybuild) -> Scene:
    spare = pybuild.directory / "spare"
    for name in ("spare", "home", "tmp"):
        place = pybuild.directory / name
        place.mkdir()
        os.chown(place, pybuild.caller.uid, pybuild.caller.gid)
    pybuild.variables.update(
        HOME=str(pybuild.directory / "home"), TMPDIR=str(pybuild.directory / "tmp")
    )
    (spare / "secret").write_text(CANARY)
    (spare / "secret").chmod(0o644)
    return Scene(pybuild, spare)


@pytest.fixture
def scene(pybuild: Pybuild) -> Scene:
    """Whoever runs the tests."""
    return _scene(pybuild)


@pytest.fixture
def any_scene(anybody: Pybuild) -> Scene:
    """With root, without, and in a plain container."""
    return _scene(anybody)


# --- RUN


@secret
@pytest.mark.parametrize(
    ("how", "ends"),
    [
        ("file", "well"),
        pytest.param("file", "badly", marks=slow),
        pytest.param("variable", "well", marks=slow),
        pytest.param("variable", "badly", marks=slow),
    ],
)
def test_a_secret_of_a_step(any_scene: Scene, how: str, ends: str) -> None:
    scene = any_scene
    given = f"src={scene.spare}/secret" if how == "file" else "env=MY"
    mount = f"--mount=type=secret,id=s,required{',env=TOKEN' if how == 'variable' else ''}"
    seen = "cat /run/secrets/s" if how == "file" else 'echo "$TOKEN"'
    last = "true" if ends == "well" else "exit 3"
    text = f"{SHELL}RUN {mount} {seen} | grep -q {CANARY[:6]} && {last}\nRUN echo 1 > /after\n"
    scene.build(
        text, f"--secret=id=s,{given}", *ALL, "-t", "app", "-o", "image.tar",
        status=0 if ends == "well" else 1, env={"MY": CANARY},
    )  # fmt: skip
    scene.check()


@secret
@slow
@pytest.mark.parametrize("how", ["file", "variable"])
def test_a_secret_of_a_step_that_is_killed(any_scene: Scene, how: str) -> None:
    scene = any_scene
    pybuild = scene.pybuild
    pybuild.variables["MY"] = CANARY
    given = f"src={scene.spare}/secret" if how == "file" else "env=MY"
    mount = f"--mount=type=secret,id=s,required{',env=TOKEN' if how == 'variable' else ''}"
    text = f"{SHELL}RUN {mount} echo here we are; sleep 60\n"
    process = pybuild.start(text, f"--secret=id=s,{given}", "--progress=plain")
    wait_for(lambda: "here we are" in pybuild.log.replace("echo here we are", ""))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if pybuild.launcher:  # where nothing can be mounted it is a file in the tree
        scene.build("FROM scratch\n")
    scene.check()


@secret
def test_a_secret_of_a_target_of_bake(scene: Scene) -> None:
    scene.pybuild.write(
        f"{SHELL}RUN --mount=type=secret,id=s,required grep -q {CANARY[:6]} /run/secrets/s\n"
        f"RUN --mount=type=secret,id=e,env=E,required test $E\n"
    )
    target = {
        "context": str(scene.pybuild.context),
        "secret": [f"id=s,src={scene.spare}/secret", "id=e,env=MY"],
        "tags": ["app"],
        "attest": ["type=provenance,mode=max"],
    }
    (scene.pybuild.work / "bake.json").write_text(json.dumps({"target": {"default": target}}))
    scene.run("bake", "-f", "bake.json", "--metadata-file=metadata.json", env={"MY": CANARY})
    scene.run("bake", "-f", "bake.json", "--print", env={"MY": CANARY})
    scene.check()


@secret
@slow
@pytest.mark.needs_program("ssh-agent", "ssh-add", "ssh-keygen")
def test_a_key_in_an_agent_of_the_steps_own(any_scene: Scene) -> None:
    scene = any_scene
    key = scene.spare / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    os.chown(key, scene.pybuild.caller.uid, scene.pybuild.caller.gid)
    add_program(scene.pybuild.context / "root", "ssh-add")
    text = f"{SHELL}COPY root /\nRUN --mount=type=ssh ssh-add -L > /n\n"
    scene.build(text, f"--ssh=default={key}", *ALL, "-o", "image.tar")
    private = key.read_text().splitlines()[2:-1]
    for line in private[:2]:
        scene.check(line)


@secret
@slow  # it is tried again and again
def test_a_password_of_a_proxy(scene: Scene) -> None:
    proxy = f"http://me:{CANARY}@127.0.0.1:1"
    text = f'{SHELL}RUN test -n "$HTTP_PROXY"\n'
    scene.build(text, f"--build-arg=HTTP_PROXY={proxy}", *ALL, "-t", "app", "-o", "image.tar")
    text = "FROM scratch\nADD http://files.example/f /\n"
    scene.build(text, status=4, env={"http_proxy": proxy})
    scene.build("FROM registry.example/none\n", status=4, env={"https_proxy": proxy})
    scene.check()


# --- packages


@secret
@pytest.mark.needs_program("dnf")
@pytest.mark.parametrize("how", ["password", pytest.param("token", marks=slow)])
def test_a_secret_of_a_repository_of_packages(
    scene: Scene, hello_repository: Path, how: str
) -> None:
    key = "RPM-GPG-KEY-hello"
    scene.pybuild.add({key: (hello_repository / key).read_bytes()})
    mount = "--mount=type=secret,id=p,env=PASS --repo=r.repo"
    text = f"FROM scratch\nBOOTSTRAP --releasever=1 --key={key} {mount} hello-release\n"
    with running_site() as site:
        site.add(hello_repository / "repo", "/repo" if how == "password" else f"/{CANARY}/repo")
        if how == "password":
            site.demand("me", CANARY)
            lines = ["baseurl=" + site.url + "/repo", "username=me", "password=$PASS"]
        else:
            lines = ["baseurl=" + site.url + "/$PASS/repo"]
        scene.pybuild.add({"r.repo": "\n".join(["[hello]", "name=hello", *lines, ""])})
        given = ("--secret=id=p,env=MY", *ALL, "-o", "image.tar")
        scene.build(text, *given, env={"MY": CANARY})
        answers = dict(site.files)
        site.files = {path: answers[path] for path in answers if not path.endswith(".rpm")}
        shutil.rmtree(scene.pybuild.store)
        scene.pybuild.store.mkdir()
        scene.build(text, *given, status=4, env={"MY": CANARY})
    scene.check()


# --- registries


@secret
@slow
@needs_registry
def test_a_password_of_a_registry(scene: Scene, tmp_path: Path) -> None:
    auth = scene.spare / "auth.json"
    env = {"REGISTRY_AUTH_FILE": str(auth)}
    with running_registry(tmp_path / "registry", **password_settings(tmp_path)) as registry:
        name = f"{registry.host}/a/b:1"
        word = scene.spare / "word"
        for content, status in (("wrong-horse-5d1c", 4), (PASSWORD, 0)):
            word.write_text(content)
            with open(word) as given:
                words = ("login", "-u", USER, "--password-stdin", registry.host)
                scene.run(*words, stdin=given.fileno(), env=env, status=status)
        scene.build(SHELL, "-t", name, "--push", *ALL, env=env)
        scene.run("reset", "--force")
        scene.build(f"FROM {name}\nRUN echo 1 > /f\n", "-o", "image.tar", *ALL, env=env)
        scene.run("pull", f"{registry.host}/a/none", status=4, env=env)
        scene.run("push", name, f"{registry.host}/c/d", env=env)
    scene.check(PASSWORD)
    scene.check("wrong-horse-5d1c")


@secret
@slow
@needs_registry
@pytest.mark.needs_program("openssl")
def test_a_token_of_a_registry(scene: Scene, tmp_path: Path) -> None:
    auth = scene.spare / "auth.json"
    word = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    env = {"REGISTRY_AUTH_FILE": str(auth)}
    with (
        running_token_server(tmp_path / "tokens") as tokens,
        running_registry(tmp_path / "registry", **tokens.settings) as registry,
    ):
        auth.write_text(json.dumps({"auths": {registry.host: {"auth": word}}}))
        name = f"{registry.host}/a/b:1"
        scene.build(SHELL, "-t", name, "--push", *ALL, env=env)
        scene.run("reset", "--force")
        scene.build(f"FROM {name}\nRUN echo 1 > /f\n", "-o", "image.tar", *ALL, env=env)
        scene.run("pull", f"{registry.host}/a/none", status=4, env=env)
    assert len(tokens.issued) >= 3
    for token in (PASSWORD, *tokens.issued):
        scene.check(token)


@secret
@slow
@needs_registry
def test_what_a_credential_helper_says(scene: Scene, tmp_path: Path) -> None:
    helper = scene.spare / "docker-credential-canary"
    answer = json.dumps({"Username": USER, "Secret": PASSWORD})
    helper.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{answer}'\n")
    helper.chmod(0o755)
    auth = scene.spare / "auth.json"
    env = {
        "REGISTRY_AUTH_FILE": str(auth),
        "PATH": f"{scene.spare}:{os.environ['PATH']}",
    }
    with running_registry(tmp_path / "registry", **password_settings(tmp_path)) as registry:
        auth.write_text(json.dumps({"credHelpers": {registry.host: "canary"}}))
        name = f"{registry.host}/a/b:1"
        scene.build(SHELL, "-t", name, "--push", *ALL, env=env)
        helper.write_text("#!/bin/sh\ncat >/dev/null\necho " + CANARY + " >&2\nexit 1\n")
        scene.pybuild.run("pull", f"{registry.host}/a/none", env=env)
    scene.check(PASSWORD)


# --- the search itself


def test_what_is_looked_for_is_found(tmp_path: Path) -> None:
    place = tmp_path / "searched"
    place.mkdir()
    word = CANARY.encode()
    layer = compressed(tar_of([file("f", b"x" * 600 + word)]), "zstd")
    packed = compressed(tar_of([file("layer", layer)]), "gzip")
    assert any(word in content for content in contents(packed))
    for user in ("", "a", "ab", "abc"):
        coded = base64.b64encode(f"{user}:{CANARY}:rest".encode())
        assert any(needle in coded for needle in needles(word)), user
    for name, content in (("packed", packed), ("coded", base64.b64encode(b"u:" + word)),
                          (CANARY, b"")):  # fmt: skip
        (place / name).write_bytes(content)
        assert traces(CANARY, place) == traces(CANARY, place / name) != []
        (place / name).unlink()
    (place / "link").symlink_to(CANARY)
    assert traces(CANARY, place) == [f"{place}/link: itself"]
    assert traces(CANARY, tmp_path, spare=place) == []
