"""The page of the metrics, in a real browser: it needs no network, runs no scripts, and can be read everywhere."""

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from relman_client.cli.dora_data import Report
from relman_client.cli.dora_page import page
from relman_client.cli.svg import ticks
from tests.cli.browser import Browser, find
from tests.cli.reports import HOSTILE, SERVICES, report, summary

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)

# The least contrast of a text with what is behind it, over all texts of the page that are seen: WCAG wants 4.5.
CONTRAST = """(() => {
  const light = (color) => {
    const parts = color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
      .map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$/.test(color)) return color;
    }
  };
  const ratios = [];
  for (const node of document.querySelectorAll("main *")) {
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())) continue;
    if (["title", "desc"].includes(node.tagName)) continue;
    const style = getComputedStyle(node);
    const [one, two] = [light(node.closest("svg") ? style.fill : style.color), light(behind(node))];
    ratios.push((Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05));
  }
  return Math.min(...ratios);
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find()
    if program is None:
        pytest.skip("there is no Chromium on this machine; RELMAN_TEST_CHROMIUM may name one")
    with Browser(program, tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a quarter of a year, with a name that no server would take."""
    written = tmp_path_factory.mktemp("page") / "dora.html"
    written.write_text(page(report((*SERVICES, HOSTILE)), NOW), encoding="utf-8")
    return written


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_is_readable_and_asks_the_network_for_nothing(
    browser: Browser, file: Path, width: int, scheme: str
) -> None:
    browser.open(file, width=width, scheme=scheme)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(CONTRAST) >= 4.5
    dark = browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 19, 29)"
    assert dark == (scheme == "dark")
    asked = [request["request"]["url"] for request in browser.told("Network.requestWillBeSent")]
    assert asked == [file.as_uri()]
    assert browser.told("Log.entryAdded") == browser.told("Runtime.exceptionThrown") == []
    assert browser.picture().startswith(b"\x89PNG")


def test_every_chart_is_drawn_and_has_a_name_and_a_table(browser: Browser, file: Path) -> None:
    browser.open(file, width=1280)
    charts = "[...document.querySelectorAll('svg.chart')]"
    assert browser.evaluate(f"{charts}.length") == 5
    assert browser.evaluate(f"{charts}.every((svg) => svg.getBBox().width > 300 && svg.getBBox().height > 100)")
    assert browser.evaluate(f"{charts}.every((svg) => svg.querySelector('title').textContent)")
    assert browser.evaluate(f"{charts}.every((svg) => svg.closest('.card').querySelector('table tbody tr'))")
    tree = browser.call("Accessibility.getFullAXTree")["nodes"]
    named = {node["name"]["value"] for node in tree if node.get("role", {}).get("value") == "image"}
    assert {"Lead time for changes over time", "Deployments day by day"} <= named


def _with_long_marks(days: int) -> Report:
    """A report of that many days, with axes up to `1 h 20 min`."""
    made = report(days=days)
    for part in made.parts:
        part.metrics.time_to_restore.value = 4800
    return made


@pytest.mark.parametrize("days", [1, 91, 400, 728, 3650])
def test_what_is_written_into_a_chart_stays_within_it_and_on_nothing_else(
    browser: Browser, tmp_path: Path, days: int
) -> None:
    written = tmp_path / "dora.html"
    written.write_text(page(_with_long_marks(days), NOW), encoding="utf-8")
    browser.open(written, width=1280)
    assert "1 h 20 min" in browser.evaluate("[...document.querySelectorAll('.tick')].map((mark) => mark.textContent)")
    outside = """[...document.querySelectorAll('svg.chart text')].filter((text) => {
      const [own, all] = [text.getBoundingClientRect(), text.closest('svg').getBoundingClientRect()];
      return own.left < all.left || own.right > all.right || own.top < all.top || own.bottom > all.bottom;
    }).map((text) => text.textContent)"""
    assert browser.evaluate(outside) == []
    overlaps = """[...document.querySelectorAll('svg.chart')].flatMap((svg) => {
      const texts = [...svg.querySelectorAll('text')].map((text) => [text.textContent, text.getBoundingClientRect()]);
      return texts.flatMap(([name, one], at) => texts.slice(at + 1).filter(([, other]) =>
        one.left < other.right && other.left < one.right && one.top + 2 < other.bottom && other.top + 2 < one.bottom
      ).map(([other]) => [name, other]));
    })"""
    assert browser.evaluate(overlaps) == []


