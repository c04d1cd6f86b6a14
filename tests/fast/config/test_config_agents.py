"""Hosts that fetch their work, in cluster.yaml: what belongs to the agent is not written there."""

from __future__ import annotations

import pytest

from fast.config.workspace import Workspace


def test_a_host_with_an_agent_needs_nothing_else(files: Workspace) -> None:
    files.cluster("{role: compute, address: 10.0.0.21}", "{role: compute, connection: agent}")
    assert files.errors() == []
    assert files.load().cluster.hosts["cmp1"].connection == "agent"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("python: /opt/python", "'python' means nothing for a host with 'connection: agent'"),
        ("directory: /srv/x", "'directory' means nothing for a host with 'connection: agent'"),
        ("user: root", "'user' means nothing for a host with 'connection: agent' (leave it out"),
        ("ansible: coordinator", "is for hosts over SSH; a host with 'connection: agent' has its own"),
    ],
)
def test_what_the_agent_knows_is_not_said_here(files: Workspace, written: str, said: str) -> None:
    files.cluster("{role: compute, address: 10.0.0.21}", f"{{role: compute, connection: agent, {written}}}")
    (error,) = files.errors()
    assert said in error and error.startswith("cluster.yaml:15:")


def test_a_word_that_is_no_connection_is_told_with_those_that_are(files: Workspace) -> None:
    files.cluster("{role: compute, address: 10.0.0.21}", "{role: compute, connection: agnet}")
    (error,) = files.errors()
    assert "expected one of ssh, agent, local; found 'agnet' (did you mean 'agent'?)" in error
