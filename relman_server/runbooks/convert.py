"""Runbooks between the contract and Python."""

from relman_client.v1 import runbook_pb2 as pb
from relman_server.kernel.db.model import etag
from relman_server.kernel.rpc.reading import change_reader, reader
from relman_server.kernel.rpc.writing import page_writer, writer
from relman_server.runbooks.inputs import ListRunbooks, NewRunbook, RunbookChange, SearchRunbooks, WhichVersion
from relman_server.runbooks.search import Found

new_runbook = reader(pb.CreateRunbookRequest, NewRunbook)
which_version = reader(pb.GetRunbookRequest, WhichVersion)
runbook_change = change_reader(pb.UpdateRunbookRequest, RunbookChange)
list_runbooks = reader(pb.ListRunbooksRequest, ListRunbooks)
search_runbooks = reader(pb.SearchRunbooksRequest, SearchRunbooks)

# An older version has none: nothing can be changed by it.
runbook = writer(pb.Runbook, etag=lambda row: etag(row.id, row.row_version) if row.row_version else None)
runbooks = page_writer(pb.ListRunbooksResponse, "runbooks", runbook)


def _result(found: Found) -> pb.RunbookSearchResult:
    shown = runbook(found.runbook) if found.runbook is not None else None
    return pb.RunbookSearchResult(runbook=shown, rank=found.rank, snippet=found.snippet)


search_results = page_writer(pb.SearchRunbooksResponse, "results", _result)
