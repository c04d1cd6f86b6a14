"""What each release changes in the schema: one module per release, named ``r<year>_<number>``, with a ``CHANGE``."""

from __future__ import annotations

import importlib
import pkgutil

from ledger.schema import Change


def known() -> list[Change]:
    """The changes that this release knows, the oldest first: those whose modules are installed."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name.startswith("r"))
    return [importlib.import_module(f"{__name__}.{name}").CHANGE for name in names]
