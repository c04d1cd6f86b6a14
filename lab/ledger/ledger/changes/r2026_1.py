"""2026.1 keeps amounts as whole cents, which can be added up, in place of text."""

from ledger.schema import Change

CHANGE = Change(
    release="2026.1",
    old="amount",
    old_type="VARCHAR(32)",
    new="cents",
    new_type="BIGINT",
    forward="CAST(ROUND(CAST(amount AS DECIMAL(20,2)) * 100) AS SIGNED)",
    backward="CAST(CAST({} / 100 AS DECIMAL(20,2)) AS CHAR)",
)
