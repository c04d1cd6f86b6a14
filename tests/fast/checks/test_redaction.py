"""Planted secrets are gone from every form in which services write them, and ordinary lines are as they were."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from underway.core import diagnosis
from underway.core.redaction import GONE, Redactor

CANARY = "cAn4ry-Xy9"


@pytest.mark.parametrize(
    "line",
    [
        f"connection = mysql+pymysql://keystone:{CANARY}@10.0.0.10/keystone?charset=utf8",
        f"transport_url=rabbit://openstack:{CANARY}@c1:5672,openstack:{CANARY}@c2:5672//",
        f"admin_password = {CANARY}",
        f"  password: {CANARY}",
        f'{{"auth": {{"password": "{CANARY}", "user": "x"}}}}',
        f"'password': '{CANARY}', 'a': 1",
        f"metadata_proxy_shared_secret={CANARY}",
        f"curl -H 'X-Auth-Token: {CANARY}' http://10.0.0.10",
        f"x-subject-token={CANARY}",
        f"Authorization: Bearer {CANARY}",
        f"Cookie: session={CANARY}; a=b",
        f"mysql --user x --password={CANARY} -e 'select 1'",
        f"openstack --os-password {CANARY} token issue",
        f"memcache_secret_key = {CANARY}",
        f"CREATE USER x IDENTIFIED BY '{CANARY}'",
        f"OS_PASSWORD={CANARY}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{CANARY}",
        f"token gAAAAABm{CANARY.replace('-', '_')}0123456789abcdef issued",
        f"password = abc;{CANARY}",
        f"password = ){CANARY}",
        f"erlang_cookie = {CANARY}",
        f"RABBITMQ_ERLANG_COOKIE={CANARY}",
        f"mysql -uroot -p{CANARY} nova",
        f"sshpass -p {CANARY} ssh c1",
        f"curl -s -u admin:{CANARY} http://10.0.0.10",
        f"mysql://u:pa/ss@{CANARY}@db/x",
        f'{{"server": {{"id": "x", "adminPass": "{CANARY}"}}}}',
        f'"body": "{{\\"password\\": \\"{CANARY}\\", \\"a\\": 1}}"',
        f"jwt eyJhbGciOiJFUzI1NiJ9.{CANARY}x.sig-nature",
    ],
)
def test_what_looks_like_a_secret_is_removed(line: str) -> None:
    cleaned = Redactor().clean(f"before\n{line}\nafter\n")
    assert CANARY not in cleaned and CANARY.replace("-", "_") not in cleaned
    assert GONE in cleaned
    assert cleaned.startswith("before\n")


LINE = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp"), exclude_characters="\x85"), min_size=4
)
TEXT = LINE.filter(lambda text: text == text.strip() and len(text) >= 4)
TYPED = st.text(st.sampled_from("abcXYZ019-_!#$%&*()[]{}<>?/\\|;:,.'\"`~^=+@ "), min_size=4, max_size=24).filter(
    lambda text: text == text.strip()
)
SECRETS = st.one_of(TEXT, TYPED)

FORMS: dict[str, tuple[Callable[[str], str], bool]] = {
    "option": (lambda s: f"[db]\npassword = {s}\nuser = x", True),
    "option, closer": (lambda s: f"admin_password={s}\nuser = x", True),
    "cookie": (lambda s: f"erlang_cookie = {s}", True),
    "yaml": (lambda s: f"  - secret_key: {s}\n    user: x", True),
    "logged option": (lambda s: f"2030-01-02 DEBUG nova.service [-] database.slave_password = {s}", True),
    "inline": (lambda s: f"asked with password={s} at once", False),
    "json": (lambda s: json.dumps({"user": "x", "adminPass": s, "id": 1}), True),
    "json, not ascii": (lambda s: json.dumps({"auth": {"password": s}}, ensure_ascii=False), True),
    "json in json": (lambda s: json.dumps({"body": json.dumps({"password": s, "a": "b"})}), True),
    "json cut short": (lambda s: json.dumps({"password": s})[:-2], True),
    "python": (lambda s: repr({"password": s, "a": "b"}), True),
    "url": (lambda s: f"connection to rabbit://u:{s}@c1:5672,u:{s}@c2:5672//nova lost", False),
    "header": (lambda s: f"> X-Auth-Token: {s}", True),
    "header, python": (lambda s: repr({"Authorization": s, "Accept": "*/*"}), True),
    "command": (lambda s: f"openstack --os-password {shlex.quote(s)} token issue", True),
    "command, =": (lambda s: f"mysqldump --password={shlex.quote(s)} nova", True),
    "command, words": (lambda s: f"running {['keystone-manage', '--bootstrap-password', s, 'x']!r}", True),
    "mysql": (lambda s: f"mysql -u nova -p{shlex.quote(s)} -e 'select 1'", True),
    "command, words, =": (lambda s: f"running {['mysql', f'--password={s}', 'x']!r}", True),
    "mysql, words": (lambda s: f"{['mysql', '-u', 'x', f'-p{s}', 'nova']!r}", True),
    "sql": (lambda s: f"CREATE USER x IDENTIFIED BY '{s.replace(chr(39), chr(39) * 2)}'; SELECT 1", True),
}


def left_of(secret: str, cleaned: str, around: str) -> set[str]:
    """Pieces of four letters that survived, but for those that stand around a secret anyhow."""
    pieces = {secret[at : at + 4] for at in range(len(secret) - 3)}
    return {piece for piece in pieces if piece in cleaned and piece not in around}


@pytest.mark.parametrize("name", FORMS)
@settings(max_examples=300, deadline=None)
@given(secret=SECRETS)
def test_no_piece_of_a_secret_survives_in_any_form(name: str, secret: str) -> None:
    form, blanks = FORMS[name]
    assume(blanks or not any(letter.isspace() for letter in secret))
    cleaned = Redactor().clean(f"before\n{form(secret)}\nafter\n")
    assert GONE in cleaned and cleaned.startswith("before\n") and cleaned.endswith("\nafter\n")
    assert not left_of(secret, cleaned, f"before\n{form('')}\nafter\n{GONE}"), cleaned


@settings(max_examples=600, deadline=None)
@given(
    SECRETS,
    st.sampled_from((str, repr, json.dumps, quote, quote_plus, shlex.quote, lambda s: json.dumps([json.dumps(s)]))),
)
def test_no_piece_of_a_known_secret_survives(secret: str, spelled: Callable[[str], str]) -> None:
    cleaned = Redactor([f"{secret}\n"]).clean(f"before <{spelled(secret)}> after")
    assert not left_of(secret, cleaned, f"before <{spelled('')}> after{GONE}"), cleaned
    assert cleaned.startswith("before <") and cleaned.endswith("> after")


def test_what_is_known_is_removed_wherever_it_stands() -> None:
    redactor = Redactor(["pa ss/w+rd\n", "", "ab", "s3cr3t"])
    assert redactor.clean("x pa ss/w+rd y pa%20ss%2Fw%2Brd z s3cr3ts ab") == f"x {GONE} y {GONE} z {GONE}s ab"


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-21 12:00:00.123 12 INFO keystone.server.flask [-] Starting at http://10.0.0.10:5000/v3",
        "GET /v3/auth/tokens HTTP/1.1 201 1234 bytes, took 0.1",
        "2026-11-21T12:00:00Z step 'turn the link' on c1: ok",
        "rabbit on c1:5672, c2:5672 is up; host 10.0.0.1:80@eth0",
        "nova-compute: Claim successful on node n1",
    ],
)
def test_ordinary_lines_stay(line: str) -> None:
    assert Redactor(["unheard-of"]).clean(line) == line


AT = 1_893_553_445.0  # 2030-01-02T03:04:05Z


@pytest.mark.parametrize(
    ("line", "offset", "seconds"),
    [
        ("2030-01-02 03:04:05.250 12 INFO x", 0.0, 0.25),
        ("2030-01-02 04:04:05.250 12 INFO x", 3600.0, 0.25),
        ("2030-01-02T03:04:05Z x", 3600.0, 0.0),
        ("2030-01-02T05:04:05.5+0200 n1 nova-compute[1]: x", 0.0, 0.5),
        ("2030-01-01T22:04:05-05:00 x", 0.0, 0.0),
        ("[2030-01-02 03:04:05,123] x", 0.0, 0.123),
    ],
)
def test_when_a_line_was_written(line: str, offset: float, seconds: float) -> None:
    assert diagnosis.stamp_of(line, offset) == pytest.approx(AT + seconds)


def test_lines_around_a_moment() -> None:
    lines = ["no time yet", "2030-01-02 02:00:00 early", "  its trace", "2030-01-02 03:04:00 near", "  its trace",
             "2030-01-02 03:30:00 late", "more"]  # fmt: skip
    assert diagnosis.around(lines, AT, 0.0) == ["2030-01-02 03:04:00 near", "  its trace"]
    assert diagnosis.around([f"line {n}" for n in range(2000)], AT, 0.0)[0] == "line 1500"
    assert diagnosis.stamp_of("2030-13-45 99:99:99 x", 0.0) is None
