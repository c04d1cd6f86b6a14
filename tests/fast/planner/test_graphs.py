"""Answers about graphs depend on the graph alone: the order of a set, another one in each process, is no part of it."""

from __future__ import annotations

from itertools import permutations

from underway.core.graphs import components


def test_components_do_not_depend_on_the_order_of_edges() -> None:
    """Without, two processes make two plans of the same files, and what was signed is called drifted."""
    found = {
        tuple(map(tuple, components(["control", "cinder", "nova", "heat"], {"control": order})))
        for order in permutations(("heat", "nova", "cinder"))
    }
    assert found == {(("cinder",), ("nova",), ("heat",), ("control",))}
