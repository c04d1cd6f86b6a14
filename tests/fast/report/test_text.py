"""The report in 80 columns, held to the letter."""

from __future__ import annotations

from support.sample_run import fleet_run, keystone_run
from support.spite import spiteful_names, spiteful_run
from underway.report import text

GOLDEN = """\
prod-eu1: 2025.2 to 2026.1: halted, 1 of 3 hosts upgraded (ctrl2 failed; the
  failure budget is 1); 2 outages, 22 of 2,616 requests failed.
2,616 requests, 22 failed; ctrl1 25 s

run r-2026-11-21-0900 from 2026-11-21 09:00:00 UTC, 1 min 34 s, not over
controller: 1 of 3 hosts out at once at most (limit 1)

Outages
  O1 09:01:25.3 token 1.2 s ± 100 ms, 12 bad answers; ctrl2: keystone “turn the
    link”, task “Restart keystone”
  O2 09:01:25.4 projects 1.0 s ± 100 ms, 10 bad answers; ctrl2: keystone “turn
    the link”, task “Restart keystone”
  2 intervals in which one back-end did not answer its own probe

Hosts
  ctrl1  upgraded, out for 25 s
  ctrl2  failed: task “Restart keystone” ended with 1: Job for keystone.service
    failed
  ctrl3  pending
  lb1    untouched

Probes
  create-project  832 requests, 0 failed, 100 % answered, 6.0 s not observed
  projects        892 requests, 10 failed, 98.8 % answered
  token           892 requests, 12 failed, 98.6 % answered
  ctrl1-health    892 requests, 42 failed, 95.2 % answered
  ctrl2-health    892 requests, 42 failed, 95.2 % answered
  ctrl3-health    892 requests, 0 failed, 100 % answered

What operators said
  09:00:52 ada: the run is paused: looking at the dashboards
  09:00:58 ada: the run is running

Warnings
  the balancer lb1 has no second: while it is away nothing is served
  probe create-project did not observe 6.0 s
"""


def test_a_halted_run_to_the_letter() -> None:
    made = text.lines(keystone_run(broken=True).summary())
    assert "\n".join(made[:-2]) + "\n" == GOLDEN
    assert made[-1].startswith("plan ") and made[-1].endswith(", audit entry 31 9f9f9f9f9f9f9f9f")


def test_every_line_fits_whatever_the_run() -> None:
    for made in (keystone_run(), fleet_run(fails=True), fleet_run(until=640)):
        assert all(len(line) <= 80 for line in text.lines(made.summary()))


def test_five_hundred_hosts_fit_a_screen() -> None:
    assert len(text.lines(fleet_run(fails=True).summary())) <= 40


def test_no_control_character_reaches_the_terminal() -> None:
    for line in text.lines(spiteful_names(spiteful_run().summary())):
        assert line.isprintable() and len(line) <= 80


def test_a_run_without_failures_says_so_in_one_line() -> None:
    made = keystone_run()
    made.outages = []
    for index, found in enumerate(made.stats):
        made.stats[index] = type(found)(probe=found.probe, service="keystone", host=found.host, samples=2000, up=160.0)
    assert made.summary().result == "6,000 requests, 0 failed; ctrl1 25 s, ctrl2 29 s, ctrl3 22 s"
    assert "3 hosts upgraded in 2 min 41 s; all 6,000 requests answered." in text.headline(made.summary())
