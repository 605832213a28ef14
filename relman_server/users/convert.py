"""Users between the contract and Python."""

from relman_client.v1 import user_pb2 as pb
from relman_server.kernel.rpc.reading import change_reader, reader
from relman_server.kernel.rpc.writing import page_writer, writer
from relman_server.users.inputs import ListUsers, NewUser, UserChange

new_user = reader(pb.CreateUserRequest, NewUser)
user_change = change_reader(pb.UpdateUserRequest, UserChange)
list_users = reader(pb.ListUsersRequest, ListUsers)

user = writer(pb.User)
users = page_writer(pb.ListUsersResponse, "users", user)
