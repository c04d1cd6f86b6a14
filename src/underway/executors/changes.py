"""How hosts that fetch their work learn of changed keys: the changes lie as a blob, and every letter names the latest.

A letter only says where they lie. The host's runner takes none that the keys it knows have not signed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence

from underway.executors.mail import ORDERS, Mail, put_blob
from underway_agent.letters import LetterWrong, Orders, newer_keys, read_orders, write_orders


def packed(links: Sequence[bytes]) -> tuple[str, bytes]:
    """What letters name (the number of the last change, and the SHA-256 of all of them), and the blob itself."""
    if not links:
        return "", b""
    data = json.dumps([base64.b64encode(link).decode() for link in links]).encode()
    return f"{len(links)}:{hashlib.sha256(data).hexdigest()}", data


def digest_in(keys: str) -> str:
    """The blob that a letter names; empty for none."""
    return keys.partition(":")[2]


def named_in(letter: bytes) -> str:
    """What a letter says of the keys; empty for nothing, or where it cannot be understood."""
    if b'"keys"' not in letter:
        return ""
    try:
        return read_orders(letter).keys
    except LetterWrong:
        return ""


def leave(mail: Mail, host: str, links: Sequence[bytes]) -> None:
    """Have the host's letter name these changes, whatever else it says. Raises StoreError."""
    keys, data = packed(links)
    put_blob(mail, digest_in(keys), data)
    while True:
        found = mail.get(ORDERS + host)
        try:
            before = Orders() if found is None else read_orders(found.data)
        except LetterWrong:
            before = Orders()
        if before.keys == newer_keys(before.keys, keys):
            return
        letter = write_orders(Orders(**{**vars(before), "keys": keys}))
        if mail.put(ORDERS + host, letter, 0 if found is None else found.mark) is not None:
            return
