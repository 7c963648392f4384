"""The pipelines in examples/ci: valid by the public schemas, and what they call is really run."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.buildkit.support import SHELL, Pybuild
from tests.runtime.registry.registries import (
    PASSWORD,
    PROGRAM,
    USER,
    Registry,
    password_settings,
    running_registry,
)
from tests.support import CHECKOUT, command

CI = CHECKOUT / "examples/ci"
_CONTAINERFILE = f'{SHELL}RUN date +%N > /how\nCMD ["/bin/sh", "-c", "cat /how"]\n'


def _pipeline(name: str) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load((CI / name).read_text())
    return found


@pytest.mark.parametrize(
    ("name", "schema"), [("github.yml", "github-workflows"), ("gitlab.yml", "gitlab-ci")]
)
def test_a_pipeline_is_valid_by_the_public_schema(name: str, schema: str) -> None:
    text = files("check_jsonschema").joinpath(f"builtin_schemas/vendor/{schema}.json").read_text()
    document = _pipeline(name)
    if True in document:  # `on`, for YAML 1.1
        document["on"] = document.pop(True)
    jsonschema.validate(document, json.loads(text))


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])
def test_a_pipeline_says_first_what_it_shows_and_where_it_belongs(name: str) -> None:
    lines = (CI / name).read_text().splitlines()
    assert lines[0].startswith("# Shows ")
    assert "Copy it to " in lines[1]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A registry with a password, as GitLab's and GitHub's."""
    if not PROGRAM:
        pytest.skip("docker-registry is not installed")
    with running_registry(tmp_path / "registry", **password_settings(tmp_path)) as running:
        yield running


def _run(pybuild: Pybuild, script: str, variables: dict[str, str]) -> str:
    """A script in a job's container, with our commands on its PATH."""
    env = pybuild.environment(variables)
    env["PATH"] = f"{Path(command('pybuild')[0]).parent}:{env['PATH']}"
    env["REGISTRY_AUTH_FILE"] = f"{pybuild.work}/auth.json"
    (pybuild.work / "auth.json").write_text("{}")
    argv = [*pybuild.launcher, "sh", "-euc", script]
    ended = subprocess.run(
        argv,
        cwd=pybuild.context,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def _prepare(pybuild: Pybuild) -> None:
    pybuild.write(_CONTAINERFILE)
    pybuild.context.chmod(0o777)


def test_the_gitlab_job_checks_builds_pushes_and_runs_in_a_plain_container(
    plain: Pybuild, registry: Registry
) -> None:
    _prepare(plain)
    lines = _pipeline("gitlab.yml")["build image"]["script"]
    variables = {
        "CI_REGISTRY": registry.host,
        "CI_REGISTRY_USER": USER,
        "CI_REGISTRY_PASSWORD": PASSWORD,
        "IMAGE": f"{registry.host}/group/project:main",
        "CACHE": f"{registry.host}/group/project:cache",
    }
    said = _run(plain, "\n".join(lines), variables)
    digest = (plain.context / "digest").read_text()
    assert digest in said
    assert registry.tag("group/project", "main") == digest
    assert json.loads((plain.context / "quality.json").read_text()) == []
    assert (plain.context / "steps.xml").read_text().startswith("<?xml")
    # The next job has a machine of its own, and does nothing again.
    _run(plain, "\n".join(lines), {**variables, "PYBUILD_ROOT": str(plain.work / "fresh")})
    assert registry.tag("group/project", "main") == digest


def test_the_github_job_checks_builds_and_pushes_in_a_plain_container(
    plain: Pybuild, registry: Registry
) -> None:
    _prepare(plain)
    steps = _pipeline("github.yml")["jobs"]["image"]["steps"]
    runs = [step["run"] for step in steps if step.get("name") in ("check", "build and push")]
    script = re.sub(r"\bghcr\.io\b", registry.host, "\n".join(runs))
    output = plain.work / "output"
    variables = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_OUTPUT": str(output),
        "USER_NAME": USER,
        "TOKEN": PASSWORD,
        "IMAGE": f"{registry.host}/group/project:main",
        "CACHE": f"{registry.host}/group/project:cache",
    }
    _run(plain, script, variables)
    assert registry.tag("group/project", "cache")
    digest = registry.tag("group/project", "main")
    assert f"digest={digest}\n" in output.read_text()
    metadata = json.loads((plain.context / "metadata.json").read_text())
    assert metadata["containerimage.digest"] == digest
