"""`relman dora`, `relman incident` and `relman metrics`, against a real server; and numbers in words."""

import csv
import io
import itertools
import json
import uuid
from datetime import date
from typing import Any

import pytest
import typer

from relman_client.cli import dora_text
from relman_client.cli.dora import _asked
from relman_client.cli.dora_csv import HEADER, inert
from relman_client.cli.dora_csv import write as write_csv
from relman_client.cli.dora_text import sparkline
from relman_client.cli.dora_words import number, span
from relman_client.cli.metrics import value_of
from tests.cli.conftest import Command
from tests.cli.reports import HOSTILE, SERVICES, report


def answer(command: Command, *arguments: str) -> Any:
    """What a command answers as JSON."""
    done = command(*arguments, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def delivered(relman: Command) -> tuple[str, list[str]]:
    """A service, with two deployments to production of which the second has an incident; and their ids."""
    name = f"d{uuid.uuid4().hex[:10]}"
    relman("service", "create", name)
    relman("env", "create", name, "--type", "production")
    ids = []
    for version in ("1.0.0", "1.1.0"):
        relman("release", "create", name, version)
        relman("release", "publish", f"{name}@{version}")
        ids.append(answer(relman, "deployment", "create", f"{name}@{version}", name)["id"])
        relman("deployment", "start", ids[-1])
        relman("deployment", "complete", ids[-1])
    return name, ids


def test_from_an_incident_to_the_number_it_makes_and_back(relman: Command, delivered: tuple[str, list[str]]) -> None:
    name, (_, bad) = delivered
    incident = answer(relman, "incident", "create", "Nobody can pay", "--service", name, "-e", name)
    assert answer(relman, "incident", "list", "--service", name, "--unlinked")[0]["id"] == incident["id"]
    assert answer(relman, "incident", "link", incident["id"], bad)["deployment_id"] == bad
    assert answer(relman, "incident", "resolve", incident["id"])["resolved_at"]
    assert answer(relman, "incident", "get", incident["id"])["title"] == "Nobody can pay"

    shown = answer(relman, "dora", "-s", name, "--since", "30d")
    assert shown["summary"]["change_failure_rate"]["value"] == 0.5
    assert shown["services"][0]["service_name"] == name
    explained = answer(relman, "dora", "-s", name, "--explain", "failure-rate")
    assert [each["id"] for each in explained["deployments"]] == [bad]
    assert explained["deployments"][0]["why"] == "incident: Nobody can pay"

    text = relman("dora", "-s", name).stdout
    assert "Change failure rate" in text
    assert "50 %" in text
    assert "\x1b" not in text
    told = relman("dora", "-s", name, "--explain", "failure-rate").stdout
    assert f"{name}@1.1.0" in told
    assert "incident: Nobody can pay" in told


def test_a_page_and_a_table_are_written(relman: Command, delivered: tuple[str, list[str]]) -> None:
    name, _ = delivered
    done = relman("dora", "-s", name, "--html", "page.html", "--csv", "numbers.csv")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert name in (relman.folder / "page.html").read_text()
    rows = list(csv.reader(io.StringIO((relman.folder / "numbers.csv").read_text(), newline="")))
    assert tuple(rows[0]) == HEADER
    assert ["service", name] in [row[:2] for row in rows]


def test_numbers_of_a_pipeline_are_recorded_and_compared(relman: Command, delivered: tuple[str, list[str]]) -> None:
    name, ids = delivered
    for deployment, build in zip(ids, ("40s", "50s"), strict=True):
        recorded = answer(relman, "metrics", "record", deployment, f"build={build}", "tests=1204")
        assert [each["metric_name"] for each in recorded] == ["build", "tests"]
    listed = answer(relman, "metrics", "list", "--service", name, "--name", "build")
    assert sorted(each["metric_value"] for each in listed) == [40, 50]
    percentiles = answer(relman, "metrics", "list", "--service", name, "--name", "build", "--percentiles")
    assert [(row["release_version"], row["p50"], row["unit"]) for row in percentiles] == [
        ("1.1.0", 50, "s"),
        ("1.0.0", 40, "s"),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--zone", "Europe/Atlantis"), "no time zone"),
        (("--since", "2026-02-01", "--until", "2026-01-01"), "must not be after --until"),
        (("--since", "1900-01-01"), "3,659"),
        (("--explain", "speed"), "frequency"),
        (("--type", "moon"), "production"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(relman: Command, arguments: tuple[str, ...], said: str) -> None:
    done = relman("dora", *arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())


def test_days_are_of_the_zone_and_the_range_is_in_even_parts() -> None:
    asked = _asked(None, None, "2026-01-01", "2026-03-31", "Pacific/Auckland")
    parts = list(asked.parts())
    assert (parts[0][0], parts[-1][1]) == (asked.first, asked.last)
    assert {(last - first).days + 1 for first, last in parts[1:]} == {7}
    assert all(before[1] < after[0] for before, after in itertools.pairwise(parts))
    start = asked.fields()["start_date"].ToDatetime()
    assert (start.hour, (asked.last - asked.first).days) == (11, 89)


def test_a_report_is_told_without_colours_and_charts_where_nobody_sees_them(capsys: pytest.CaptureFixture[str]) -> None:
    dora_text.show(report((*SERVICES[:2], HOSTILE)))
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert not set(text) & set(dora_text.BLOCKS)
    assert "\\x1b[31m" in text


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_report_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    dora_text.show(report(SERVICES[:3]))
    head, _, tables = terminal.getvalue().partition("By service")
    assert "\x1b" not in head
    assert max(len(line) for line in head.splitlines()) <= max(columns, 60)
    assert set(head) & set(dora_text.BLOCKS)
    assert "checkout" in tables


def test_a_sparkline_shows_where_nothing_is_known() -> None:
    assert sparkline([0, 4, None, 8]) == " ▅·█"
    assert sparkline([0, 0]) == "▁▁"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (8.44, "8.4 s"),
        (59.96, "60 s"),
        (3120, "52 min"),
        (3725, "1 h 2 min"),
        (100800, "1 d 4 h"),
        (3e6, "34 d"),
    ],
)
def test_spans_are_told_in_two_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_numbers_have_their_units() -> None:
    assert [number(0.125, "ratio"), number(0.05, "ratio"), number(0, "ratio")] == ["12.5 %", "5 %", "0 %"]
    assert [number(3.256, "per_day"), number(0.02, "per_day"), number(0, "per_day")] == [
        "3.26 a day",
        "1 in 50 days",
        "0 a day",
    ]


def test_csv_is_inert_and_has_every_number(tmp_path: Any) -> None:
    file = tmp_path / "numbers.csv"
    write_csv(report(("=cmd|'/c calc'!A1", HOSTILE), last=date(2026, 11, 25)), file)
    data = file.read_bytes()
    assert data.count(b"\r\n") == data.count(b"\n")
    rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    assert {row["name"] for row in rows if row["of"] == "service"} == {"'=cmd|'/c calc'!A1", HOSTILE}
    assert not [cell for row in rows for cell in row.values() if cell and cell[0] in "=+@"]
    assert [inert(text) for text in ("=1", "+1", "-1", "@a", "\tx", "plain")] == [
        "'=1",
        "'+1",
        "'-1",
        "'@a",
        "'\tx",
        "plain",
    ]


def test_a_number_is_typed_with_its_unit_right_behind() -> None:
    read = value_of("image/size=-2.5e3MiB")
    assert (read.metric_name, read.metric_value, read.unit) == ("image/size", -2500.0, "MiB")
    for wrong in ("build", "=3", "build=", "build=fast", "build=nan"):
        with pytest.raises(typer.BadParameter, match="NAME=VALUE"):
            value_of(wrong)
