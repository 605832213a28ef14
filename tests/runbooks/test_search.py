"""What a search finds besides its words: filters, pages, snippets, and help for a deployment."""

import html
import re
from typing import Any
from uuid import uuid4

import grpc
import pytest

from relman_client.v1 import log_pb2, stage_pb2
from relman_client.v1 import runbook_pb2 as pb
from relman_server.kernel.db.transaction import Reading
from relman_server.kernel.rpc import writing
from relman_server.runbooks import candidates, words
from relman_server.runbooks import search as searching
from tests.deployments.steps import FAILED, complete, start
from tests.factories import (
    RunningServer,
    make_deployment,
    make_environment,
    make_release,
    make_runbook,
    make_service,
    refused,
)
from tests.statements import executed, statements


async def _search(server: RunningServer, query: str = "", **fields: Any) -> pb.SearchRunbooksResponse:
    return await server.admin.runbooks.SearchRunbooks(pb.SearchRunbooksRequest(query=query, **fields))


def _titles(found: pb.SearchRunbooksResponse) -> list[str]:
    return [result.runbook.title for result in found.results]


def _word() -> str:
    """Return a word that no other runbook of the run has."""
    return f"w{uuid4().hex}"


async def test_a_search_sees_each_change_and_nothing_that_was_rolled_back(server: RunningServer) -> None:
    one, other = _word(), _word()
    runbook = await make_runbook(server.admin, content=one)
    assert _titles(await _search(server, one)) == [runbook.title]
    update = server.admin.runbooks.UpdateRunbook
    refusal = await refused(update(pb.UpdateRunbookRequest(runbook=runbook.id, content=other, etag="stale")))
    assert refusal.reason == "STALE_ETAG"
    assert _titles(await _search(server, other)) == []
    await update(pb.UpdateRunbookRequest(runbook=runbook.id, content=other))
    assert (_titles(await _search(server, one)), _titles(await _search(server, other))) == ([], [runbook.title])
    await update(pb.UpdateRunbookRequest(runbook=runbook.id, is_active=False))
    assert _titles(await _search(server, other)) == []
    await update(pb.UpdateRunbookRequest(runbook=runbook.id, is_active=True))
    assert _titles(await _search(server, other)) == [runbook.title]
    await server.admin.runbooks.DeleteRunbook(pb.DeleteRunbookRequest(runbook=runbook.id))
    assert _titles(await _search(server, other)) == []


async def test_a_search_is_narrowed_by_what_runbooks_are_about_and_by_all_tags(server: RunningServer) -> None:
    word = _word()
    mine, others = await make_service(server.admin), await make_service(server.admin)
    here = await make_environment(server.admin)
    for title, fields in (
        ("mine", {"service": mine.name, "tags": ["red"]}),
        ("mine here", {"service": mine.name, "environment": here.name, "tags": ["red", "blue"]}),
        ("others", {"service": others.name}),
        ("all", {"tags": ["blue"]}),
    ):
        await make_runbook(server.admin, title=title, content=word, **fields)
    for fields, titles in (
        ({}, {"mine", "mine here", "others", "all"}),
        ({"service": mine.name}, {"mine", "mine here", "all"}),
        ({"service": others.id}, {"others", "all"}),
        ({"environment": here.name}, {"mine", "mine here", "others", "all"}),
        ({"tags": ["red"]}, {"mine", "mine here"}),
        ({"tags": ["red", "blue"]}, {"mine here"}),
        ({"tags": ["blue"], "service": others.name}, {"all"}),
    ):
        assert set(_titles(await _search(server, word, **fields))) == titles, fields
    elsewhere = await make_environment(server.admin)
    assert "mine here" not in _titles(await _search(server, word, environment=elsewhere.name))
    refusal = await refused(_search(server, word, service="nothing"))
    assert refusal.resource.resource_type == "service"


async def test_pages_go_on_in_the_same_order_and_belong_to_their_query(server: RunningServer) -> None:
    word = _word()
    for number in range(5):
        await make_runbook(server.admin, title=f"{number}", content=word * (number % 2) + f" {word}")
    whole = await _search(server, word)
    pages = [await _search(server, word, page_size=2)]
    while pages[-1].next_page_token:
        pages.append(await _search(server, word, page_size=2, page_token=pages[-1].next_page_token))
    assert [result.runbook.id for page in pages for result in page.results] == [
        result.runbook.id for result in whole.results
    ]
    assert [(page.page, page.total_size, page.total_pages) for page in pages] == [(n, 5, 3) for n in (1, 2, 3)]
    assert _titles(await _search(server, word, skip=3)) == _titles(whole)[3:]
    refusal = await refused(_search(server, "other", page_size=2, page_token=pages[0].next_page_token))
    assert refusal.reason == "INVALID_PAGE_TOKEN"


