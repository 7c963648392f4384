"""Images of a real registry in builds: pulled when needed, pushed; pull, push, login, logout."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.buildkit.support import SHELL, Pybuild
from tests.runtime.registry.fault_proxy import FaultProxy, running_proxy
from tests.runtime.registry.registries import (
    PASSWORD,
    PROGRAM,
    USER,
    Registry,
    password_settings,
    running_registry,
)
from tests.support import Result, run_pyrun

pytestmark = pytest.mark.skipif(not PROGRAM, reason="docker-registry is not installed")


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One that wants a password."""
    place = tmp_path_factory.mktemp("closed")
    with running_registry(place / "registry", **password_settings(place)) as running:
        yield running


def _push(pybuild: Pybuild, name: str, text: str = SHELL, **env: str) -> str:
    """Build an image and push it from a store of its own; its digest."""
    ended = pybuild.try_build(text, "--root", "pusher", "-t", name, "--push", env=env)
    assert ended.status == 0, ended.stderr
    return ended.stdout.strip()


def _asked(proxy: FaultProxy) -> list[str]:
    return [f"{asked.method} {asked.path}" for asked in proxy.requests]


# --- Builds


def test_a_base_image_comes_from_its_registry_and_is_asked_for_once(
    anybody: Pybuild, seen: FaultProxy
) -> None:
    name = f"{seen.host}/team/base:1"
    _push(anybody, name)
    text = f"FROM {name}\nRUN echo hi > /x\n"
    seen.requests.clear()
    image = anybody.build(text)
    assert image.read("x") == b"hi\n"
    assert any(word.startswith("HEAD /v2/team/base/manifests/1") for word in _asked(seen))
    seen.requests.clear()
    assert anybody.build(text, "--no-cache").layers == image.layers
    assert set(anybody.steps(text)) == {"CACHED"}
    assert seen.requests == []


def test_layers_of_an_image_are_copied_and_mounted(pybuild: Pybuild, registry: Registry) -> None:
    name = f"{registry.host}/team/tools:1"
    _push(pybuild, name, f"{SHELL}RUN echo tool > /tool\n")
    text = f"{SHELL}COPY --from={name} /tool /a\n"
    text += f"RUN --mount=type=bind,from={name},target=/m cat /m/tool > /b\n"
    image = pybuild.build(text)
    assert (image.read("a"), image.read("b")) == (b"tool\n", b"tool\n")


def test_what_was_pushed_by_others_is_pulled_and_ours_by_them(
    pybuild: Pybuild, registry: Registry, tmp_path: Path
) -> None:
    name = f"{registry.host}/team/ours:1"
    digest = _push(pybuild, name, "FROM scratch\nCOPY busybox /bin/sh\n")
    skopeo = ["skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"]
    theirs = f"docker://{registry.host}/team/theirs:1"
    subprocess.run([*skopeo, f"docker://{name}", theirs], check=True, capture_output=True)
    image = pybuild.build(f"FROM {registry.host}/team/theirs:1\nLABEL a=b\n")
    assert "bin/sh" in image.files
    assert registry.tag("team/ours", "1") == digest


def test_a_digest_pins_the_image(pybuild: Pybuild, registry: Registry) -> None:
    name = f"{registry.host}/team/pinned"
    old = _push(pybuild, f"{name}:1", f"{SHELL}LABEL v=1\n")
    _push(pybuild, f"{name}:1", f"{SHELL}LABEL v=2\n")
    assert pybuild.build(f"FROM {name}@{old}\n").process["Labels"] == {"v": "1"}
    assert pybuild.build(f"FROM {name}:1\n").process["Labels"] == {"v": "2"}


def test_always_and_newer_see_a_tag_that_moved_and_missing_does_not(
    pybuild: Pybuild, registry: Registry
) -> None:
    name = f"{registry.host}/team/moving:1"
    text = f"FROM {name}\nLABEL a=b\n"

    def version(*arguments: str) -> str:
        return str(pybuild.build(text, *arguments).process["Labels"]["v"])

    _push(pybuild, name, f"{SHELL}LABEL v=1\n")
    assert version() == "1"
    _push(pybuild, name, f"{SHELL}LABEL v=2\n")
    assert [version(), version("--pull=missing"), version("--pull=never")] == ["1", "1", "1"]
    assert version("--pull=newer") == "2"
    _push(pybuild, name, f"{SHELL}LABEL v=3\n")
    assert version("--pull") == "3"


