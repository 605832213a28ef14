"""Events inside a transaction: how a resource tells those above it, which it must not import, that it changed.

Handlers run at once, in the same transaction: what they do commits or rolls back with the change itself. They are
subscribed in app.py and nowhere else.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from relman_server.kernel.db.transaction import Transaction

E = TypeVar("E")


class Events:
    """Who wants to know what."""

    def __init__(self) -> None:
        # A handler takes the event type it is listed under, which a dict's type cannot say.
        self._handlers: dict[type, list[Callable[[Transaction, Any], None]]] = {}

    def subscribe(self, event_type: type[E], handler: "Callable[[Transaction, E], None]") -> None:
        """Call the handler with every event of the type."""
        self._handlers.setdefault(event_type, []).append(handler)

    def publish(self, tx: "Transaction", event: object) -> None:
        """Call every handler of the event, in the order of subscription."""
        for handler in self._handlers.get(type(event), ()):
            handler(tx, event)
