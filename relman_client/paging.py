"""Lists as iterators: pages are fetched as they are needed."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from google.protobuf.message import Message


class Page(Protocol):
    """The response of a list RPC."""

    @property
    def next_page_token(self) -> str:
        """Empty on the last page."""


Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Page)
Item = TypeVar("Item")


def each_page(call: Callable[[Request], Response], request: Request) -> Iterator[Response]:
    """The pages of a list from the one the request asks for, each fetched when it is its turn."""
    asked = _copy(request)
    while True:
        page = call(asked)
        yield page
        if not page.next_page_token:
            return
        _turn(asked, page.next_page_token)


def each(
    call: Callable[[Request], Response], request: Request, items: Callable[[Response], Iterable[Item]]
) -> Iterator[Item]:
    """The resources of a list, over all its pages.

    Example: `each(client.releases.ListReleases, ListReleasesRequest(service="checkout"), lambda page: page.releases)`
    """
    for page in each_page(call, request):
        yield from items(page)


async def aeach(
    call: Callable[[Request], Awaitable[Response]], request: Request, items: Callable[[Response], Iterable[Item]]
) -> AsyncIterator[Item]:
    """`each` for the asyncio client."""
    asked = _copy(request)
    while True:
        page = await call(asked)
        for item in items(page):
            yield item
        if not page.next_page_token:
            return
        _turn(asked, page.next_page_token)


def whole(call: Callable[[Request], Response], request: Request, field: str) -> Response:
    """The answer of an RPC that tells all there is, put together where the server needed several to do so."""
    pages = each_page(call, request)
    first = next(pages)
    for page in pages:
        getattr(first, field).extend(getattr(page, field))
    first.ClearField("next_page_token")  # type: ignore[attr-defined]
    return first


def _copy(request: Request) -> Request:
    copy = type(request)()
    copy.CopyFrom(request)
    return copy


def _turn(request: Message, page_token: str) -> None:
    """Ask for the next page; what was skipped before the first one is not skipped again."""
    request.page_token = page_token  # type: ignore[attr-defined]
    if "skip" in request.DESCRIPTOR.fields_by_name:
        request.ClearField("skip")
