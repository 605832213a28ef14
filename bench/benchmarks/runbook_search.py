"""Searching 100,000 runbooks over PostgreSQL and SQLite: rare and common words, phrases, beginnings, words left out.

The library is built once, which takes minutes, and kept under bench/data. Its words follow Zipf's law, as those of a
language do, so that the commonest are in nearly every runbook. One caller asks one query after the other; each kind of
query has a row, and p95 is over all of them.
"""

import random
import time
from collections.abc import Iterator, Sequence
from statistics import median

from bench import library
from bench.kit import Kit
from bench.rounds import Contender, percentile
from bench.servers import Relman
from bench.tables import Measure, Table
from relman_client.v1.runbook_pb2 import SearchRunbooksRequest

KINDS = ("a rare word", "a common word", "two common words", "a phrase", "a beginning", "common without common")
BUDGETS = {"postgresql": "<= 50 ms", "sqlite": "<= 150 ms"}
MEASURES = tuple(
    measure
    for engine, budget in BUDGETS.items()
    for measure in (
        Measure(f"{engine} p95", f"search, p95, {engine}", "ms", less=True, budget=budget),
        *(Measure(f"{engine} {kind}", f"{kind}, median, {engine}", "ms", less=True) for kind in KINDS),
    )
)


def run(kit: Kit) -> Table:
    """Measure."""
    size = kit.pick(100_000, 300)
    with library.servers(kit, size) as servers:
        contenders: dict[str, Contender | None] = {
            engine: _searches(server, engine, kit.pick(10, 2)) for engine, server in servers.items()
        }
        rounds = kit.rounds(contenders)
    merged = {key: values for figures in rounds.values() for key, values in figures.items()}
    return Table(MEASURES, {"relman": merged}, [f"{size:,} runbooks of {library.WORDS} words on average."])


def _searches(server: Relman, engine: str, each: int) -> Contender:
    queries = {kind: list(_queries(kind, each)) for kind in KINDS}

    def searches() -> dict[str, float]:
        took = {kind: [_ask(server, query) for query in asked] for kind, asked in queries.items()}
        every = [seconds for times in took.values() for seconds in times]
        medians = {f"{engine} {kind}": median(times) * 1e3 for kind, times in took.items()}
        return {f"{engine} p95": percentile(every, 95) * 1e3} | medians

    return searches


def _ask(server: Relman, query: str) -> float:
    started = time.perf_counter()
    server.client.runbooks.SearchRunbooks(SearchRunbooksRequest(query=query, page_size=20))
    return time.perf_counter() - started


def _queries(kind: str, count: int) -> Iterator[str]:
    chosen = random.Random(kind)  # noqa: S311 - the same queries every time
    for _ in range(count):
        common = chosen.sample(library.VOCABULARY[:60], 2)
        rare = chosen.choice(library.VOCABULARY[2_000:10_000])
        yield _query(kind, common, rare)


def _query(kind: str, common: Sequence[str], rare: str) -> str:
    one, other = common
    return {
        "a rare word": rare,
        "a common word": one,
        "two common words": f"{one} {other}",
        "a phrase": f'"{one} {other}"',
        "a beginning": f"{one[:3]}*",
        "common without common": f"{one} -{other}",
    }[kind]
