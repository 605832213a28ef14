"""TeamService: who owns services."""

from google.protobuf.empty_pb2 import Empty

from relman_client.v1 import team_pb2 as pb
from relman_client.v1 import team_pb2_grpc
from relman_server.kernel.db import Database
from relman_server.kernel.rpc.chain import Context
from relman_server.kernel.rpc.writing import empty
from relman_server.teams import convert, logic, store


class TeamService(team_pb2_grpc.TeamServiceServicer):
    """Teams: who owns services."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def CreateTeam(self, request: pb.CreateTeamRequest, context: Context) -> pb.Team:
        return await self._db.write(logic.create_team, convert.new_team(request), into=convert.team)

    async def GetTeam(self, request: pb.GetTeamRequest, context: Context) -> pb.Team:
        return await self._db.read(store.get_team, request.team, into=convert.team)

    async def ListTeams(self, request: pb.ListTeamsRequest, context: Context) -> pb.ListTeamsResponse:
        return await self._db.read(store.list_teams, convert.list_teams(request), into=convert.teams)

    async def UpdateTeam(self, request: pb.UpdateTeamRequest, context: Context) -> pb.Team:
        return await self._db.write(logic.update_team, convert.team_change(request), into=convert.team)

    async def DeleteTeam(self, request: pb.DeleteTeamRequest, context: Context) -> Empty:
        return await self._db.write(logic.delete_team, request.team, request.etag, into=empty)

    async def AddTeamMember(self, request: pb.AddTeamMemberRequest, context: Context) -> pb.TeamMember:
        return await self._db.write(logic.add_member, convert.new_member(request), into=convert.member)

    async def UpdateTeamMember(self, request: pb.UpdateTeamMemberRequest, context: Context) -> pb.TeamMember:
        return await self._db.write(logic.update_member, convert.member_change(request), into=convert.member)

    async def RemoveTeamMember(self, request: pb.RemoveTeamMemberRequest, context: Context) -> Empty:
        return await self._db.write(logic.remove_member, request.team, request.user, into=empty)

    async def ListTeamMembers(self, request: pb.ListTeamMembersRequest, context: Context) -> pb.ListTeamMembersResponse:
        return await self._db.read(store.list_members, convert.list_members(request), into=convert.members)
