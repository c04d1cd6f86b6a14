"""The schema, and what can be said of it without a database: which columns a statement uses. Pure.

A change replaces one column by a better one. While both are there, code that knows the change writes both, since code
that does not still reads the old one; and it reads the new one, or the old one where a row has not been moved yet.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

TABLE = "entry"
# The columns of the first release. What a caller gives and gets stays the same in every release: account and amount.
CREATE = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (id BIGINT PRIMARY KEY AUTO_INCREMENT,"
    " account VARCHAR(64) NOT NULL, amount VARCHAR(32) NOT NULL, made TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)"
)
FIRST = {"account": "%(account)s", "amount": "%(amount)s"}


@dataclass(frozen=True)
class Change:
    """A column ``old`` that a release replaces by ``new``.

    ``forward`` computes the new value from the old column, ``backward`` the old value from what stands for ``{}``; both
    are SQL, so that data is moved where it lies.
    """

    release: str
    old: str
    old_type: str
    new: str
    new_type: str
    forward: str
    backward: str

    def expand(self) -> str:
        """Adds the new column. Releases that do not know it leave it empty."""
        return f"ALTER TABLE {TABLE} ADD COLUMN IF NOT EXISTS {self.new} {self.new_type} NULL"

    def move(self, count: int) -> str:
        """Fills the new column of at most ``count`` rows."""
        return f"UPDATE {TABLE} SET {self.new} = {self.forward} WHERE {self.new} IS NULL LIMIT {count}"

    def left(self) -> str:
        """Counts the rows that have not been moved."""
        return f"SELECT COUNT(*) FROM {TABLE} WHERE {self.new} IS NULL"

    def contract(self) -> str:
        """Drops the old column: from then on releases before this one fail."""
        return (
            f"ALTER TABLE {TABLE} DROP COLUMN IF EXISTS {self.old}, MODIFY COLUMN {self.new} {self.new_type} NOT NULL"
        )


def _value(name: str, columns: Collection[str], changes: Sequence[Change]) -> str:
    """The SQL that reads what is called ``name`` in the first release, from whatever columns are there."""
    change = next((change for change in changes if change.old == name), None)
    if change is None or change.new not in columns:
        return name
    new = change.backward.format(change.new)
    return new if name not in columns else f"COALESCE({new}, {name})"


def select(columns: Collection[str], changes: Sequence[Change]) -> str:
    """Reads account and amount, in the form of the first release, of rows of the table."""
    read = ", ".join(f"{_value(name, columns, changes)} AS {name}" for name in FIRST)
    return f"SELECT id, {read} FROM {TABLE}"


def insert(columns: Collection[str], changes: Sequence[Change]) -> str:
    """Writes an entry into every column of its that is there and known."""
    replaced = {change.old for change in changes}
    values = {name: value for name, value in FIRST.items() if name in columns or name not in replaced}
    for change in changes:
        if change.new in columns:
            # the old column's name stands for its value, also where the column is gone
            values[change.new] = change.forward.replace(change.old, FIRST[change.old])
    return f"INSERT INTO {TABLE} ({', '.join(values)}) VALUES ({', '.join(values.values())})"
