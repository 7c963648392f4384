"""EXPOSE: ports, ranges, protocols (Dockerfile reference, "EXPOSE")."""

from __future__ import annotations

from tests.buildkit.planning import config, faults


def test_exposed_ports_are_sorted_and_each_is_there_once() -> None:
    assert config("EXPOSE 90 80/udp\nEXPOSE 80 90/tcp").exposed_ports == (
        "80/tcp",
        "80/udp",
        "90/tcp",
    )


def test_an_expanded_word_may_hold_several_ports() -> None:
    assert config('ARG p="80 81"\nEXPOSE $p').exposed_ports == ("80/tcp", "81/tcp")


def test_a_wrong_port_is_an_error_at_its_word() -> None:
    assert [place[:2] for place in faults("FROM scratch\nEXPOSE 80 x")] == [(2, 11)]
    [(line, column, message)] = faults("FROM scratch\nARG p=x\nEXPOSE 80 $p")
    assert (line, column) == (3, 11)
    assert "'x' is no port number" in message
