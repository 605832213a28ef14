import grpc

from relman_client.v1 import user_pb2 as pb
from tests.factories import RunningServer, refused


async def test_an_admin_creates_a_user_who_is_found_by_email_username_and_id(server: RunningServer) -> None:
    created = await server.admin.users.CreateUser(
        pb.CreateUserRequest(email="Ann@Example.com", username="ann", full_name="Ann Smith", password="a long password")
    )
    for reference in (created.id, "ann", "ann@example.com", "ANN@example.com"):
        assert await server.admin.users.GetUser(pb.GetUserRequest(user=reference)) == created
    assert created.email == "ann@example.com"
    assert created.is_active
    assert created.etag


async def test_every_violation_comes_at_once(server: RunningServer) -> None:
    refusal = await refused(
        server.admin.users.CreateUser(
            pb.CreateUserRequest(username="Not A Name", password="short", full_name="x" * 201)
        )
    )
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.reason == "INVALID_INPUT"
    assert set(refusal.violations) == {"email", "username", "password", "full_name"}


async def test_a_page_by_token_goes_on_where_the_page_before_ended(server: RunningServer) -> None:
    for _ in range(5):
        await server.user()
    seen: list[str] = []
    token = ""
    while True:
        page = await server.admin.users.ListUsers(pb.ListUsersRequest(page_size=2, page_token=token))
        seen += [user.username for user in page.users]
        assert page.total_size == 6
        assert page.total_is_exact
        token = page.next_page_token
        if not token:
            break
    assert seen == sorted(seen)
    assert len(set(seen)) == 6