def test_newer_asks_for_the_manifest_alone_if_nothing_changed(
    pybuild: Pybuild, seen: FaultProxy
) -> None:
    name = f"{seen.host}/team/same:1"
    _push(pybuild, name)
    pybuild.build(f"FROM {name}\n")
    seen.requests.clear()
    pybuild.build(f"FROM {name}\n", "--pull=newer")
    assert _asked(seen) == ["HEAD /v2/team/same/manifests/1"]


@pytest.mark.slow
def test_without_the_registry_newer_takes_what_is_there_and_always_fails(
    pybuild: Pybuild, registry: Registry
) -> None:
    with running_proxy(registry.host) as proxy:
        name = f"{proxy.host}/team/gone:1"
        _push(pybuild, name)
        pybuild.build(f"FROM {name}\n")
    text = f"FROM {name}\nLABEL a=b\n"
    ended = pybuild.try_build(text, "--pull=newer")
    assert ended.status == 0
    assert "warning: what the store has is taken: HEAD " in ended.stderr
    ended = pybuild.try_build(text, "--pull=always")
    assert ended.status == 4
    assert "Containerfile:1:6: " in ended.stderr
    assert "Connection refused" in ended.stderr


def test_never_asks_nobody(pybuild: Pybuild, seen: FaultProxy) -> None:
    ended = pybuild.try_build(f"FROM {seen.host}/team/none\n", "--pull=never")
    assert ended.status == 1
    assert "--pull=never asks no registry" in ended.stderr
    assert seen.requests == []


def test_an_image_that_the_registry_lacks_is_status_4_at_its_word(
    pybuild: Pybuild, registry: Registry
) -> None:
    ended = pybuild.try_build(f"FROM scratch\nCOPY --from={registry.host}/none x /\n")
    assert ended.status == 4
    assert "Containerfile:2:13: " in ended.stderr
    assert "404 Not Found" in ended.stderr
    assert "hint: there is no such thing, or it is not shown" in ended.stderr


@pytest.mark.parametrize("name", ["Upper", "a//b", "a:b:c@x"])
def test_what_cannot_be_a_name_is_status_2_at_its_word(pybuild: Pybuild, name: str) -> None:
    ended = pybuild.try_build(f"FROM {name}\n")
    assert ended.status == 2
    assert "Containerfile:1:6: image name" in ended.stderr


def test_several_platforms_are_pulled_each_for_itself(
    pybuild: Pybuild, registry: Registry
) -> None:
    name, both = f"{registry.host}/team/several:1", "--platform=linux/amd64,linux/arm64"
    text = "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\n"
    pybuild.add({"amd64": "amd64", "arm64": "arm64"})
    ended = pybuild.try_build(text, both, "--root", "pusher", "-t", name, "--push")
    assert ended.status == 0, ended.stderr
    for platform in ("amd64", "arm64", "amd64"):
        option = f"--platform=linux/{platform}"
        assert pybuild.build(f"FROM {name}\n", option).read("arch") == platform.encode()


def test_a_layer_that_is_damaged_is_refused_and_nothing_is_left(
    pybuild: Pybuild, registry: Registry
) -> None:
    name = f"{registry.host}/team/damaged:1"
    _push(pybuild, name, "FROM scratch\nCOPY Containerfile /only-in-this-one\n")
    ended = pybuild.run("inspect", "--root", "pusher", "-f", "{{json .Layers}}", name)
    [layer] = json.loads(ended.stdout)
    data = registry.data(layer["Digest"])
    data.write_bytes(data.read_bytes()[:-1] + b"x")
    ended = pybuild.try_build(f"FROM {name}\n", "--root", "fresh")
    assert ended.status == 4
    assert layer["Digest"] in ended.stderr
    assert list((pybuild.work / "fresh" / "tmp").iterdir()) == []
    assert not (pybuild.work / "fresh/blobs/sha256" / layer["Digest"][7:]).exists()


