"""The report in a real Chromium, opened from a file: whole, quiet, readable on a phone, harmless, printable."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.sample_run import SampleRun, fleet_run, keystone_run
from support.spite import spiteful_names, spiteful_run
from underway.core.rows import Summary
from underway.report import html

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.service

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""
if not CHROMIUM:
    pytest.skip("NOT RUN: no chromium on PATH (or name one by CHROMIUM)", allow_module_level=True)
api: Any = pytest.importorskip("playwright.sync_api", reason="NOT RUN: playwright is not installed")

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass
class Opened:
    """A page and everything that it did."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


def show(browser: Browser, path: Path, summary: Summary, width: int = 1280, scripts: bool = True) -> Opened:
    path.write_text(html.render(summary), encoding="utf-8")
    context = browser.new_context(viewport={"width": width, "height": 800}, java_script_enabled=scripts)
    opened = Opened(context.new_page())
    opened.page.on("request", lambda request: opened.requests.append(request.url))
    opened.page.on("console", lambda message: opened.complaints.append(f"{message.type}: {message.text}"))
    opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.page.goto(path.as_uri())
    return opened


def test_it_opens_without_a_network_and_without_a_complaint(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    opened = show(browser, path, keystone_run().summary())
    assert [url for url in opened.requests if url not in (path.as_uri(), "data:,")] == []
    assert opened.complaints == []
    assert opened.page.title() == "prod-eu1: 2025.2 to 2026.1 · Underway"


def test_the_tables_have_a_row_for_each_fact(browser: Browser, tmp_path: Path) -> None:
    summary = keystone_run().summary()
    page = show(browser, tmp_path / "report.html", summary).page
    felt = [row for row in summary.outages if row.label.startswith("O")]
    assert page.locator("#outage-rows tbody tr").count() == len(felt) == 3
    assert page.locator("#backend-rows tbody tr").count() == len(summary.outages) - 3
    assert page.locator("#host-rows tbody tr").count() == len(summary.hosts)
    assert page.locator("#step-rows tbody tr").count() == len(summary.steps)
    row = page.locator("#O2").inner_text()
    assert "token" in row and "1.2 s ± 100 ms" in row and "11 × status 503" in row
    assert "ctrl2 turn the link › Restart keystone" in row


def test_the_timeline_has_spans_bands_and_marks(browser: Browser, tmp_path: Path) -> None:
    made = keystone_run(broken=True)
    page = show(browser, tmp_path / "report.html", made.summary()).page
    drains = sum(1 for row in made.summary().steps if row.on != row.host)
    assert page.locator("rect.s").count() == len(made.summary().steps) + drains, "a drain is on both lanes"
    assert page.locator("rect.s.failed").count() == 1
    title = page.locator("rect.s.failed title").text_content() or ""
    assert title.startswith("ctrl2: turn the link\nkeystone upgrade, failed, ")
    assert page.locator("a[href='#O1'] .flag").count() == 1 and page.locator(".marker-text").count() == 2
    for svg in page.locator(".timeline .row > svg").all():
        assert svg.get_attribute("role") == "img" and svg.get_attribute("aria-label")
    box, lane = page.locator("rect.s.failed").bounding_box(), page.locator("rect.lane.failed").bounding_box()
    assert box and lane and lane["y"] <= box["y"] and box["y"] + box["height"] <= lane["y"] + lane["height"] + 1


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("make", [keystone_run, lambda: fleet_run(fails=True), spiteful_run])
def test_nothing_makes_the_page_wider_than_the_screen(
    browser: Browser, tmp_path: Path, width: int, make: type[SampleRun]
) -> None:
    summary = make().summary()  # type: ignore[call-arg]
    page = show(browser, tmp_path / "report.html", summary, width).page
    page.evaluate("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    smallest = page.evaluate(
        "Math.min(...Array.from(document.querySelectorAll('td, p, li, dd')).filter((n) => n.offsetParent)"
        ".map((n) => parseFloat(getComputedStyle(n).fontSize)))"
    )
    assert smallest >= 11.5, "readable without a lens"


def test_every_spiteful_text_is_shown_and_none_is_obeyed(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    opened = show(browser, path, spiteful_names(spiteful_run().summary()))
    page = opened.page
    page.evaluate("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    page.locator("rect.s").first.hover(force=True)
    page.wait_for_timeout(200)
    assert page.evaluate("window.pwned") is None
    assert (
        page.url == path.as_uri() and [url for url in opened.requests if not url.startswith(("file:", "data:,"))] == []
    )
    assert page.locator("script").count() == 1 and page.locator("img, iframe, base").count() == 0
    assert "<script>window.pwned=1</script>" in page.locator(".warnings").inner_text()
    assert opened.complaints == [], "the page's own policy had nothing to refuse"


def test_should_escaping_ever_fail_the_policy_still_holds(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    injected = "<script>window.pwned=1</script><img src=x onerror=window.pwned=1><img src=http://127.0.0.1:9/x>"
    path.write_text(html.render(keystone_run().summary()).replace("</main>", injected + "</main>"), encoding="utf-8")
    page = browser.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(path.as_uri())
    assert page.evaluate("window.pwned") is None
    assert sum("Content Security Policy" in text for text in refused) >= 3


def test_it_reads_without_scripts(browser: Browser, tmp_path: Path) -> None:
    page = show(browser, tmp_path / "report.html", keystone_run().summary(), scripts=False).page
    assert page.locator("#O1").is_visible() and page.locator("rect.s").first.is_visible()
    assert page.locator(".needs-js:visible").count() == 0, "no button that does nothing"


def test_magnifying_and_finding(browser: Browser, tmp_path: Path) -> None:
    opened = show(browser, tmp_path / "report.html", keystone_run(broken=True).summary())
    page = opened.page
    before = page.locator("rect.s.failed").bounding_box()
    page.click("[data-set-zoom='4']")
    after = page.locator("rect.s.failed").bounding_box()
    assert before and after and after["width"] > 3.9 * before["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280, "only the timeline scrolls"
    page.click("[data-set-zoom='1']")
    page.locator("rect.s.failed").click()
    assert page.locator(".tip").inner_text().startswith("ctrl2: turn the link")
    page.fill("[data-filter='step-rows']", "ctrl2 failed")
    assert page.locator("#step-rows tbody tr:visible").count() == 1
    assert opened.complaints == []


def test_a_flag_leads_to_its_row(browser: Browser, tmp_path: Path) -> None:
    page = show(browser, tmp_path / "report.html", keystone_run().summary()).page
    page.locator("a[href='#O2']").first.click()
    assert page.url.endswith("#O2") and page.locator("#O2").is_visible()


def test_it_prints(browser: Browser, tmp_path: Path) -> None:
    page = show(browser, tmp_path / "report.html", keystone_run().summary()).page
    data = page.pdf(prefer_css_page_size=True)
    assert data.startswith(b"%PDF-") and len(data) > 30_000
    assert 2 <= data.count(b"/Type /Page\n") + data.count(b"/Type /Page ") + data.count(b"/Type /Page/") <= 8
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)", "paper is white"
    assert page.locator(".zoom:visible").count() == 0


def test_colour_is_not_the_only_carrier(browser: Browser, tmp_path: Path) -> None:
    page = show(browser, tmp_path / "report.html", keystone_run(broken=True).summary()).page
    signs = page.locator("#host-rows .tag").all_inner_texts()
    assert [sign.split() for sign in signs] == [
        ["✓", "upgraded"],
        ["✕", "failed"],
        ["·", "pending"],
        ["–", "untouched"],
    ]
    assert page.locator("text.mark.failed").text_content() == "✕"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(browser: Browser, tmp_path: Path, scheme: str) -> None:
    page = show(browser, tmp_path / "report.html", keystone_run(broken=True).summary()).page
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    low = page.evaluate(CONTRAST)
    assert low == [], "WCAG AA: 4.5 to 1"


CONTRAST = """() => {
  const linear = (v) => v / 255 <= .03928 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const ground = (node) => {
    for (let n = node; n; n = n.parentElement) {
      const c = parse(getComputedStyle(n).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const low = new Set();
  for (const node of document.querySelectorAll('body *')) {
    if (!node.offsetParent || node.closest('svg, .skip, [aria-hidden]')) continue;
    if (!Array.from(node.childNodes).some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const a = light(parse(getComputedStyle(node).color)), b = light(ground(node));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) low.add(`${node.tagName}.${node.className}: ${ratio.toFixed(2)}`);
  }
  return Array.from(low);
}"""
