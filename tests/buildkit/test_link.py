"""COPY --link: a layer of its own, the same whatever lies below it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.buildkit.support import SHELL, Pybuild, modes, text_files

BASES = ("FROM scratch\n", "FROM scratch\nCOPY a /other\n", "FROM scratch\nCOPY d /\n")


def test_the_layer_is_the_same_over_every_base(pybuild: Pybuild) -> None:
    pybuild.add({"a": "1", "d/e/x": "2"})
    images = [pybuild.build(f"{base}COPY --link a /e/f/\n") for base in BASES]
    assert len({image.layers[-1] for image in images}) == 1
    linked = {n: m for n, m in modes(images[0]).items() if n.startswith("e")}
    assert linked == {"e": "0:0 755", "e/f": "0:0 755", "e/f/a": "0:0 644"}


def test_the_layer_is_the_same_over_bases_of_different_age(pybuild: Pybuild) -> None:
    pybuild.add({"a": "1"})
    digests = set()
    for epoch in ("1000000000", "1500000000"):
        base = ["-t", "base", f"-o{pybuild.work}/base.tar"]
        pybuild.try_build("FROM scratch\nCOPY a /base\n", *base, env={"SOURCE_DATE_EPOCH": epoch})
        image = pybuild.build("FROM base\nCOPY --link a /e/\n")
        digests.add(image.manifest["layers"][-1]["digest"])
        # The image itself is not older than what it is made of.
        year = {"1000000000": "2001", "1500000000": "2017"}[epoch]
        assert image.config["created"].startswith(year)
    assert len(digests) == 1


def test_what_is_linked_is_not_copied_again_when_the_base_changes(pybuild: Pybuild) -> None:
    pybuild.add({"a": "1", "b": "1"})
    text = "FROM scratch\nCOPY b /\nCOPY --link a /e/\n"
    assert pybuild.steps(text) == ["DONE", "DONE"]
    pybuild.add({"b": "2"})
    assert pybuild.steps(text) == ["DONE", "CACHED"]
    assert text_files(pybuild.build(text)) == {"b": "2", "e/a": "1"}
    pybuild.add({"a": "2"})
    assert pybuild.steps(text) == ["CACHED", "DONE"]


def test_links_below_the_destination_are_not_followed(pybuild: Pybuild) -> None:
    pybuild.add({"a": "1", "below/e": Path("r"), "below/r/x": "o"})
    image = pybuild.build("FROM scratch\nCOPY below /\nCOPY --link a /e/\n")
    assert sorted(image.layer()) == ["e", "e/a"]
    assert image.layer()["e"].isdir()


def test_directories_that_are_there_take_the_layers_mode_and_keep_their_files(
    pybuild: Pybuild,
) -> None:
    pybuild.add({"a": "1", "e/x": "2"})
    below = f"{SHELL}COPY --chmod=700 e /e/\n"
    image = pybuild.build(f"{below}COPY --link a /e/\nRUN stat -c %a /e > /mode; ls /e > /names\n")
    assert image.read("mode") == b"755\n"
    assert image.read("names") == b"a\nx\n"


def test_a_later_step_sees_what_was_linked(pybuild: Pybuild) -> None:
    pybuild.add({"a": "1", "e/x": "2"})
    text = f"{SHELL}COPY e /e/\nCOPY --link a /e/\nRUN cat /e/x /e/a > /both\n"
    assert pybuild.build(text).read("both") == b"21"


@pytest.mark.parametrize("copy", ["COPY --link --from=s /d /e/", "ADD --link a /e/"])
def test_stages_and_add_are_linked_as_well(copy: str, pybuild: Pybuild) -> None:
    pybuild.add({"a": "1"})
    text = f"FROM scratch AS s\nCOPY a /d/\nFROM scratch\nCOPY a /first\n{copy}\n"
    image = pybuild.build(text)
    assert sorted(image.layer()) == ["e", "e/a"]


def test_owners_are_numbers(pybuild: Pybuild) -> None:
    pybuild.add({"a": "1", "etc/passwd": "me:x:5:6::/:\n"})
    linked = modes(pybuild.build("FROM scratch\nCOPY --link --chown=5:6 a /e/\n"))
    assert linked == {"e": "5:6 755", "e/a": "5:6 644"}
    ended = pybuild.try_build("FROM scratch\nCOPY etc /etc\nCOPY --link --chown=me a /e/\n")
    assert ended.status == 1
    assert "Containerfile:3:1" in ended.stderr
    assert "--chown=me: user 'me': not in the image's /etc/passwd" in ended.stderr
    assert "only numbers" in ended.stderr


def test_a_layer_whose_directory_is_gone_is_made_of_its_blob(pybuild: Pybuild) -> None:
    pybuild.add({"a": "1"})
    text = f"{SHELL}RUN mkdir /new && rm /bin/vi && echo 1 > /new/x\n"
    image = pybuild.build(text)
    for path in (pybuild.store / "layers").iterdir():
        shutil.rmtree(path)
    assert pybuild.steps(f"{text}RUN cat /new/x && test ! -e /bin/vi\n") == [
        *["CACHED"] * 3,
        "DONE",
    ]
    assert pybuild.build(text).layers == image.layers


def test_a_damaged_blob_is_found_when_it_is_needed_and_made_again(pybuild: Pybuild) -> None:
    pybuild.add({"a": "1"})
    text = "FROM scratch\nCOPY a /\n"
    image = pybuild.build(text)
    (layer,) = image.manifest["layers"]
    blob = pybuild.store / "blobs" / layer["digest"].replace(":", "/")
    content = bytearray(blob.read_bytes())
    content[600] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(content)
    for path in (pybuild.store / "layers").iterdir():
        shutil.rmtree(path)
    further = f"{text}WORKDIR /w\n"
    assert pybuild.run("verify-store").status == 1
    assert pybuild.steps(further) == ["DONE", "DONE"]
    assert pybuild.run("verify-store").status == 0
    assert pybuild.build(text).layers == image.layers