def test_mirrors_and_short_names_of_registries_conf_count(
    pybuild: Pybuild, registry: Registry
) -> None:
    digest = _push(pybuild, f"{registry.host}/mirror/base:1", f"{SHELL}LABEL v=1\n")
    conf = pybuild.work / "registries.conf"
    conf.write_text(
        f"""
unqualified-search-registries = ["nowhere.invalid", "{registry.host}"]
[[registry]]
prefix = "hub.invalid/team"
[[registry.mirror]]
location = "{registry.host}/none"
[[registry.mirror]]
location = "{registry.host}/mirror"
[[registry]]
location = "nowhere.invalid"
blocked = false
"""
    )
    env = {"CONTAINERS_REGISTRIES_CONF": str(conf)}
    image = pybuild.build("FROM hub.invalid/team/base:1\nLABEL a=b\n", env=env)
    assert image.process["Labels"] == {"v": "1", "a": "b"}
    ended = pybuild.run("pull", "-q", "mirror/base:1", env=env)
    assert (ended.status, ended.stdout) == (0, f"{digest}\n"), ended.stderr


@pytest.mark.slow
def test_where_no_place_has_an_image_each_is_said(pybuild: Pybuild, registry: Registry) -> None:
    conf = pybuild.work / "registries.conf"
    conf.write_text(f'unqualified-search-registries = ["{registry.host}", "127.0.0.1:1"]\n')
    env = {"CONTAINERS_REGISTRIES_CONF": str(conf)}
    ended = pybuild.try_build("FROM nobody/has:this\n", env=env)
    assert ended.status == 4
    assert f"{registry.host}/v2/nobody/has/manifests/this: 404" in ended.stderr
    assert "127.0.0.1:1/v2/nobody/has/manifests/this: " in ended.stderr


# --- --push


def test_an_unchanged_image_is_pushed_with_one_request_for_each_blob(
    pybuild: Pybuild, seen: FaultProxy
) -> None:
    name = f"{seen.host}/team/again:1"
    digest = _push(pybuild, name)
    seen.requests.clear()
    assert _push(pybuild, name) == digest
    blobs = [word for word in _asked(seen) if "/blobs/" in word]
    assert len(blobs) == len(set(blobs)) > 0
    assert all(word.startswith("HEAD ") for word in blobs)


def test_the_layers_of_a_base_image_are_mounted_and_not_sent(
    anybody: Pybuild, registry: Registry
) -> None:
    before = len(registry.log())
    team = f"mounts{before}"  # anew for each of `anybody`
    base, app = f"{registry.host}/{team}/base:1", f"{registry.host}/{team}/app:1"
    _push(anybody, base, f"{SHELL}RUN echo base > /base\n")
    text = f"FROM {base}\nRUN echo app > /app\n"
    ended = anybody.try_build(text, "-t", app, "--push")
    assert ended.status == 0, ended.stderr
    asked = [word for word in registry.log()[before:] if f"/{team}/app/blobs/" in word]
    # Of five blobs (three layers of the base, one of ours, the configuration) two are sent.
    mounted = [word for word in asked if "?mount=" in word]
    assert len(mounted) == 3
    assert all(f"&from={team}%2Fbase" in word and word.endswith(" 201") for word in mounted)
    counts = [sum(word.startswith(method) for word in asked) for method in ("HEAD", "POST", "PUT")]
    assert counts == [5, 5, 2]
    # What was pushed is remembered too, so a copy is sent no blob at all.
    before = len(registry.log())
    assert anybody.run("push", "-q", app, f"{registry.host}/{team}/copy").status == 0
    asked = [word for word in registry.log()[before:] if "/blobs/" in word]
    assert [word.split("?")[0].split()[0] for word in asked].count("POST") == 5
    assert not any(word.startswith(("PUT", "PATCH")) for word in asked)


def test_no_registry_hears_of_the_repositories_of_another(
    pybuild: Pybuild, registry: Registry, seen: FaultProxy
) -> None:
    name = f"{registry.host}/hidden/project:1"
    _push(pybuild, name, f"{SHELL}RUN echo secret > /s\n")
    assert pybuild.run("pull", "-q", name).status == 0
    seen.requests.clear()
    assert pybuild.run("push", "-q", name, f"{seen.host}/public/copy:1").status == 0
    assert len(seen.requests) > 3
    assert not any("hidden" in word or "mount=" in word for word in _asked(seen))


