"""Where a state directory's records lie: kept, followed, and never in two places."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from underway.app import opening
from underway.app.place import Place, Session
from underway.errors import InputError, Refused
from underway.store.served import ServedStore
from underway.store.sqlite import SqliteStore
from underway_agent.kv.address import Access

CONSUL = Access("consul+http://127.0.0.1:1,127.0.0.1:2/site")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "cluster.yaml", tmp_path / "state", "me")


def test_the_place_keeps_what_the_files_said(place: Place) -> None:
    place.prepare("prod", None)
    assert not opening.is_there(place.state) and not Session(place).has_store
    place.prepare("prod", CONSUL)
    assert opening.is_there(place.state) and opening.noted(place.state) == CONSUL
    assert (place.state / "store.json").stat().st_mode & 0o777 == 0o600
    session = Session(place)
    assert isinstance(session.store, ServedStore) and session.store.root == "site/prod"
    session.close()
    assert not (place.state / "state.db").exists()


def test_without_a_word_it_is_a_file(place: Place) -> None:
    place.prepare("prod", None)
    session = Session(place)
    assert isinstance(session.store, SqliteStore)
    session.close()
    assert Session(place).has_store


def test_the_root_has_a_prefix_of_its_own(place: Place) -> None:
    place.prepare("prod", Access("etcd://e1"))
    session = Session(place)
    assert isinstance(session.store, ServedStore) and session.store.root == "underway/prod"
    session.close()


def test_other_servers_and_files_are_the_same_place(place: Place) -> None:
    place.prepare("prod", CONSUL)
    moved = Access("consul://c3,c4/site", ca="/etc/ca.pem", token="/etc/token")
    place.prepare("prod", moved)
    assert opening.noted(place.state) == moved


@pytest.mark.parametrize("other", [None, Access("consul://c1/elsewhere"), Access("etcd://e1/site")])
def test_another_place_is_refused(place: Place, other: Access | None) -> None:
    place.prepare("prod", CONSUL)
    with pytest.raises(Refused) as caught:
        place.prepare("prod", other)
    assert CONSUL.url in str(caught.value) and "another --state" in str(caught.value)
    assert str(place.cluster_file) in str(caught.value)
    assert opening.noted(place.state) == CONSUL


def test_records_in_a_file_are_not_left_behind(place: Place) -> None:
    place.prepare("prod", None)
    session = Session(place)
    assert session.repository.current() is None  # a file without records
    session.close()
    place.prepare("prod", CONSUL)
    (place.state / "store.json").unlink()
    session = Session(place)
    session.store.commit({}, {"underway/prod/current": b"{}"})
    session.close()
    with pytest.raises(Refused, match=r"there are records in .*state\.db"):
        place.prepare("prod", CONSUL)
    assert opening.noted(place.state) is None


def test_a_note_that_is_damaged_is_named(place: Place) -> None:
    place.prepare("prod", CONSUL)
    note = place.state / "store.json"
    for text in ("", "[]", "{}", '{"url": 1}', json.dumps({"url": "redis://x"})):
        note.write_text(text)
        with pytest.raises(InputError, match=r"store\.json: is not what Underway wrote there"):
            Session(place).store  # noqa: B018 (opening is the point)


def test_a_secret_that_cannot_be_read_is_an_input_error(place: Place) -> None:
    place.prepare("prod", Access("consul://c1", token=str(place.state / "none")))
    with pytest.raises(InputError, match=r"store of cluster prod: token file .*none: cannot be read"):
        Session(place).store  # noqa: B018
