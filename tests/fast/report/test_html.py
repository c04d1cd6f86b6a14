"""The page as text: one file, escaped, the same every time. What a browser makes of it: ``tests/service``."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from support.sample_run import fleet_run, keystone_run
from support.spite import SCRIPTS, spiteful_names, spiteful_run
from underway.core.model.base import replace
from underway.core.timeline import MOST_SPANS, Timeline, timeline
from underway.report import html, jsonform

VOID = {"meta", "link", "input", "br", "rect", "line", "path", "circle"}


class Page(HTMLParser):
    """Tags that are not closed as opened, addresses that the page would load, and rows by table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data", "xlink:href"):
                self.addresses.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            if name.startswith("on") or name == "style":
                self.handlers.append(name)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_the_page_is_whole_and_loads_nothing() -> None:
    page = Page(html.render(keystone_run().summary()))
    assert (page.wrong, page.open) == ([], [])
    assert [address for address in page.addresses if not address.startswith("#")] == ["data:,"]
    assert len(page.ids) == len(set(page.ids)), "an id names one thing"
    missing = {address[1:] for address in page.addresses if address.startswith("#")} - set(page.ids)
    assert not missing, "every link leads somewhere"
    assert page.scripts == 1 and page.handlers == []


def test_the_same_summary_gives_the_same_page() -> None:
    assert html.render(keystone_run().summary()) == html.render(keystone_run().summary())


def test_the_policy_lets_only_our_own_script_run() -> None:
    text = html.render(keystone_run().summary())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src &#39;none&#39;; script-src &#39;sha256-") and "unsafe" not in policy[1]


def test_every_foreign_text_is_escaped() -> None:
    text = html.render(spiteful_names(spiteful_run().summary()))
    page = Page(text)
    assert page.scripts == 1 and page.handlers == []
    for script in SCRIPTS[:6]:
        assert script not in text
    assert "49{%" not in text and not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


def test_what_nobody_observed_is_not_a_zero() -> None:
    made = keystone_run()
    made.stats, made.outages, made.gaps = [], [], []
    text = html.render(made.summary())
    assert "Nobody observed this run" in text and text.count("not observed: it never asked") == 6
    assert not re.search(r"Requests failed</dt>", text)


def test_one_probe_that_saw_nothing_is_told_apart() -> None:
    made = keystone_run()
    made.stats = [found for found in made.stats if found.probe != "token"]
    line = timeline(made.summary())
    (strip,) = [strip for strip in line.strips if strip.probe == "token"]
    assert strip.figure == "not observed"
    assert not [piece for piece in strip.segments if piece.kind == "up"]


def test_time_outside_a_probes_own_account_is_not_observed() -> None:
    made = keystone_run()
    made.stats = [replace(found, start=found.start + 20, end=found.end - 30) for found in made.stats]
    strip = timeline(made.summary()).strips[0]
    blind = [piece for piece in strip.segments if piece.kind == "unobserved"]
    assert [piece.title.rsplit(": ", 1)[1] for piece in blind] == [
        "the prober was stopped and started", "the probe had not begun", "the probe had ended",
    ]  # fmt: skip


def test_outages_of_services_are_bands_and_those_of_back_ends_are_not() -> None:
    line = timeline(keystone_run().summary())
    assert [(band.label, band.cause) for band in line.bands] == [
        ("O1", "shared by 2"),
        ("O2–3", "ctrl2: turn the link"),
    ]


def test_positions_are_ordered_and_inside() -> None:
    line = timeline(keystone_run().summary())
    spans = [span for group in line.groups for lane in group.lanes for span in lane.spans]
    assert spans and all(0 <= span.x <= 100 and span.width > 0 and span.x + span.width <= 100.2 for span in spans)
    at = [tick.x for tick in line.ticks]
    assert at == sorted(at) and 5 <= len(at) <= 12


def test_a_running_step_reaches_the_end_of_the_picture() -> None:
    made = fleet_run(until=1720)
    line = timeline(made.summary())
    running = [s for g in line.groups for lane in g.lanes for s in lane.spans if s.outcome == "running"]
    assert running and all(abs(s.x + s.width - line_x(line, made.now)) < 0.2 for s in running)


def line_x(line: Timeline, at: float) -> float:
    return (at - line.start) / (line.end - line.start) * 100


def test_more_steps_than_can_be_told_apart_are_drawn_together() -> None:
    s = fleet_run().summary()
    first = s.steps[0]
    many = [
        replace(first, host=host.host, on=host.host, start=s.started + n * 7.5, end=s.started + n * 7.5 + 7.4)  # type: ignore[operator]
        for host in s.hosts
        for n in range(240)
    ]
    many[7] = replace(many[7], outcome="failed")
    line = timeline(replace(s, steps=tuple(many)))
    spans = [span for group in line.groups for lane in group.lanes for span in lane.spans]
    assert line.merged and len(spans) <= MOST_SPANS * 1.2
    assert [span.outcome for span in spans if span.outcome != "ok"] == ["failed"], "trouble is never merged away"


def test_a_long_table_of_steps_keeps_all_trouble() -> None:
    s = fleet_run(fails=True).summary()
    steps = [replace(row, host=f"h{n}") for n in range(3) for row in s.steps]
    shown = html._steps(steps)
    assert len(shown) == html.MOST_STEPS and sum(row.outcome == "unknown" for row in shown) == 3


def test_a_big_role_is_folded_but_not_its_trouble() -> None:
    text = html.render(fleet_run(fails=True).summary())
    assert "Show the other 401 hosts" in text
    before, _, _ = text.partition("Show the other 401 hosts")
    assert '<span class="name unknown" title="comp060">' in before


def test_json_says_the_same_and_reads_back() -> None:
    s = keystone_run(broken=True).summary()
    text = jsonform.dumps(s)
    assert jsonform.loads(text) == s
    made = jsonform.build(s)
    assert made["schema"] == 1 and set(made) == set(s.__struct_fields__)
    assert all(set(row) == set(s.steps[0].__struct_fields__) for row in made["steps"]), "every field is always there"
