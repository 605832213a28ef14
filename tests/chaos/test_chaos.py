"""Short runs; and that a run notices what it is there to notice, and says so."""

from collections import Counter

import pytest

from tests.chaos.cluster import started
from tests.chaos.history import Findings
from tests.chaos.report import Checked, Recovery, Report
from tests.chaos.run import Options, chaos


@pytest.mark.timeout(150)
@pytest.mark.parametrize("setup", ["sqlite", "redis"])
async def test_kills_lose_and_repeat_nothing(setup: str) -> None:
    """Without the cursors of followers, or with acknowledgements before the commit, it fails."""
    with started(setup) as cluster:
        report = await chaos(cluster, Options(seed=1, kills=1, with_others=False))
    assert report.passed, report.text()
    assert report.kills == 1
    assert report.indeterminate.total(), "who is killed answers nothing"


def _report(**wrong: int) -> Report:
    checked = [Checked("lines", 10, 20, Findings()), Checked("changes", 5, 5, Findings(**wrong))]
    recoveries = [Recovery("kill -9", 1.0, 2.0), Recovery("kill -9", 3.0, 4.0), Recovery("cut", 0.5, 0.25)]
    return Report("--seed 7", "two servers", checked, recoveries, kills=2, seconds=9.0)


def test_a_run_in_which_nothing_was_wrong_passes() -> None:
    report = _report()
    assert report.passed
    text = report.text()
    assert "python -m tests.chaos --seed 7" in text
    assert "PASS: 0 lost, 0 repeated, 0 out of order, 0 gaps, 0 invented" in text
    assert ["kill", "-9", "2", "2.00", "3.00", "3.00", "4.00"] in [line.split() for line in text.splitlines()]


@pytest.mark.parametrize("what", ["lost", "repeated", "out_of_order", "gaps", "invented"])
def test_one_of_anything_is_a_failure(what: str) -> None:
    report = _report(**{what: 1})
    assert not report.passed
    assert report.text().splitlines()[-1].startswith("FAIL")
    assert f"1 {what.replace('_', ' ')}" in report.text()


def test_a_run_that_checked_nothing_or_saw_a_fault_is_a_failure() -> None:
    nothing, idle, faulty, complaining = (_report() for _ in range(4))
    nothing.checked = []
    idle.checked.append(Checked("events", 0, 0, Findings()))
    faulty.faults.append("not served again")
    complaining.complaints = Counter({"log: unexpected": 1})
    assert not any(report.passed for report in (nothing, idle, faulty, complaining))