async def test_of_more_matches_than_are_ranked_those_with_the_word_in_their_title_are(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "CANDIDATES", 4)
    monkeypatch.setattr(candidates, "COUNTED", 6)
    word = _word()
    await make_runbook(server.admin, title=f"{word} in the title")
    await make_runbook(server.admin, title="tagged", tags=[word[:60]], content=word)
    for number in range(6):
        await make_runbook(server.admin, title=f"{number}", content=word)
    found = await _search(server, word)
    assert _titles(found)[0] == f"{word} in the title"
    assert len(found.results) == 4
    assert (found.total_size, found.total_is_exact) == (6, False)
    exact = await _search(server, word, exact_total=True)
    assert (exact.total_size, exact.total_is_exact) == (8, True)


async def test_answers_that_grow_too_large_go_on_by_token(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "PAGE_BYTES", 50_000)
    monkeypatch.setattr(searching, "BATCH", 2)
    monkeypatch.setattr(searching, "BATCH_BYTES", 50_000)
    word = _word()
    for _ in range(7):
        await make_runbook(server.admin, content=f"{word} " + "." * 20_000)
    pages = [await _search(server, word)]
    while pages[-1].next_page_token:
        pages.append(await _search(server, word, page_token=pages[-1].next_page_token))
    assert [len(page.results) for page in pages] == [2, 2, 2, 1]
    assert len({result.runbook.id for page in pages for result in page.results}) == 7


# --- snippets


async def test_a_snippet_marks_every_form_of_a_word_and_escapes_the_rest(server: RunningServer) -> None:
    word = _word()
    content = f"<b>{word} & co</b> " + "filler " * 200 + f"Café restarts, {word}s restarting <script>x</script>"
    await make_runbook(server.admin, title="x", content=content)
    found = (await _search(server, f"{word} restart cafe")).results[0]
    assert "<mark>Café</mark> <mark>restarts</mark>" in found.snippet
    assert "<mark>restarting</mark> &lt;script&gt;" in found.snippet
    assert found.snippet.startswith("…")
    plain = re.sub("</?mark>", "", found.snippet)
    assert len(plain) <= 500
    assert html.unescape(plain).strip("…").strip() in re.sub(r"\s+", " ", content)


async def test_a_snippet_marks_phrases_as_such_and_titles_where_only_they_match(server: RunningServer) -> None:
    word = _word()
    await make_runbook(server.admin, title=word, content="Pod lost. The pod is not ready.")
    assert (await _search(server, f'{word} "pod not ready"')).results[0].snippet == (
        "Pod lost. The <mark>pod</mark> is <mark>not</mark> <mark>ready</mark>."
    )
    assert (await _search(server, word)).results[0].snippet == f"<mark>{word}</mark>"
    assert (await _search(server, f"{word[:-2]}*")).results[0].snippet == f"<mark>{word}</mark>"


# --- what is asked


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "query"),
        ({"query": "   "}, "query"),
        ({"query": "x" * 10_000}, "query"),
        ({"deployment": "x"}, "deployment"),
    ],
)
async def test_a_search_without_a_question_or_with_a_book_for_one_is_refused(
    server: RunningServer, fields: dict[str, str], field: str
) -> None:
    refusal = await refused(_search(server, **fields))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {field})


@pytest.mark.parametrize(
    "query",
    [
        "a" * 500,
        "a " * 250,
        "-a " * 166,
        '"' * 500,
        "a* " * 166,
        "zz -" * 125,
        "\U0001f4a5" * 500,
        '-"b c" ' * 70,
        "'" * 500,
    ],
    ids=range(9),
)
async def test_any_query_of_the_length_that_is_taken_has_an_answer(server: RunningServer, query: str) -> None:
    await _search(server, query)


# --- help for a deployment


async def _failed(server: RunningServer, lines: list[str], **fields: Any) -> Any:
    """Return a deployment whose stage wrote these lines and failed."""
    deployment = await make_deployment(server.admin, server.admin, stages=["migrate"], **fields)
    await start(server.admin, deployment)
    stage = f"{deployment.id}/migrate"
    await server.admin.stages.StartStage(stage_pb2.StartStageRequest(stage=stage))
    entries = [log_pb2.LogEntry(text=line) for line in lines]
    await server.admin.logs.AppendLogs(
        log_pb2.AppendLogsRequest(deployment=deployment.id, stage="migrate", first_sequence=1, entries=entries)
    )
    await server.admin.stages.CompleteStage(stage_pb2.CompleteStageRequest(stage=stage, outcome=FAILED))
    return await complete(server.admin, deployment, FAILED, failure_reason="migrate failed")


