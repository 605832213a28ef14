"""DeployPolicyService: when nothing may be deployed."""

from google.protobuf.empty_pb2 import Empty

from relman_client.v1 import policy_pb2 as pb
from relman_client.v1 import policy_pb2_grpc
from relman_server.kernel.db import Database
from relman_server.kernel.rpc.chain import Context
from relman_server.kernel.rpc.writing import empty
from relman_server.policies import convert, logic, store


class DeployPolicyService(policy_pb2_grpc.DeployPolicyServiceServicer):
    """Deploy policies: when nothing may be deployed."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def CreateDeployPolicy(self, request: pb.CreateDeployPolicyRequest, context: Context) -> pb.DeployPolicy:
        return await self._db.write(logic.create_policy, convert.new_policy(request), into=convert.policy)

    async def GetDeployPolicy(self, request: pb.GetDeployPolicyRequest, context: Context) -> pb.DeployPolicy:
        return await self._db.read(store.get_policy, request.deploy_policy, into=convert.policy)

    async def ListDeployPolicies(
        self, request: pb.ListDeployPoliciesRequest, context: Context
    ) -> pb.ListDeployPoliciesResponse:
        return await self._db.read(store.list_policies, convert.list_policies(request), into=convert.policies)

    async def UpdateDeployPolicy(self, request: pb.UpdateDeployPolicyRequest, context: Context) -> pb.DeployPolicy:
        return await self._db.write(logic.update_policy, convert.policy_change(request), into=convert.policy)

    async def DeleteDeployPolicy(self, request: pb.DeleteDeployPolicyRequest, context: Context) -> Empty:
        return await self._db.write(logic.delete_policy, request.deploy_policy, request.etag, into=empty)
