"""registries.conf: where names lead to."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import RegistryError
from runtime.registry.reference import is_short, parse_reference
from runtime.registry.registries_conf import RegistriesConf, read_registries_conf

DIGEST = f"sha256:{'a' * 64}"


def _read(tmp_path: Path, text: str) -> RegistriesConf:
    path = tmp_path / "registries.conf"
    path.write_text(text)
    return read_registries_conf({"CONTAINERS_REGISTRIES_CONF": str(path)})


def _endpoints(conf: RegistriesConf, name: str, *, pulling: bool = True) -> list[str]:
    places = conf.endpoints(parse_reference(name), pulling=pulling)
    kinds = ["http " if at.plain_http else "" if at.verified else "unverified " for at in places]
    return [f"{kind}{at}" for kind, at in zip(kinds, places, strict=True)]


def test_without_a_file_a_short_name_is_docker_hubs() -> None:
    conf = RegistriesConf()
    assert [str(m) for m in conf.meanings("alpine:3")] == ["docker.io/library/alpine:3"]
    assert [str(m) for m in conf.meanings("quay.io/a/b")] == ["quay.io/a/b:latest"]


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("alpine", True), ("a/b:1", True), (f"a@{DIGEST}", True), ("docker://a", True),
        ("docker.io/a", False), ("localhost/a", False), ("h:5000/a", False), ("quay.io/a", False),
    ],
)  # fmt: skip
def test_a_name_is_short_without_a_host(name: str, short: bool) -> None:
    assert is_short(name) is short


def test_short_names_are_looked_for_in_each_registry_in_order(tmp_path: Path) -> None:
    conf = _read(tmp_path, 'unqualified-search-registries = ["a.example", "docker.io"]\n')
    assert [str(m) for m in conf.meanings("x:1")] == ["a.example/x:1", "docker.io/library/x:1"]


def test_an_alias_stands_for_a_short_name_with_any_tag(tmp_path: Path) -> None:
    conf = _read(tmp_path, '[aliases]\n"fedora" = "registry.example/fedora"\n')
    meanings = [str(conf.meanings(f"fedora{rest}")[0]) for rest in ("", ":41", f"@{DIGEST}")]
    full = "registry.example/fedora"
    assert meanings == [f"{full}:latest", f"{full}:41", f"{full}@{DIGEST}"]


def test_mirrors_come_first_for_pulls_and_not_for_pushes(tmp_path: Path) -> None:
    conf = _read(
        tmp_path,
        """
[[registry]]
prefix = "docker.io/library"
location = "hub.example/lib"
[[registry.mirror]]
location = "m1.example/docker"
[[registry.mirror]]
location = "m2.example"
insecure = true
pull-from-mirror = "digest-only"
""",
    )
    assert _endpoints(conf, "alpine") == [
        "m1.example/docker/alpine:latest",
        "hub.example/lib/alpine:latest",
    ]
    assert _endpoints(conf, f"alpine@{DIGEST}") == [
        f"m1.example/docker/alpine@{DIGEST}",
        f"unverified m2.example/alpine@{DIGEST}",
        f"http m2.example/alpine@{DIGEST}",
        f"hub.example/lib/alpine@{DIGEST}",
    ]
    assert _endpoints(conf, "alpine", pulling=False) == ["hub.example/lib/alpine:latest"]
    assert _endpoints(conf, "other/alpine") == ["docker.io/other/alpine:latest"]


def test_the_longest_prefix_counts_and_may_begin_with_a_wildcard(tmp_path: Path) -> None:
    conf = _read(
        tmp_path,
        """
[[registry]]
prefix = "*.example"
insecure = true
[[registry]]
prefix = "a.example/team"
location = "b.example"
""",
    )
    assert _endpoints(conf, "a.example/team/x:1") == ["b.example/x:1"]
    assert _endpoints(conf, "a.example/x:1") == ["unverified a.example/x:1", "http a.example/x:1"]
    assert _endpoints(conf, "a.example/teams:1")[0] == "unverified a.example/teams:1"


def test_a_blocked_registry_is_refused(tmp_path: Path) -> None:
    conf = _read(tmp_path, '[[registry]]\nlocation = "bad.example"\nblocked = true\n')
    with pytest.raises(RegistryError, match=r"bad.example/x:1: bad.example is blocked"):
        _endpoints(conf, "bad.example/x:1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[registry]\n", "registries.conf: "),
        ("registry = 3\n", "not what containers-registries.conf"),
        ("[[registry]]\ninsecure = true\n", "without prefix and location"),
        (
            '[[registry]]\nlocation = "a"\n[[registry.mirror]]\npull-from-mirror = "x"\n',
            "pull-from-mirror = 'x'",
        ),
        ("aliases = 3\n", "not what containers-registries.conf"),
    ],
)
def test_what_is_no_such_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RegistryError, match=message):
        _read(tmp_path, text)


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="No such file"):
        read_registries_conf({"CONTAINERS_REGISTRIES_CONF": str(tmp_path / "none")})


def test_drop_ins_add_to_the_users_file(tmp_path: Path) -> None:
    own = tmp_path / "containers"
    (own / "registries.conf.d").mkdir(parents=True)
    (own / "registries.conf").write_text('unqualified-search-registries = ["a.example"]\n')
    (own / "registries.conf.d/1.conf").write_text('[aliases]\nx = "b.example/x"\n')
    (own / "registries.conf.d/2.conf").write_text('[[registry]]\nlocation = "b.example"\n')
    conf = read_registries_conf({"HOME": "/none", "XDG_CONFIG_HOME": str(tmp_path)})
    assert [str(m) for m in conf.meanings("y")] == ["a.example/y:latest"]
    assert [str(m) for m in conf.meanings("x")] == ["b.example/x:latest"]
    assert any(rule.prefix == "b.example" for rule in conf.rules)