def test_what_is_remembered_of_registries_is_counted_and_pruned(
    pybuild: Pybuild, registry: Registry
) -> None:
    name = f"{registry.host}/team/remembered:1"
    _push(pybuild, name, "FROM scratch\nCOPY Containerfile /f\n")
    assert pybuild.run("pull", "-q", name).status == 0
    assert pybuild.run("prune", "--all").status == 0
    records = pybuild.store / "origins"
    assert len(list(records.iterdir())) == 3  # manifest, configuration and layer
    use = json.loads(pybuild.run("du", "--format=json").stdout)["use"]
    assert {row["type"]: row["count"] for row in use}["registries"] == 3
    assert pybuild.run("rmi", name).status == 0
    assert list(records.iterdir()) == []


def test_a_push_without_a_name_is_status_2(pybuild: Pybuild) -> None:
    ended = pybuild.try_build("FROM scratch\n", "--push")
    assert (ended.status, "--push: to what name?" in ended.stderr) == (2, True)


def test_a_push_that_fails_keeps_the_image(pybuild: Pybuild) -> None:
    ended = pybuild.try_build("FROM scratch\nCMD x\n", "-t", "127.0.0.1:1/x", "--push")
    assert ended.status == 4
    assert "127.0.0.1:1/x:latest" in pybuild.run("images", "--format=json").stdout


def test_what_is_pushed_is_compressed_unless_somebody_says_how(
    pybuild: Pybuild, registry: Registry
) -> None:
    name, text = f"{registry.host}/team/small:1", "FROM scratch\nCOPY Containerfile /f\n"
    for options, kind in (
        (("-t", name, "--push"), "+gzip"),
        ((f"--output=type=registry,name={name}",), "+gzip"),
        ((f"-otype=image,name={name},push=true,compression=zstd",), "+zstd"),
        (("-t", name, "--push", "--compression=none"), ""),
    ):
        ended = pybuild.try_build(text, *options)
        assert ended.status == 0, ended.stderr
        assert not pybuild.output.exists()
        assert _types(registry, name, ended.stdout.strip()) == {kind}
    # What has a name is pushed as it is, or as it is asked for.
    for how, kind in (("none", ""), ("gzip", "+gzip")):
        to = f"{registry.host}/team/other:1"
        ended = pybuild.run("push", "-q", f"--compression={how}", name, to)
        assert ended.status == 0, ended.stderr
        assert registry.tag("team/other", "1") == ended.stdout.strip()
        assert _types(registry, name, ended.stdout.strip()) == {kind}


def _types(registry: Registry, name: str, digest: str) -> set[str]:
    """How the layers of an image in the registry are compressed."""
    assert digest.startswith("sha256:"), name
    manifest = json.loads(registry.data(digest).read_bytes())
    return {layer["mediaType"].rpartition("tar")[2] for layer in manifest["layers"]}


# --- pull and push


def test_pull_and_push_move_names(pybuild: Pybuild, registry: Registry) -> None:
    name = f"{registry.host}/team/moved:1"
    digest = _push(pybuild, name, f'{SHELL}ENTRYPOINT ["/bin/sh", "-c"]\n')
    ended = pybuild.run("pull", "-q", name)
    assert (ended.status, ended.stdout, ended.stderr) == (0, f"{digest}\n", "")
    ran = run_pyrun(name, "echo hi", store=pybuild.store, caller=pybuild.caller)
    assert (ran.status, ran.stdout) == (0, "hi\n"), ran.stderr
    ended = pybuild.run("push", "-q", name, f"{registry.host}/team/copy:2")
    assert (ended.status, ended.stdout) == (0, f"{digest}\n"), ended.stderr
    assert registry.tag("team/copy", "2") == digest


def test_a_pull_for_another_platform_has_its_name_too(
    pybuild: Pybuild, registry: Registry
) -> None:
    name, both = f"{registry.host}/team/foreign:1", "--platform=linux/amd64,linux/arm64"
    ended = pybuild.try_build("FROM scratch\nCMD x\n", both, "--root=p", "-t", name, "--push")
    assert ended.status == 0, ended.stderr
    assert pybuild.run("pull", "--platform=linux/arm64", name).status == 0
    shown = pybuild.run("inspect", "-f", "{{.Architecture}}", name)
    assert (shown.status, shown.stdout) == (0, "arm64\n"), shown.stderr


