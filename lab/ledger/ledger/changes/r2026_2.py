"""2026.2 names who an entry belongs to in small letters, so that nobody has two accounts by mistake."""

from ledger.schema import Change

CHANGE = Change(
    release="2026.2",
    old="account",
    old_type="VARCHAR(64)",
    new="holder",
    new_type="VARCHAR(128)",
    forward="LOWER(account)",
    backward="{}",
)
