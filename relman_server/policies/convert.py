"""Deploy policies between the contract and Python."""

from relman_client.v1 import policy_pb2 as pb
from relman_server.kernel.rpc.reading import change_reader, reader
from relman_server.kernel.rpc.writing import page_writer, writer
from relman_server.policies.inputs import ListPolicies, NewPolicy, PolicyChange
from relman_server.policies.store import split

new_policy = reader(pb.CreateDeployPolicyRequest, NewPolicy)
policy_change = change_reader(pb.UpdateDeployPolicyRequest, PolicyChange)
list_policies = reader(pb.ListDeployPoliciesRequest, ListPolicies)

policy = writer(
    pb.DeployPolicy,
    services=lambda row: split(row.services),
    environments=lambda row: split(row.environments),
)
policies = page_writer(pb.ListDeployPoliciesResponse, "deploy_policies", policy)
