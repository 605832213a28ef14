import json
import uuid
from typing import Any

import pytest
import typer

from relman_client.cli.windows import once_of, once_text, weekly_of, weekly_text
from tests.cli.conftest import Command

NIGHTS = "fri-sun 18:00-06:00 Europe/Berlin"
CHRISTMAS = "2026-12-24T00:00Z/2026-12-27T00:00Z"


def answer(command: Command, *arguments: str) -> Any:
    """What a command answers as JSON."""
    done = command("freeze", *arguments, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def name() -> str:
    return f"f{uuid.uuid4().hex[:10]}"


@pytest.mark.parametrize(
    "text",
    [
        NIGHTS,
        "mon 09:00-17:00 UTC",
        "mon-sun 00:00-24:00 Pacific/Apia",
        "mon-tue,thu,sat-sun 00:00-00:00 America/New_York",
    ],
)
def test_a_weekly_window_is_shown_as_it_is_written(text: str) -> None:
    assert weekly_text(weekly_of(text)) == text


def test_days_may_go_over_the_end_of_the_week() -> None:
    assert weekly_text(weekly_of("SAT-mon,wed 1:00-2:00 UTC")) == "mon,wed,sat-sun 1:00-2:00 UTC"


def test_a_zone_may_be_left_to_the_server() -> None:
    assert weekly_of("mon 09:00-17:00").time_zone == ""


@pytest.mark.parametrize(
    "text", ["", "mon", "mon 09:00", "mon 9-5pm", "day 09:00-17:00", "mon- 09:00-17:00", NIGHTS * 2]
)
def test_what_is_no_weekly_window_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"fri-sun 18:00|mon, tue, wed"):
        weekly_of(text)


@pytest.mark.parametrize("text", [CHRISTMAS, "2026-12-24T00:00:30Z/2026-12-24T00:00:30.500000Z"])
def test_a_window_that_comes_once_is_shown_as_it_is_written(text: str) -> None:
    assert once_text(once_of(text)) == text


@pytest.mark.parametrize("text", ["", "/", "2026-12-24", "2026-12-24/", "2026-12-24/P3D", "tomorrow/2026-12-24"])
def test_what_is_no_span_of_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="2026-12-24T00:00Z/2026-12-27T00:00Z"):
        once_of(text)


def test_a_freeze_from_its_creation_to_its_end(relman: Command, name: str) -> None:
    relman("service", "create", name)
    relman("env", "create", name, "--type", "production")
    windows = ("--weekly", NIGHTS, "--weekly", "wed 09:00-10:00", "--once", CHRISTMAS)
    created = answer(relman, "create", name, *windows, "--service", name, "--environment", name)
    assert (created["is_active"], created["services"], created["environments"]) == (True, [name], [name])
    assert [window["time_zone"] for window in created["weekly_windows"]] == ["Europe/Berlin", "UTC"]
    assert created["one_time_windows"] == [{"start": "2026-12-24T00:00:00Z", "end": "2026-12-27T00:00:00Z"}]
    assert answer(relman, "get", name) == created
    assert answer(relman, "off", name)["is_active"] is False
    assert name not in [freeze["name"] for freeze in answer(relman, "list", "--on", "-n", "0")]
    assert answer(relman, "on", name)["is_active"] is True
    assert name in [freeze["name"] for freeze in answer(relman, "list", "--service", name, "--environment", name)]
    assert relman("freeze", "delete", name).stderr == f"freeze {name} is deleted\n"
    assert answer(relman, "list", "-q", name) == []


def test_an_update_changes_what_is_given_and_takes_away_what_is_empty(relman: Command, name: str) -> None:
    relman("service", "create", name)
    answer(relman, "create", name, "--weekly", NIGHTS, "--once", CHRISTMAS, "--service", name, "--off")
    updated = answer(relman, "update", name, "--description", "Quiet", "--weekly", "mon 00:00-24:00")
    assert (updated["description"], updated["is_active"], updated["services"]) == ("Quiet", False, [name])
    assert [window["start"] for window in updated["weekly_windows"]] == ["00:00"]
    emptied = answer(relman, "update", name, "--service", "", "--once", "", "--name", f"{name}-2")
    assert (emptied["name"], emptied["services"], emptied["one_time_windows"]) == (f"{name}-2", [], [])
    assert len(emptied["weekly_windows"]) == 1


def test_freezes_are_shown_in_words(relman: Command, name: str) -> None:
    relman("freeze", "create", name, "--weekly", NIGHTS, "--weekly", "mon 09:00-17:00", "--once", CHRISTMAS)
    title, row = relman("freeze", "list", "-q", name).stdout.splitlines()
    assert title.split() == ["NAME", "ON", "SERVICES", "ENVIRONMENTS", "WINDOWS", "DESCRIPTION"]
    assert row.split(maxsplit=4) == [name, "yes", "all", "all", f"{NIGHTS}; mon 09:00-17:00 UTC; {CHRISTMAS}"]
    shown = relman("freeze", "get", name).stdout
    assert "services      all\n" in shown
    assert "fri-sun  18:00  06:00 the day after  Europe/Berlin\n" in shown
    assert "mon      09:00  17:00                UTC\n" in shown
    assert "2026-12-24T00:00Z  2026-12-27T00:00Z\n" in shown


def test_the_server_says_which_window_is_wrong(relman: Command, name: str) -> None:
    done = relman("freeze", "create", name, "--weekly", "mon 09:00-17:00", "--weekly", "mon 09:00-17:00 Mars/Olympus")
    assert done.returncode == 1
    assert "weekly_windows[1].time_zone" in done.stderr


def test_a_time_without_a_zone_is_of_this_machine() -> None:
    window = once_of("2026-12-24T00:00/2026-12-24T01:00")
    assert window.end.seconds - window.start.seconds == 3600