async def test_help_for_a_failed_deployment_is_about_it_and_about_what_it_printed(own_server: RunningServer) -> None:
    server = own_server
    service, others = await make_service(server.admin), await make_service(server.admin)
    here = await make_environment(server.admin)
    release = await make_release(server.admin, service=service.name)
    lines = [f"2026-11-25 step {number} ok" for number in range(60)]
    lines += ["ERROR: could not acquire lock on relation orders", "deadlock detected"]
    for title, fields in (
        ("Unrelated", {"content": "Printers jam."}),
        ("Deadlocks of all services", {"content": "A deadlock is detected when two lock what the other wants."}),
        ("Of another service", {"service": others.name, "content": "deadlock detected: lock orders"}),
        ("Of the service", {"service": service.name, "content": "Ask the team."}),
        ("Of the service and environment", {"service": service.name, "environment": here.name}),
        ("Deadlock in orders", {"service": service.name, "environment": here.name, "content": "Lock in one order."}),
    ):
        await make_runbook(server.admin, title=title, **fields)
    deployment = await _failed(server, lines, release=release.id, environment=here.name)
    found = await _search(server, deployment=deployment.id)
    assert _titles(found) == [
        "Deadlock in orders",
        "Of the service and environment",
        "Of the service",
        "Deadlocks of all services",
        "Of another service",
    ]
    assert "<mark>deadlock</mark>" in found.results[3].snippet
    narrowed = await _search(server, "lock", deployment=deployment.id)
    assert _titles(narrowed) == ["Deadlock in orders", "Deadlocks of all services", "Of another service"]
    assert _titles(await _search(server, "lock")) != _titles(narrowed)


async def test_help_for_a_deployment_that_printed_nothing_is_about_its_service(server: RunningServer) -> None:
    release = await make_release(server.admin)
    runbook = await make_runbook(server.admin, service=release.service_name)
    await make_runbook(server.admin)
    deployment = await make_deployment(server.admin, server.admin, release=release.id)
    assert _titles(await _search(server, deployment=deployment.id)) == [runbook.title]
    refusal = await refused(_search(server, deployment=str(uuid4())))
    assert refusal.resource.resource_type == "deployment"


# --- what it costs


async def test_matches_are_found_whether_or_not_they_are_among_the_recent(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "RECENT", 2)
    monkeypatch.setattr(searching, "CANDIDATES", 2)
    older, newer = _word(), _word()
    for word in (older, newer):
        for number in range(4):
            await make_runbook(server.admin, title=f"{number}", content=word)
    for word in (older, newer):
        found = await _search(server, word)
        assert (_titles(found), found.total_size) == (["3", "2"], 4)


async def test_a_search_costs_few_statements_however_much_it_finds(server: RunningServer) -> None:
    word = _word()
    for _ in range(3):
        await make_runbook(server.admin, content=word)
    with statements(server.app.db) as seen:
        assert len((await _search(server, word)).results) == 3
    around = [each for each in seen if each.startswith(("BEGIN", "ROLLBACK")) or "set_config" in each]
    assert len(seen) - len(around) == 2


async def test_words_are_looked_up_in_the_index_also_when_many_have_them(server: RunningServer) -> None:
    await make_runbook(server.admin, content="deploy")
    seen: list[tuple[str, Any]] = []
    with executed(server.app.db, lambda statement, parameters: seen.append((statement, parameters))):
        await _search(server, "deploy -nothing")
    statement, parameters = next(each for each in seen if "@@" in each[0] or "MATCH" in each[0])
    plan = await server.app.db.snapshot(_explain, statement, parameters)
    if server.app.db.engine == "postgresql":
        assert "Bitmap Index Scan on ix_runbook_search_document" in plan
    else:
        assert "VIRTUAL TABLE INDEX" in plan
        assert "SCAN runbook_search" not in plan


def _explain(tx: Reading, statement: str, parameters: Any) -> str:
    candidates.prepare(tx)
    connection = tx._execute.__self__  # type: ignore[attr-defined]  # the connection whose method it is
    prefix = "EXPLAIN" if tx.engine == "postgresql" else "EXPLAIN QUERY PLAN"
    return "\n".join(str(tuple(row)) for row in connection.exec_driver_sql(f"{prefix} {statement}", parameters))


def test_of_long_words_no_more_is_kept_than_of_others() -> None:
    words.plain("é" + "x" * 300_000)
    before = words._plain.cache_info()
    assert words.plain("é" + "x" * 400_000) == words.plain("é" + "x" * 300_000)
    assert words._plain.cache_info().misses == before.misses
