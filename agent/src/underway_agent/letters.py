"""What coordinator and agents leave for each other: one letter each way per host, so that nothing queues.

Level-triggered: a letter says how things are, not what is new, and the next one takes its place; each may be read
any number of times. The coordinator's letter lists the orders that are open on a host, and the last journal line that
it has (``since``); the agent's one says how each of them stands, with the lines above ``since``. So a new ``since``
is the acknowledgement of all lines up to it, and asks for more.

What a host may run is not decided by these letters: ticket and plan in an order are signed, and the runner checks them.
The agent's letter is signed with the host's key, a cancellation with the coordinator's: both go through stores that
others may write.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Sequence, Tuple

PROTOCOL = 1
"""The version of what is said here. Neighbours understand each other; further apart neither believes a word."""

REPORT_TYPE = "application/vnd.underway.report+json"
HELLO_TYPE = "application/vnd.underway.hello+json"
CANCEL_TYPE = "application/vnd.underway.cancel+json"

LARGEST = 256 * 1024
"""Bytes of a letter: what every store can hold with room for what surrounds it."""

MOST_ORDERS = 32
"""Orders in one letter: each costs the host a call of its runner, whoever wrote it."""

LINES_AT_ONCE = 128 * 1024
"""Bytes of journal lines in one letter (it grows by a third when it is signed); the rest follows when these are
acknowledged."""

KINDS = ("waits", "accepted", "finished", "failed", "unknown", "refused", "busy")
"""How an order may stand: ``waits`` (not begun; ``text`` says why), then as an executor's report."""

FINAL = ("finished", "failed", "unknown", "refused")
"""Kinds after which nothing follows under the same token."""

WORD = 300
"""Letters of a coordinator's word to a host."""

Key = Tuple[str, str, int, int]


class LetterWrong(Exception):
    """A letter that cannot be understood; the text says what was expected."""


class TooFarApart(LetterWrong):
    """The other side speaks a protocol that is not a neighbour of ours."""


@dataclass(frozen=True)
class Part:
    """A file of an order: its bytes, or where they are too many the SHA-256 under which they are to be fetched."""

    data: bytes = b""
    digest: str = ""


@dataclass(frozen=True)
class OpenOrder:
    """A leg of an action that a host is to do, or does.

    ``ticket``: signed (DSSE), as the runner takes it. ``plan``: the SHA-256 of the signed plan's envelope, which is
    fetched once. ``known``: the last durable journal line that was seen of the host. ``cancel``: a signed word that the
    leg is to be stopped; empty for none.
    """

    run: str
    action: str
    leg: int
    token: int
    ticket: bytes
    plan: str
    files: Mapping[str, Part] = field(default_factory=dict)
    known: int = 0
    cancel: bytes = b""

    @property
    def key(self) -> Key:
        """What makes it one order."""
        return (self.run, self.action, self.leg, self.token)

    def same(self, other: "OpenOrder") -> bool:
        """Whether the runner would be told the same."""
        return (self.ticket, self.plan, self.files) == (other.ticket, other.plan, other.files)


@dataclass(frozen=True)
class Orders:
    """The coordinator's letter to a host. ``word``: why it gets no orders any more, for people; empty for nothing."""

    orders: Tuple[OpenOrder, ...] = ()
    since: int = 0
    word: str = ""
    keys: str = ""
    """The changes of the keys that count: ``<number of the last one>:<SHA-256 of the blob with all>``; empty: none."""


@dataclass(frozen=True)
class Standing:
    """How one order stands, in the agent's letter."""

    run: str
    action: str
    leg: int
    token: int
    kind: str
    text: str = ""
    step: str = ""
    duration: float = 0.0

    @property
    def key(self) -> Key:
        """The order that it is about."""
        return (self.run, self.action, self.leg, self.token)


@dataclass(frozen=True)
class Reported:
    """The agent's letter.

    ``after``: the line above which ``lines`` begin; ``more``: there are further ones, so what is said to have ended is
    not yet told whole. ``boot`` and ``uptime`` (seconds since boot, suspended time too) put letters of one boot in
    order, whatever the host's wall clock does. ``trouble``: why the host can do nothing at all; empty for nothing.
    """

    cluster: str
    host: str
    boot: str
    uptime: float
    after: int = 0
    lines: Sequence[Mapping[str, Any]] = ()
    more: bool = False
    standings: Tuple[Standing, ...] = ()
    trouble: str = ""


def check_protocol(found: Any, who: str, whom: str) -> None:
    """Raise TooFarApart, with what to do, unless ``found`` (of ``who``) is ours (of ``whom``) or a neighbour of it."""
    if type(found) is not int or not 0 <= found < 10**6:
        raise LetterWrong(f"the letter of {who} has no protocol number")
    if abs(found - PROTOCOL) > 1:
        older = who if found < PROTOCOL else whom
        raise TooFarApart(
            f"{who} speaks protocol {found}, {whom} speaks {PROTOCOL}: only neighbours understand each other"
            f" (bring {older} to a newer version)"
        )