def test_what_is_not_there_cannot_be_pushed(pybuild: Pybuild, registry: Registry) -> None:
    ended = pybuild.run("push", f"{registry.host}/team/nothing")
    assert ended.status == 1
    assert "no image of that name" in ended.stderr


# --- What is damaged in the store


def _blob(pybuild: Pybuild, name: str, *, config: bool = False) -> Path:
    """A layer of an image of the store, or its configuration."""
    shown = pybuild.run("inspect", "-f", "{{json .}}", name)
    table = json.loads(shown.stdout)
    digest = table["Id"] if config else table["Layers"][-1]["Digest"]
    return pybuild.store / "blobs/sha256" / str(digest).removeprefix("sha256:")


def _damage(path: Path) -> str:
    """Change a byte in the middle; the digest that the file had."""
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    return f"sha256:{path.name}"


def test_a_damaged_layer_is_fetched_again_by_the_build_that_needs_it(
    anybody: Pybuild, seen: FaultProxy
) -> None:
    name = f"{seen.host}/team/rotten:1"
    _push(anybody, name, f"{SHELL}RUN echo good > /x\n")
    assert anybody.run("pull", "-q", name).status == 0
    path = _blob(anybody, name)
    digest = _damage(path)
    seen.requests.clear()
    ended = anybody.try_build(f"FROM {name}\nRUN cat /x > /y\n")
    assert ended.status == 0, ended.stderr
    assert (
        f"warning: {name}: {digest} is damaged in the store: it is fetched again" in ended.stderr
    )
    assert _asked(seen) == [f"GET /v2/team/rotten/blobs/{digest}"]
    assert anybody.run("verify-store").status == 0


def test_a_damaged_configuration_and_manifest_are_fetched_again(
    pybuild: Pybuild, seen: FaultProxy
) -> None:
    name = f"{seen.host}/team/rotten-config:1"
    manifest = _push(pybuild, name)
    assert pybuild.run("pull", "-q", name).status == 0
    config = _blob(pybuild, name, config=True)
    digest = _damage(config)
    _damage(pybuild.store / "blobs/sha256" / manifest.removeprefix("sha256:"))
    seen.requests.clear()
    ended = pybuild.try_build(f"FROM {name}\nLABEL a=b\n")
    assert ended.status == 0, ended.stderr
    repository = "/v2/team/rotten-config"
    assert _asked(seen) == [
        f"GET {repository}/manifests/{manifest}",
        f"GET {repository}/blobs/{digest}",
    ]


def test_a_pull_mends_what_is_damaged_and_a_start_says_so(
    pybuild: Pybuild, seen: FaultProxy
) -> None:
    name = f"{seen.host}/team/rotten-pull:1"
    _push(pybuild, name)
    assert pybuild.run("pull", "-q", name).status == 0
    digest = _damage(_blob(pybuild, name))
    ended = pybuild.run("verify-store")
    assert ended.status == 1
    assert f"; {name.rpartition(':')[0]} has it: a build or `pybuild pull` fetches" in ended.stderr
    ran = run_pyrun(name, "true", store=pybuild.store, caller=pybuild.caller)
    assert ran.status == 125
    assert digest in ran.stderr
    assert f"hint: `pybuild pull {name}` fetches again what is damaged" in ran.stderr
    ended = pybuild.run("pull", name)
    assert f"warning: {name}: {digest} was damaged in the store" in ended.stderr
    assert _asked(seen)[-1] == f"GET /v2/team/rotten-pull/blobs/{digest}"
    assert run_pyrun(name, "true", store=pybuild.store, caller=pybuild.caller).status == 0


