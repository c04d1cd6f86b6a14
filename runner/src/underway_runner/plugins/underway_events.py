# Copyright: The Underway developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ansible's callback: tells the supervisor what happens, and lets no step begin before its journal line is durable."""

from __future__ import annotations

import os
import time
from typing import Any, Dict, List

from ansible.plugins.callback import CallbackBase

from underway_runner import link

DOCUMENTATION = """
name: underway_events
type: stdout
short_description: events of a pass for the runner's journal
description:
  - Speaks JSON lines with the supervisor of an Underway pass. Of no use outside it.
"""

FIELD_LIMIT = 1024 * 1024

NOTICE = "underway_notice"
"""A task with this variable set to true tells operators its message (``debug``, say) in status and report."""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """One per run of Ansible. A step is a set of tasks with one ``step_`` tag."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "underway_events"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._link = link.the_link()
        self._step = ""
        self._begun = 0.0

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002
        if task.action in ("meta", "ansible.builtin.meta", "ansible.legacy.meta"):
            return
        step = next((tag[5:] for tag in task.tags if str(tag).startswith("step_")), "")
        self._move(step)
        self._begun = time.monotonic()
        self._link.send({"task": task.get_name(), "step": step})

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._move("")
        self._begun = time.monotonic()
        self._link.ask({"task": task.get_name(), "handler": True})

    def v2_runner_on_ok(self, result: Any) -> None:
        self._result(result, "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._result(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._result(result, "failed", unreachable=True)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._result(result, "skipped")

    def v2_playbook_on_no_hosts_matched(self) -> None:
        self._link.send({"fatal": "no host of the inventory matches the play"})

    def v2_playbook_on_stats(self, stats: Any) -> None:
        failed = any(stats.failures.values()) or any(stats.dark.values())
        self._link.ask({"stats": True, "failed": failed})
        # Everything is said and durable; Ansible's own tidying up would only cost time (the supervisor does it).
        os._exit(2 if failed else 0)

    def _move(self, step: str) -> None:
        if step != self._step:
            self._link.ask({"end": self._step, "begin": step})
            self._step = step

    def _result(self, result: Any, how: str, unreachable: bool = False) -> None:
        task, data = result._task, result._result
        fields = getattr(result, "_task_fields", None) or {}
        hidden = bool(getattr(task, "no_log", False) or fields.get("no_log") or data.get("_ansible_no_log"))
        changed = bool(data.get("changed"))
        message = {
            "result": how,
            "task": task.get_name(),
            "handler": type(task).__name__ == "Handler",
            "changed": changed,
            "duration": round(time.monotonic() - self._begun, 6),
            "text": "(output hidden by no_log)" if hidden else text_of(data, how),
        }
        if unreachable:
            message["unreachable"] = True
        if how == "ok" and not hidden and (task.vars or {}).get(NOTICE) is True:
            message["notices"] = notices_of(data)
            message["text"] = "\n".join(message["notices"])
        if changed and how == "ok":
            notify = fields.get("notify") or getattr(task, "notify", None) or []
            message["notify"] = [str(name) for name in ([notify] if isinstance(notify, str) else notify)]
        self._link.send(message)


def notices_of(data: Dict[str, Any]) -> List[str]:
    """The messages of a result, or of each item of its loop; of a text each line.

    What would be too much is left out whole: a piece could end within a secret, and would not be known for one.
    """
    items = data.get("results")
    found: List[str] = []
    size = 0
    for row in items if isinstance(items, list) else [data]:
        if not isinstance(row, dict) or row.get("_ansible_no_log") or row.get("censored") or row.get("skipped"):
            continue
        message = row.get("msg")
        texts = message.splitlines() if isinstance(message, str) else message if isinstance(message, list) else []
        for text in (str(one).strip() for one in texts):
            size += len(text) + 1
            if text and size <= FIELD_LIMIT:
                found.append(text)
    return found


def text_of(data: Dict[str, Any], how: str) -> str:
    """What a result says to people: message, output and errors, each bounded."""
    parts = []
    items = data.get("results")
    rows = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    for row in [data, *rows]:
        if row.get("_ansible_no_log") or row.get("censored"):
            parts.append("(output hidden by no_log)")
            continue
        keys = (
            ("msg", "reason", "stdout", "stderr", "module_stdout", "module_stderr")
            if how != "ok"
            else ("stdout", "stderr")
        )
        for key in keys:
            value = row.get(key)
            if value in (None, "", [], {}):
                continue
            text = value if isinstance(value, str) else repr(value)
            if len(text) > 2 * FIELD_LIMIT:
                left = len(text) - 2 * FIELD_LIMIT
                text = f"{text[:FIELD_LIMIT]}\n[{left} characters left out]\n{text[-FIELD_LIMIT:]}"
            parts.append(text if key in ("msg", "stdout") else f"{key}: {text}")
        if "rc" in row and how == "failed":
            parts.append(f"exit code {row['rc']}")
    return "\n".join(parts)