def write_orders(letter: Orders) -> bytes:
    """The letter as bytes. Order of keys is fixed: the same letter is the same bytes."""
    orders = []
    for order in letter.orders:
        told: Dict[str, Any] = {
            "run": order.run, "action": order.action, "leg": order.leg, "token": order.token,
            "ticket": _text(order.ticket), "plan": order.plan, "known": order.known,
            "files": {
                name: {"digest": part.digest} if part.digest else {"data": _text(part.data)}
                for name, part in order.files.items()
            },
        }  # fmt: skip
        if order.cancel:
            told["cancel"] = _text(order.cancel)
        orders.append(told)
    keys = {"keys": letter.keys} if letter.keys else {}
    word = {"word": letter.word} if letter.word else {}
    return _bytes({"protocol": PROTOCOL, "since": letter.since, "orders": orders, **keys, **word})


def read_orders(data: bytes) -> Orders:
    """The coordinator's letter. Raises LetterWrong, TooFarApart."""
    if len(data) > LARGEST:
        raise LetterWrong(f"the coordinator's letter has {len(data)} bytes: expected at most {LARGEST}")
    document = _document(data)
    check_protocol(document.get("protocol"), "the coordinator", "this agent")
    try:
        listed = _list(document["orders"])
        if len(listed) > MOST_ORDERS:
            raise LetterWrong(f"the coordinator's letter has {len(listed)} orders: expected at most {MOST_ORDERS}")
        orders = tuple(_order(one) for one in listed)
        return Orders(
            orders,
            _number(document["since"]),
            _word(document.get("word", ""))[:WORD],
            keys=_word(document.get("keys", ""))[:80],
        )
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise LetterWrong(f"the coordinator's letter is garbled: {error!r}") from None


def newer_keys(one: str, other: str) -> str:
    """Of two words on the changes of the keys, the one with more of them."""
    return max(one, other, key=_changes_in)


def _changes_in(said: str) -> int:
    number, there, _ = said.partition(":")
    return int(number) if there and number.isascii() and number.isdigit() and len(number) < 7 else 0


def write_report(report: Reported) -> bytes:
    """The payload of the agent's letter, to be signed."""
    return _bytes(
        {
            "protocol": PROTOCOL, "cluster": report.cluster, "host": report.host, "boot": report.boot,
            "uptime": report.uptime, "after": report.after, "lines": list(report.lines), "more": report.more,
            "standings": [dict(vars(standing)) for standing in report.standings], "trouble": report.trouble,
        }
    )  # fmt: skip


def read_report(data: bytes) -> Reported:
    """The agent's letter, from the payload whose signature was checked. Raises LetterWrong, TooFarApart."""
    document = _document(data)
    check_protocol(document.get("protocol"), "the host's agent", "this coordinator")
    try:
        return Reported(
            cluster=_word(document["cluster"]),
            host=_word(document["host"]),
            boot=_word(document["boot"]),
            uptime=_real(document["uptime"]),
            after=_number(document["after"]),
            lines=tuple(dict(line) for line in _list(document["lines"])),
            more=bool(document["more"]),
            standings=tuple(_standing(one) for one in _list(document["standings"])),
            trouble=_word(document.get("trouble", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LetterWrong(f"the agent's letter is garbled: {error!r}") from None


def read_hello(data: bytes) -> Dict[str, Any]:
    """What an agent said of itself, from the payload whose signature was checked. Raises LetterWrong."""
    return _document(data)


def lines_at_once(lines: Sequence[Mapping[str, Any]]) -> int:
    """How many of the lines, from the first on, fit into one letter; at least one."""
    size = 0
    for number, line in enumerate(lines):
        size += len(json.dumps(line)) + 2
        if size > LINES_AT_ONCE and number:
            return number
    return len(lines)


def _order(one: Mapping[str, Any]) -> OpenOrder:
    files = {}
    for name, part in one["files"].items():
        digest = _word(part.get("digest", ""))
        files[_word(name)] = Part(digest=digest) if digest else Part(data=_data(part["data"]))
    return OpenOrder(
        run=_word(one["run"]),
        action=_word(one["action"]),
        leg=_number(one["leg"]),
        token=_number(one["token"]),
        ticket=_data(one["ticket"]),
        plan=_word(one["plan"]),
        files=files,
        known=_number(one["known"]),
        cancel=_data(one.get("cancel", "")),
    )


def _standing(one: Mapping[str, Any]) -> Standing:
    kind = _word(one["kind"])
    if kind not in KINDS:
        raise ValueError(f"kind {kind[:40]!r}: expected one of {', '.join(KINDS)}")
    return Standing(
        run=_word(one["run"]),
        action=_word(one["action"]),
        leg=_number(one["leg"]),
        token=_number(one["token"]),
        kind=kind,
        text=_word(one["text"])[:4096],
        step=_word(one["step"])[:256],
        duration=_real(one["duration"]),
    )


def _document(data: bytes) -> Dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise LetterWrong(f"the letter is not JSON ({len(data)} bytes)") from None
    if not isinstance(value, dict):
        raise LetterWrong(f"the letter is {type(value).__name__}, expected an object")
    return value


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, found {str(value)[:40]!r}")
    value.encode()  # half a character, as JSON can have it, could not be kept: a ValueError, too
    return value


def _real(value: Any) -> float:
    if type(value) not in (int, float) or not -1e15 < value < 1e15:  # so it is no "not a number", either
        raise ValueError(f"expected seconds, found {str(value)[:40]!r}")
    return float(value)


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"expected a number from 0, found {str(value)[:40]!r}")
    return value


def _list(value: Any) -> List[Any]:
    if not isinstance(value, list):
        raise ValueError(f"expected a list, found {str(value)[:40]!r}")
    return value


def _data(value: Any) -> bytes:
    return base64.b64decode(_word(value), validate=True)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")
