"""ApprovalService: who agreed to a deployment."""

from typing import Protocol

from google.protobuf.empty_pb2 import Empty

from relman_client.v1 import approval_pb2 as pb
from relman_client.v1 import approval_pb2_grpc
from relman_server.approvals import convert, store
from relman_server.approvals.inputs import ApprovalChange, ListApprovals, NewApproval
from relman_server.kernel.db import Database, Reading, Transaction
from relman_server.kernel.db.transaction import Record
from relman_server.kernel.paging import Listed
from relman_server.kernel.rpc.chain import Context
from relman_server.kernel.rpc.writing import empty


class Deployments(Protocol):
    """What locks the deployment that an approval is about, and draws the consequence: handed in by app.py."""

    def request_approval(self, tx: Transaction, new: NewApproval) -> Record:
        """Ask for one more approval."""

    def list_approvals(self, tx: Reading, wanted: ListApprovals) -> Listed:
        """Return a page of approvals."""

    def decide_approval(self, tx: Transaction, change: ApprovalChange) -> Record:
        """Decide an approval as the caller, or change its notes."""

    def withdraw_approval(self, tx: Transaction, reference: str, etag: str) -> None:
        """Take a request back."""


class ApprovalService(approval_pb2_grpc.ApprovalServiceServicer):
    """Approvals: who agreed to a deployment."""

    def __init__(self, db: Database, deployments: Deployments) -> None:
        self._db = db
        self._deployments = deployments

    async def CreateApproval(self, request: pb.CreateApprovalRequest, context: Context) -> pb.Approval:
        new = convert.new_approval(request)
        return await self._db.write(self._deployments.request_approval, new, into=convert.approval)

    async def GetApproval(self, request: pb.GetApprovalRequest, context: Context) -> pb.Approval:
        return await self._db.read(store.get_approval, request.approval, into=convert.approval)

    async def ListApprovals(self, request: pb.ListApprovalsRequest, context: Context) -> pb.ListApprovalsResponse:
        wanted = convert.list_approvals(request)
        return await self._db.read(self._deployments.list_approvals, wanted, into=convert.approvals)

    async def UpdateApproval(self, request: pb.UpdateApprovalRequest, context: Context) -> pb.Approval:
        change = convert.approval_change(request)
        return await self._db.write(self._deployments.decide_approval, change, into=convert.approval)

    async def DeleteApproval(self, request: pb.DeleteApprovalRequest, context: Context) -> Empty:
        return await self._db.write(self._deployments.withdraw_approval, request.approval, request.etag, into=empty)