def _places(text: str, kind: str) -> list[tuple[str, float]]:
    """The texts of a kind in the charts, and where each stands."""
    found = re.findall(rf'<text class="{kind}" x="([0-9.]+)"[^>]*>([^<]*)', text)
    return [(name, float(x)) for x, name in found]


def test_the_longest_mark_of_an_axis_has_its_room() -> None:
    marks = dict(_places(page(_with_long_marks(91), NOW), "tick"))
    assert marks["1 h 20 min"] >= 6 * len("1 h 20 min")


@pytest.mark.parametrize(
    ("last", "days", "first"),
    [
        (date(2026, 11, 25), 91, "27 Aug"),
        (date(2026, 12, 31), 365, "1 Jan"),
        (date(2026, 1, 31), 91, "2 Nov 2025"),
        (date(2026, 11, 25), 728, "28 Nov 2024"),
    ],
)
def test_the_days_of_a_chart_have_their_years_where_there_are_several(last: date, days: int, first: str) -> None:
    labels = [name for name, _ in _places(page(report(last=last, days=days), NOW), "label")]
    assert labels[0] == first
    assert len({len(label.split()) for label in labels[:3]}) == 1


def test_a_hostile_name_is_shown_and_does_nothing(browser: Browser, file: Path) -> None:
    browser.open(file, width=1280)
    assert browser.evaluate("document.scripts.length") == 0
    shown = browser.evaluate("[...document.querySelectorAll('tbody th')].map((cell) => cell.textContent)")
    assert "<script>alert(1)</script>\"'&\\u202e\\x1b[31m" in shown


def test_it_is_printed_in_light_whatever_the_screen_is(browser: Browser, file: Path) -> None:
    browser.open(file, width=1280, scheme="dark", media="print")
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.evaluate(CONTRAST) >= 4.5
    assert len(browser.call("Page.printToPDF", printBackground=True)["data"]) > 10_000


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag not in {"meta", "br", "line", "rect", "circle", "polyline"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - HTMLParser's
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_sound_and_names_no_other_address() -> None:
    text = page(report((*SERVICES, HOSTILE)), NOW)
    tags = _Tags()
    tags.feed(text)
    assert tags.open == []
    names = {name for name, _ in tags.attributes}
    assert not names & {"src", "href", "srcset", "action"}
    assert not [name for name in names if name.startswith("on")]
    assert not re.search(r"https?:|url\(|@import", text)
    ids = [value for name, value in tags.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_a_range_without_deployments_makes_a_page_too() -> None:
    full, empty = report(), summary(random.Random(0), 0, 91)
    parts = [replace(part, metrics=empty) for part in full.parts]
    text = page(replace(full, summary=empty, parts=parts, days=[], services=[], environments=[]), NOW)
    assert "Nothing was deployed there in the range" in text


@pytest.mark.parametrize(
    ("top", "scale", "marks"),
    [
        (0, 1, [0, 1]),
        (7.4, 1, [0, 2, 4, 6, 8]),
        (0.163, 0.01, [0, 0.05, 0.1, 0.15, 0.2]),
        (9000, 3600, [0, 3600, 7200, 10800]),
    ],
)
def test_axes_are_marked_at_round_numbers(top: float, scale: float, marks: list[float]) -> None:
    assert ticks(top, scale) == pytest.approx(marks)
