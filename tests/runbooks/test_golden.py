"""The same queries on both databases, with the same answers in the same order."""

import pytest

from relman_client.v1 import runbook_pb2 as pb
from tests.factories import RunningServer, make_runbook
from tests.runbooks.golden import LIBRARY, QUERIES_AND_ANSWERS


@pytest.fixture(scope="module")
async def library(shared_server: RunningServer) -> RunningServer:
    """A server with the library and nothing else to be found."""
    for each in LIBRARY:
        await make_runbook(shared_server.admin, **each)
    return shared_server


@pytest.mark.parametrize("query", QUERIES_AND_ANSWERS)
async def test_a_query_finds_its_runbooks_in_their_order(library: RunningServer, query: str) -> None:
    found = await library.admin.runbooks.SearchRunbooks(pb.SearchRunbooksRequest(query=query))
    assert [result.runbook.title for result in found.results] == QUERIES_AND_ANSWERS[query]
    assert (found.total_size, found.total_is_exact) == (len(found.results), True)
    ranks = [result.rank for result in found.results]
    assert ranks == sorted(ranks, reverse=True)
    assert all(rank >= 0 for rank in ranks)