def test_a_damaged_layer_without_a_registry_to_ask_is_named(
    pybuild: Pybuild, registry: Registry
) -> None:
    with running_proxy(registry.host) as proxy:
        name = f"{proxy.host}/team/rotten-gone:1"
        _push(pybuild, name)
        assert pybuild.run("pull", "-q", name).status == 0
    path = _blob(pybuild, name)
    digest = _damage(path)
    ended = pybuild.try_build(f"FROM {name}\nLABEL a=b\n", "--pull=never")
    assert ended.status == 1
    assert f"Containerfile:1:6: {name}: {digest} is damaged in the store" in ended.stderr
    assert "hint: without --pull=never it is fetched again" in ended.stderr
    ended = pybuild.try_build(f"FROM {name}\nLABEL a=b\n")
    assert ended.status == 4
    assert f"{digest} is damaged in the store, and cannot be fetched: GET " in ended.stderr
    for record in (pybuild.store / "origins").iterdir():
        record.unlink()
    path.write_bytes(b"again")
    ended = pybuild.try_build(f"FROM {name}\nLABEL a=b\n")
    assert (ended.status, digest in ended.stderr) == (1, True)
    assert "hint: pybuild verify-store --repair" in ended.stderr


def test_what_is_fetched_again_is_what_was_there_although_the_tag_has_moved(
    pybuild: Pybuild, registry: Registry
) -> None:
    name = f"{registry.host}/team/rotten-moved:1"
    _push(pybuild, name, f"{SHELL}RUN echo old > /x\n")
    assert pybuild.run("pull", "-q", name).status == 0
    _push(pybuild, name, f"{SHELL}RUN echo new > /x\n")
    _damage(_blob(pybuild, name))
    assert pybuild.build(f"FROM {name}\nLABEL a=b\n").read("x") == b"old\n"


# --- login and logout


def _login(pybuild: Pybuild, host: str, password: str, auth: Path) -> Result:
    with open(pybuild.directory / "password", "w+") as file:
        file.write(password)
        file.seek(0)
        return pybuild.run(
            "login", "-u", USER, "--password-stdin", host,
            stdin=file.fileno(), env={"REGISTRY_AUTH_FILE": str(auth)},
        )  # fmt: skip


def test_login_is_needed_taken_by_others_and_undone(pybuild: Pybuild, closed: Registry) -> None:
    auth = pybuild.work / "auth.json"
    env = {"REGISTRY_AUTH_FILE": str(auth)}
    name = f"{closed.host}/team/secret:1"
    auth.write_text("{}")
    ended = pybuild.try_build(SHELL, "-t", name, "--push", env=env)
    assert ended.status == 4
    assert "401" in ended.stderr
    assert _login(pybuild, closed.host, PASSWORD, auth).status == 0
    assert stat.S_IMODE(auth.stat().st_mode) == 0o600
    _push(pybuild, name, **env)
    inspected = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"]
    subprocess.run([*inspected, "--authfile", str(auth)], check=True, capture_output=True)
    assert pybuild.run("logout", closed.host, env=env).status == 0
    assert json.loads(auth.read_text()) == {"auths": {}}
    assert pybuild.run("logout", closed.host, env=env).status == 1


def test_a_wrong_password_is_not_written_down(pybuild: Pybuild, closed: Registry) -> None:
    auth = pybuild.work / "auth.json"
    auth.write_text('{"auths": {"other": {"auth": "eDp5"}}}')
    ended = _login(pybuild, closed.host, "wrong-horse", auth)
    assert ended.status == 4
    assert "401" in ended.stderr
    assert "wrong-horse" not in ended.stderr
    assert list(json.loads(auth.read_text())["auths"]) == ["other"]


@pytest.mark.parametrize(
    "words", [["login", "a", "b"], ["pull"], ["push"], ["pull", "--username=x", "y"]]
)
def test_a_wrong_command_is_status_2(pybuild: Pybuild, words: list[str]) -> None:
    ended = pybuild.run(*words)
    assert (ended.status, ended.stdout) == (2, "")


def test_images_that_are_pulled_can_be_listed_and_removed(
    pybuild: Pybuild, registry: Registry
) -> None:
    name = f"{registry.host}/team/listed:1"
    _push(pybuild, name, "FROM scratch\nCOPY Containerfile /f\n")
    assert pybuild.run("pull", name).status == 0
    assert name in pybuild.run("images", "--format=json").stdout
    assert pybuild.run("rmi", name).status == 0
    assert list((pybuild.store / "blobs/sha256").iterdir()) == []
