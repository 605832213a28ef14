"""Teams between the contract and Python."""

from relman_client.v1 import team_pb2 as pb
from relman_server.kernel.rpc.reading import change_reader, reader
from relman_server.kernel.rpc.writing import page_writer, writer
from relman_server.teams.inputs import ListMembers, ListTeams, MemberChange, NewMember, NewTeam, TeamChange

new_team = reader(pb.CreateTeamRequest, NewTeam)
team_change = change_reader(pb.UpdateTeamRequest, TeamChange)
list_teams = reader(pb.ListTeamsRequest, ListTeams)
new_member = reader(pb.AddTeamMemberRequest, NewMember)
member_change = reader(pb.UpdateTeamMemberRequest, MemberChange)
list_members = reader(pb.ListTeamMembersRequest, ListMembers)

team = writer(pb.Team)
teams = page_writer(pb.ListTeamsResponse, "teams", team)
member = writer(pb.TeamMember)
members = page_writer(pb.ListTeamMembersResponse, "team_members", member)
