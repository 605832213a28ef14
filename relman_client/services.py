"""The services of the contract as attributes of a client; each one's code is imported when it is first used."""

from importlib import import_module
from typing import Any, Generic, TypeVar, overload

Stub = TypeVar("Stub")


class Service(Generic[Stub]):
    """An attribute that becomes the generated stub of a service."""

    def __init__(self, file: str, service: str) -> None:
        self._module = f"relman_client.v1.{file}_pb2_grpc"
        self._stub = f"{service}Stub"
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, client: None, owner: type) -> "Service[Stub]": ...
    @overload
    def __get__(self, client: object, owner: type) -> Stub: ...
    def __get__(self, client: Any, owner: type) -> "Service[Stub] | Stub":
        if client is None:
            return self
        stub: Stub = getattr(import_module(self._module), self._stub)(client.channel)
        client.__dict__[self._name] = stub  # found there from now on
        return stub
