"""Approvals between the contract and Python."""

from relman_client.v1 import approval_pb2 as pb
from relman_server.approvals.inputs import ApprovalChange, ListApprovals, NewApproval
from relman_server.approvals.model import ApprovalStatus
from relman_server.kernel.rpc.reading import change_reader, reader
from relman_server.kernel.rpc.writing import page_writer, timestamp, writer

new_approval = reader(pb.CreateApprovalRequest, NewApproval)
approval_change = change_reader(pb.UpdateApprovalRequest, ApprovalChange)
list_approvals = reader(pb.ListApprovalsRequest, ListApprovals)

approval = writer(
    pb.Approval,
    approved_at=lambda row: timestamp(row.decided_at) if row.status == ApprovalStatus.APPROVED else None,
)
approvals = page_writer(pb.ListApprovalsResponse, "approvals", approval)
