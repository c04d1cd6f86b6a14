"""One executor over several: each host by its connection."""

from __future__ import annotations

from collections.abc import Mapping

from underway.errors import ExecutorError
from underway.executors.base import Executor, Order, Report

SLICE = 0.05
"""Seconds that one of several executors is waited for at a time: a report is late by at most this."""


class ByConnection:
    """Hands orders to the executor of ``order.host.connection``."""

    def __init__(self, executors: Mapping[str, Executor]) -> None:
        self._executors = dict(executors)
        self._used: dict[str, Executor] = {}

    def submit(self, order: Order) -> None:
        """See Executor. Raises ExecutorError for a connection that nobody serves."""
        self._of(order).submit(order)

    def cancel(self, order: Order) -> None:
        """See Executor."""
        self._of(order).cancel(order)

    def withdraw(self, run: str, action: str) -> None:
        """See Executor."""
        for executor in self._used.values():
            executor.withdraw(run, action)

    def reports(self, timeout: float) -> list[Report]:
        """See Executor."""
        used = list(self._used.values()) or list(self._executors.values())[:1]
        if len(used) == 1:
            return used[0].reports(timeout)
        found = [report for executor in used for report in executor.reports(0.0)]
        while not found and timeout > 0:
            for executor in used:
                found.extend(executor.reports(min(SLICE, timeout)))
                timeout -= SLICE
        return found

    def close(self) -> None:
        """See Executor."""
        for executor in self._executors.values():
            executor.close()

    def _of(self, order: Order) -> Executor:
        try:
            executor = self._executors[order.host.connection]
        except KeyError:
            raise ExecutorError(
                f"{order.host.name}: no executor for connection {order.host.connection!r} "
                f"(expected one of {', '.join(sorted(self._executors))})"
            ) from None
        self._used[order.host.connection] = executor
        return executor
