"""What ``underway import tripleo --json`` prints: per role what each step selects, and all that is not imported."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from underway.errors import Problem
from underway.importers.tripleo.collect import Collection, Placed
from underway.importers.tripleo.tasks import STEPS, Selector, Task, distinct

SELECTED = "selected_per_step_tags_common_or_stepN"


def roles_report(collection: Collection) -> dict[str, Any]:
    """Per role and list: tasks before and after removal of duplicates, tasks of each step, tasks of none (B10-B12)."""
    return {
        one.role.name: {
            "disable_upgrade_deployment": one.role.disabled,
            **{key: list_report(key, one.tasks(key), collection.selector) for key in collection.lists},
        }
        for one in collection.placed
    }


def list_report(key: str, tasks: Sequence[Task], selector: Selector) -> dict[str, Any]:
    """One list of one role."""
    kept = distinct(tasks)
    selected = {step: [task for task in kept if selector.selects(task, step)] for step in STEPS[key]}
    report: dict[str, Any] = {
        "tasks_before_distinct": len(tasks),
        "tasks_after_distinct": len(kept),
        SELECTED: {f"step{step}": [task.label for task in found] for step, found in selected.items()},
        "never_selected": [task.label for task in kept if not selector.reaches(task, STEPS[key])],
    }
    asked = [f"{task.label} ({', '.join(sorted(task.tags - {'never'}))})" for task in kept if task.asked]
    if asked:
        report["only_when_asked"] = asked
    return report


def same_names(placed: Placed, key: str) -> list[str]:
    """Tasks of one name that are not the same: duplicates to a reader, and kept (B(c))."""
    found = Counter((task.service, task.name) for task in distinct(placed.tasks(key)))
    return sorted(f"{service}: {name}" for (service, name), count in found.items() if count > 1 and name[0] != "(")


def whole_report(collection: Collection) -> dict[str, Any]:
    """The whole answer. ``unresolved``: every template that is refused, with its place and the reason."""
    refused = [result for result in collection.results if result.state == "refused"]
    imported = [result for result in collection.results if result.state == "imported"]
    fixed = {
        (one.parameter, str(one.place)): {"parameter": one.parameter, "value": one.value, "place": str(one.place)}
        for placed in collection.placed
        for service in placed.services
        for one in service.fixed
    }
    return {
        "notation": collection.notation,
        "roles": roles_report(collection),
        "templates": {
            "with_tasks": len(collection.results),
            "imported": sum(1 for result in imported if not result.asked),
            "without_asked": sum(1 for result in imported if result.asked),
            "refused": len(refused),
            "aggregators": collection.aggregators,
            "tasks": {
                key: sum(result.tasks.get(key, 0) for result in imported)
                for key in STEPS
                if any(key in result.tasks for result in imported)
            },
        },
        "missing": sorted({key for placed in collection.placed for key in placed.missing}),
        "unresolved": [told(result.problem) for result in refused if result.problem is not None],
        "problems": [told(problem) for problem in collection.problems],
        "only_when_asked": {result.key: list(result.asked) for result in imported if result.asked},
        "same_name": {
            placed.role.name: found
            for placed in collection.placed
            if (found := [name for key in collection.lists for name in same_names(placed, key)])
        },
        "fixed_at_import": [fixed[key] for key in sorted(fixed)],
    }


def told(problem: Problem) -> dict[str, Any]:
    """A problem for machines."""
    return dataclasses.asdict(problem)


def summary(report: dict[str, Any]) -> list[str]:
    """The report in lines for people."""
    templates = report["templates"]
    lines = [
        f"templates: {templates['with_tasks']} with tasks, {templates['imported']} imported whole, "
        f"{templates['without_asked']} but for what runs only when asked for, {templates['refused']} refused"
    ]
    for name, role in report["roles"].items():
        driven = ", driven by its operator" if role["disable_upgrade_deployment"] else ""
        lines.append(f"{name}{driven}")
        for key, found in role.items():
            if not isinstance(found, dict) or not found["tasks_before_distinct"]:
                continue
            steps = " ".join(str(len(listed)) for listed in found[SELECTED].values())
            never = f", {len(found['never_selected'])} never selected" if found["never_selected"] else ""
            asked = f", {len(found['only_when_asked'])} only when asked for" if found.get("only_when_asked") else ""
            lines.append(
                f"  {key}: {found['tasks_before_distinct']} tasks, {found['tasks_after_distinct']} distinct; "
                f"per step {steps}{never}{asked}"
            )
    if report["fixed_at_import"]:
        names = sorted({one["parameter"] for one in report["fixed_at_import"]})
        lines.append(f"read at import, another value needs another import: {', '.join(names)}")
    for title, key in (
        ("set before it runs", "to_be_set"),
        ("modules that hosts must have", "outside_modules"),
        ("roles with nothing to do, left out", "idle_roles"),
        ("left out", "left_out"),
    ):
        if report.get(key):
            lines.append(f"{title}: {', '.join(sorted(report[key]))}")
    outside = sorted({name for names in report.get("outside_variables", {}).values() for name in names})
    if outside:
        lines.append(f"variables of TripleO's inventory, to be set as well: {', '.join(outside)}")
    return lines
