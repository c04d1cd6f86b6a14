"""Codec, keys and audit chain: what is written is read back, and nothing else is taken for it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underway.core.model.base import canonical, replace
from underway.core.model.event import Event
from underway.core.model.state import ActionRecord, Admission, Health, Hold, RunRecord
from underway.errors import InputError, RecordInvalid
from underway.records.audit import AuditEntry, carry_on, extend, genesis, hash_of, verify
from underway.records.codec import SCHEMAS, AuditHead, decode, decode_or_none, encode
from underway.records.keys import Keys
from underway.store.memory import MemoryStore

# --- codec ------------------------------------------------------------------------------------------------------------

RUN = RunRecord(id="r1", cluster="prod", plan="0" * 64, source="a", target="b")


def test_a_record_is_an_envelope_with_a_schema_number() -> None:
    assert encode("k", Hold(host="h", reason="r", by="me", at=1.0), Hold) == (
        b'{"s":1,"v":{"at":1.0,"by":"me","host":"h","reason":"r"}}'
    )
    assert encode("k", None, Hold) == b'{"s":1,"v":null}'


@given(
    st.builds(
        ActionRecord,
        state=st.sampled_from(["claimed", "running", "soaking", "done", "failed", "unknown", "skipped"]),
        token=st.integers(0, 2**53),
        step=st.text(st.characters(exclude_categories=["Cs"])),
        reason=st.text(st.characters(exclude_categories=["Cs"])),
        duration=st.floats(allow_nan=False, allow_infinity=False),
        stuck=st.booleans(),
        answers=st.dictionaries(st.text("abc"), st.sampled_from(["rerun", "skip"])),
    )
)
def test_records_read_back(record: ActionRecord) -> None:
    data = encode("k", record, ActionRecord)
    assert decode("k", data, ActionRecord) == record
    assert encode("k", decode("k", data, ActionRecord), ActionRecord) == data


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a record"),
        (b"{", "not a record"),
        (b"\xff\xfe", "not a record"),
        (b"[]", "not a record"),
        (b'{"v":{}}', "missing required field `s`"),
        (b'{"s":1}', "missing required field `v`"),
        (b'{"s":1,"v":{},"x":1}', "unknown field `x`"),
        (b'{"s":"1","v":{}}', "Expected `int`"),
        (b'{"s":2,"v":{"whatever":1}}', "of schema 2, expected 1"),
        (b'{"s":0,"v":{"state":"done"}}', "of schema 0, expected 1"),
        (b'{"s":1,"v":{"state":"done","new":1}}', "unknown field `new`"),
        (b'{"s":1,"v":{"state":"finished"}}', "Invalid enum value 'finished'"),
        (b'{"s":1,"v":{"state":"done","token":"7"}}', "Expected `int`"),
        (b'{"s":1,"v":{"state":"done","token":1.5}}', "Expected `int`"),
        (b'{"s":1,"v":{}}', "missing required field `state`"),
        (b'{"s":1,"v":null}', "withdrawn"),
    ],
)
def test_what_is_not_a_record_is_refused_naming_the_key(data: bytes, says: str) -> None:
    with pytest.raises(RecordInvalid) as caught:
        decode("underway/prod/k", data, ActionRecord)
    assert str(caught.value).startswith("underway/prod/k: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_withdrawn_record_is_none() -> None:
    assert decode_or_none("k", b'{"s":1,"v":null}', Hold) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, "soon", None])
def test_a_value_that_would_not_read_back_is_not_written(bad: float) -> None:
    with pytest.raises(RecordInvalid, match="k:"):
        encode("k", Hold(host="h", reason="r", by="me", at=bad), Hold)


def test_every_kind_of_record_has_a_schema_number() -> None:
    assert AuditEntry in SCHEMAS and all(number >= 1 for number in SCHEMAS.values())


# --- keys -------------------------------------------------------------------------------------------------------------


def test_the_layout_of_the_keys() -> None:
    keys = Keys("prod-eu1")
    run = keys.run("r-7")
    assert keys.current == "underway/prod-eu1/current"
    assert run.record == "underway/prod-eu1/runs/r-7/record"
    assert run.plan(3) == "underway/prod-eu1/runs/r-7/plan/0003"
    assert run.plan_head == "underway/prod-eu1/runs/r-7/plan-head"
    assert keys.admission == "underway/prod-eu1/admission"
    assert run.policy == "underway/prod-eu1/runs/r-7/policy"
    assert run.action("control/controller/ctrl1") == "underway/prod-eu1/runs/r-7/actions/control/controller/ctrl1"
    assert run.approval("finalize") == "underway/prod-eu1/runs/r-7/approvals/finalize"
    assert run.outages == "underway/prod-eu1/runs/r-7/outages"
    assert keys.hold("cmp1") == "underway/prod-eu1/holds/cmp1"
    assert keys.hold("*") == "underway/prod-eu1/holds/_all"
    assert [keys.held(keys.hold(host)) for host in ("cmp1", "*")] == ["cmp1", "*"]
    assert keys.health_of("cmp1") == "underway/prod-eu1/health/cmp1"
    assert keys.host("cmp1") == "underway/prod-eu1/hosts/cmp1"
    assert keys.durations == "underway/prod-eu1/durations"
    assert keys.audit_entry(42) == "underway/prod-eu1/audit/000000000042"
    assert keys.audit_entry(42).startswith(keys.audit_page(42))
    assert keys.audit_head == "underway/prod-eu1/audit-head"


PAGE = Path(__file__).parents[3] / "docs" / "reference" / "store-keys.md"


def test_the_page_on_keys_names_every_key_and_its_example_is_a_record() -> None:
    text = PAGE.read_text(encoding="utf-8")
    keys = Keys("prod")
    run = keys.run("r1")
    named = {
        "current": keys.current,
        "runs/<run>/record": run.record,
        "runs/<run>/plan-head": run.plan_head,
        "runs/<run>/plan/<nnnn>": run.plan(9),
        "admission": keys.admission,
        "runs/<run>/policy": run.policy,
        "runs/<run>/actions/<pass>/<host>": run.action("control/api/h1"),
        "runs/<run>/approvals/<stage>": run.approval("finalize"),
        "runs/<run>/outages": run.outages,
        "holds/<host>": keys.hold("h1"),
        "health/<host>": keys.health_of("h1"),
        "hosts/<host>": keys.host("h1"),
        "durations": keys.durations,
        "audit/<nnnnnnnnnnnn>": keys.audit_entry(9),
        "audit-head": keys.audit_head,
    }
    values = {"<run>": "r1", "<pass>": "control/api", "<host>": "h1", "<stage>": "finalize"}
    values |= {"<nnnn>": "0009", "<nnnnnnnnnnnn>": "000000000009"}
    for name, key in named.items():
        assert f"| `{name}` |" in text
        filled = name
        for word, value in values.items():
            filled = filled.replace(word, value)
        assert key == f"underway/prod/{filled}"
    example = text.split("```json")[1].split("```")[0].strip().encode()
    assert encode("k", decode("k", example, Hold), Hold) == example


BAD_NAMES = [
    "", ".", "..", "a..b", "-a", ".a", "_all", "a/b", "../cmp1", "a b", "a\n", "A", "CMP1", "é", "a%2fb", "a*", "*a",
    "a\x00", "\u212a", "a" * 129,
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_NAMES)
def test_a_bad_name_reaches_no_key(bad: str) -> None:
    keys = Keys("prod")
    run = keys.run("r1")
    for build in (Keys, keys.run, keys.hold, keys.health_of, keys.host, run.approval):
        with pytest.raises(InputError):
            build(bad)
    for action in (f"control/{bad}", f"{bad}/h1"):
        if bad not in ("a/b",):
            with pytest.raises(InputError):
                run.action(action)


def test_an_action_of_too_many_parts_is_refused() -> None:
    with pytest.raises(InputError, match="at most 8"):
        Keys("prod").run("r1").action("/".join("abcdefghi"))


# --- audit ------------------------------------------------------------------------------------------------------------

KEYS = Keys("prod")


def event(number: int) -> Event:
    return Event(at=float(number), kind="note", actor="operator:me", text=f"fact {number}")


def write(store: MemoryStore, number: int) -> None:
    expect: dict[str, int] = {}
    writes: dict[str, bytes] = {}
    carry_on(store, KEYS, "r1", [event(number)], expect, writes)
    store.commit(expect, writes)


def chain(count: int) -> MemoryStore:
    store = MemoryStore()
    for number in range(1, count + 1):
        write(store, number)
    return store


def entry_at(store: MemoryStore, number: int) -> AuditEntry:
    item = store.get(KEYS.audit_entry(number))
    assert item is not None
    return decode(item.key, item.value, AuditEntry)


def test_an_empty_chain_holds() -> None:
    assert verify(MemoryStore(), "prod") == (0, [])


def test_a_chain_holds_and_counts() -> None:
    assert verify(chain(2500), "prod") == (2500, [])


def test_an_entry_is_its_event_with_place_and_hashes() -> None:
    store = chain(2)
    first, second = entry_at(store, 1), entry_at(store, 2)
    assert (first.seq, first.prev, first.run, first.text) == (1, genesis("prod").hash, "r1", "fact 1")
    assert second.prev == first.hash == hash_of(first)


def test_chains_of_two_clusters_do_not_fit_each_other() -> None:
    assert genesis("prod").hash != genesis("test").hash


@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize(
    "field", ["at", "kind", "actor", "action", "host", "text", "token", "run", "prev", "hash", "seq"]
)
def test_an_altered_entry_is_found(number: int, field: str) -> None:
    store = chain(5)
    values = {"at": 9.5, "kind": "hold", "token": 7, "seq": 3}
    entry = replace(entry_at(store, number), **{field: values.get(field, "other")})
    store.commit({}, {KEYS.audit_entry(number): encode("k", entry, AuditEntry)})
    count, problems = verify(store, "prod")
    assert count == 5
    assert any(KEYS.audit_entry(number) in problem for problem in problems)


def test_an_altered_entry_with_its_hash_made_anew_is_found() -> None:
    for number in range(1, 6):
        store = chain(5)
        entry = replace(entry_at(store, number), text="never happened")
        entry = replace(entry, hash=hash_of(entry))
        store.commit({}, {KEYS.audit_entry(number): encode("k", entry, AuditEntry)})
        assert verify(store, "prod")[1]


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_deleted_entry_is_found(number: int) -> None:
    store = chain(5)
    store.commit({}, {KEYS.audit_entry(number): None})
    count, problems = verify(store, "prod")
    assert count == 4 and problems


def test_swapped_and_added_entries_are_found() -> None:
    store = chain(5)
    two, three = (store.get(KEYS.audit_entry(number)) for number in (2, 3))
    assert two is not None and three is not None
    store.commit({}, {two.key: three.value, three.key: two.value})
    assert len(verify(store, "prod")[1]) >= 2

    store = chain(5)
    (extra,), _ = extend(AuditHead(seq=5, hash=entry_at(store, 5).hash), "r1", [event(6)])
    store.commit({}, {KEYS.audit_entry(6): encode("k", extra, AuditEntry)})
    assert [problem for problem in verify(store, "prod")[1] if KEYS.audit_head in problem]


def test_a_head_that_is_missing_broken_or_wrong_is_found() -> None:
    for head in (None, b"x", encode("k", AuditHead(seq=4, hash="0"), AuditHead)):
        store = chain(5)
        store.commit({}, {KEYS.audit_head: head})
        assert any(KEYS.audit_head in problem for problem in verify(store, "prod")[1])


def test_an_entry_that_cannot_be_read_is_found() -> None:
    store = chain(5)
    store.commit({}, {KEYS.audit_entry(3): canonical({"s": 9, "v": {}})})
    count, problems = verify(store, "prod")
    assert count == 5
    assert [problem for problem in problems if "schema 9" in problem]


def test_a_whole_chain_made_anew_is_found_only_by_a_head_noted_elsewhere() -> None:
    noted = AuditHead(seq=5, hash=entry_at(chain(5), 5).hash)
    forged = MemoryStore()
    for number in range(5):
        write(forged, number + 100)
    assert verify(forged, "prod") == (5, [])
    assert verify(forged, "prod", noted)[1]
    assert verify(chain(4), "prod", noted)[1]  # a tail that was cut off, head and all
    assert verify(chain(9), "prod", noted) == (9, [])


def test_admission_and_health_are_records() -> None:
    for value in (Admission(serial=3, why="x"), Health(healthy=True, since=1.0, checked=2.0), RUN):
        assert decode("k", encode("k", value, type(value)), type(value)) == value
