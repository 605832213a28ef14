"""Whole requests: likely ones, and likely ones with something wrong."""

from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any
from uuid import uuid5

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from relman_server.kernel.rpc import descriptors
from tests.contract import FieldPath, Rpc, paths, set_path
from tests.fuzz import wire
from tests.fuzz.values import CANARY, NANOS, ODD_MASKS, ODD_TEXTS, SECONDS, Values
from tests.fuzz.world import World
from tests.requests import PASSWORD

DEPTH = 4
WELL_KNOWN = "google.protobuf."
SECRETS = (CANARY.encode(), PASSWORD.encode())

# What mostly does not fit: it would be all that is ever answered.
RARELY = {"etag": 0.03, "lease": 0.1, "page_token": 0.05, "validate_only": 0.1}


@cache
def _paths(rpc: Rpc) -> tuple[FieldPath, ...]:
    return tuple(paths(rpc.method.input_type, DEPTH))


class Messages:
    """Requests for one operation.

    Args:
        rng: Where chance comes from.
        world: What is there.
    """

    def __init__(self, rng: Random, world: World) -> None:
        self._rng = rng
        self._world = world
        self._values = Values(rng, world.known)

    def sound(self, rpc: Rpc) -> Any:
        """Return a request that would be carried out, or one that may be, where none is known."""
        valid = self._world.valid.get(rpc.name)
        if valid is None or self._rng.random() < 0.4:
            return self.likely(rpc)
        request: Any = rpc.request()
        request.CopyFrom(valid)
        if rpc.has_request_id and self._rng.random() < 0.3:  # sent before, and sent again
            request.request_id = str(uuid5(self._world.namespace, rpc.name))
        return request

    def likely(self, rpc: Rpc) -> Any:
        """Return a request with all that is required, and some of what is not."""
        request = rpc.request()
        self._fill_likely(request, self._rng.choice((0.0, 0.15, 0.5)), DEPTH)
        return request

    def _fill_likely(self, message: Any, share: float, depth: int) -> None:
        for each in message.DESCRIPTOR.fields:
            if descriptors.is_output_only(each):
                continue
            odds = 1.0 if descriptors.is_required(each) else min(share, RARELY.get(each.name, 1.0))
            if self._rng.random() >= odds:
                continue
            if each.message_type is None:
                _set(message, each, self._values.likely, self._rng.choice((1, 1, 1, 2, 9)))
            elif descriptors.is_map(each):
                _map(message, each, "key", self._rng.choice(("value", "42")))
            elif depth:
                for inner in _inner(message, each, self._rng.randint(1, 2)):
                    self._fill_message(inner, each, share, depth)

    def _fill_message(self, inner: Any, each: FieldDescriptor, share: float, depth: int) -> None:
        kind = inner.DESCRIPTOR.full_name
        inner.SetInParent()
        if kind == f"{WELL_KNOWN}Timestamp":
            inner.seconds = 1_767_225_600 + self._rng.randint(-(10**7), 10**7)
        elif kind == f"{WELL_KNOWN}Duration":
            inner.seconds = self._rng.choice((0, 60, 3600))
        elif kind == f"{WELL_KNOWN}FieldMask":
            names = [each.name for each in _holder(each).fields]
            inner.paths.extend(self._rng.sample(names, min(len(names), self._rng.randint(1, 2))))
        elif not kind.startswith(WELL_KNOWN):
            self._fill_likely(inner, share, depth - 1)

    def conversation(self, rpc: Rpc) -> list[Any]:
        """Return the requests of a stream, in the order of the contract's oneof: open, appends, finish."""
        first, *middle, last = rpc.method.input_type.oneofs[0].fields
        chosen = [first, *(self._rng.choice(middle or [last]) for _ in range(self._rng.randint(0, 3))), last]
        requests = []
        for each in chosen:
            request = rpc.request()
            self._fill_message(getattr(request, each.name), each, 0.15, DEPTH)
            requests.append(request)
        return requests

    def spoiled(self, rpc: Rpc) -> Any:
        """Return a sound request with one to three fields, however deep inside, that are not."""
        request = self.sound(rpc)
        fields = _paths(rpc)
        for _ in range(self._rng.randint(1, 3)):
            if fields:
                self._spoil(request, self._rng.choice(fields))
        return request

    def _spoil(self, request: Any, path: FieldPath) -> None:
        last = path[-1]
        if last.message_type is None:
            set_path(request, path, self._values.nasty(last))
            return
        for each in path[:-1]:
            inner = getattr(request, each.name)
            request = (inner[0] if inner else inner.add()) if each.is_repeated else inner
        self._nasty_field(request, last, DEPTH)

    def outlandish(self, rpc: Rpc) -> Any:
        """Return a request of nothing but nasty values, in every field or in some."""
        request = rpc.request()
        self._fill_nasty(request, self._rng.choice((0.2, 0.6, 1.0)), DEPTH)
        return request

    def _fill_nasty(self, message: Any, share: float, depth: int) -> None:
        for each in message.DESCRIPTOR.fields:
            if self._rng.random() < share:
                self._nasty_field(message, each, depth, share)

    def _nasty_field(self, message: Any, each: FieldDescriptor, depth: int, share: float = 0.6) -> None:
        rng = self._rng
        if each.message_type is None:
            _set(message, each, self._values.nasty, rng.choice((1, 101)))
        elif descriptors.is_map(each):
            for _ in range(rng.choice((1, 1, 3, 65))):
                _map(message, each, rng.choice((*ODD_TEXTS, "x" * 64, str(rng.random()))), rng.choice(ODD_TEXTS))
        elif depth:
            for inner in _inner(message, each, rng.choice((1, 1, 2, 101))):
                inner.SetInParent()
                self._fill_nasty_message(inner, share, depth if not each.is_repeated else 1)

    def _fill_nasty_message(self, inner: Any, share: float, depth: int) -> None:
        rng, kind = self._rng, inner.DESCRIPTOR.full_name
        if kind in {f"{WELL_KNOWN}Timestamp", f"{WELL_KNOWN}Duration"}:
            inner.seconds, inner.nanos = rng.choice(SECONDS), rng.choice(NANOS)
        elif kind == f"{WELL_KNOWN}FieldMask":
            inner.paths.extend(rng.choice((*ODD_MASKS, [rng.choice(ODD_TEXTS)])))
        else:
            self._fill_nasty(inner, share, depth - 1)

    # --- bytes

    def damaged(self, rpc: Rpc, other: Rpc) -> bytes:
        """Return a request as it is after an accident on its way."""
        return wire.damaged(self._rng, sterile(self.sound(rpc)), sterile(self.sound(other)))

    def foreign(self, other: Rpc) -> bytes:
        """Return a request that is sound, for another RPC."""
        return sterile(self.sound(other))

    def forged(self, rpc: Rpc) -> bytes:
        """Return a sound request and more: fields of types that they do not have, text that is none."""
        rng, data = self._rng, sterile(self.sound(rpc))
        texts = [path for path in _paths(rpc) if path[-1].type == FieldDescriptor.TYPE_STRING]
        if texts and rng.random() < 0.5:
            return data + wire.within(rng.choice(texts), rng.choice(wire.NOT_UTF8))
        return rng.choice((data, b"")) + wire.crafted(rng, rpc.method.input_type)

    def noise(self) -> bytes:
        """Return bytes by chance."""
        return self._rng.randbytes(self._rng.choice((1, 2, 5, 20, 200, 5000)))

    def huge(self, rpc: Rpc) -> bytes:
        """Return a sound request with something in it that is large, or very often there; up to more than 4 MiB."""
        rng, data = self._rng, sterile(self.sound(rpc))
        fields = _paths(rpc)
        if not fields:
            return data + wire.delimited(99, bytes(1 << 20))
        path = rng.choice(fields)
        if path[-1].is_repeated:
            often = rng.choice((1_001, 10_001, 100_000))
            return data + wire.within(path, rng.choice((b"", b"\x0a\x01x", b"x"))) * often
        size = rng.choice((100_000, 1 << 20, (4 << 20) + 1))
        return data + wire.within(path, (rng.choice((b"x", b" ", b"\0", "💥".encode())) * size)[:size])


def sterile(message: Any) -> bytes:
    """Return a message's bytes without secrets, so that none of them ends where it may be shown."""
    data: bytes = message.SerializeToString()
    for secret in SECRETS:
        data = data.replace(secret, b"s" * len(secret))
    return data


def _set(message: Any, each: FieldDescriptor, value_of: Callable[[FieldDescriptor], Any], count: int) -> None:
    """Set a field of values; of a list, so many elements."""
    if each.is_repeated:
        getattr(message, each.name).extend(value_of(each) for _ in range(count))
    else:
        setattr(message, each.name, value_of(each))


def _map(message: Any, each: FieldDescriptor, key: str, value: str) -> None:
    """Set an element of a map of texts; there are no others."""
    getattr(message, each.name)[key] = value


def _inner(message: Any, each: FieldDescriptor, count: int) -> list[Any]:
    """Return the message in a field; of a list, so many new ones."""
    inner = getattr(message, each.name)
    return [inner.add() for _ in range(count)] if each.is_repeated else [inner]


def _holder(each: FieldDescriptor) -> Descriptor:
    assert each.containing_type is not None
    return each.containing_type
