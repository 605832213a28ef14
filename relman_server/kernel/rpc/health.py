"""grpc.health.v1: whether the server, each of its services, its database and its bus answer. Watch works."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio

from relman_server.kernel.errors import RelmanError

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

log = structlog.get_logger(__name__)

Probe = Callable[[], Awaitable[object]]


class Health:
    """The health servicer, and the task that keeps it true.

    Args:
        services: Full names of the services that are as healthy as the server as a whole.
        probes: What the server needs, by name ("database"); a probe raises when it does not answer.
        helpers: What it can do without, though slower ("redis"): said under its name, and no reason to send callers
            away, since it would be missing on every replica at once.
    """

    def __init__(self, services: list[str], probes: dict[str, Probe], helpers: dict[str, Probe] | None = None) -> None:
        self.servicer = aio.HealthServicer()
        self._whole = ["", *services]
        self._probes = probes
        self._helpers = helpers or {}
        self._known: dict[str, bool] = {}

    async def look(self) -> None:
        """Ask every probe once and set the states; the whole serves when every probe does."""
        everything = {**self._probes, **self._helpers}
        answers = await asyncio.gather(*(_answers(name, probe) for name, probe in everything.items()))
        states = dict(zip(everything, answers, strict=True))
        for name, serving in states.items():
            await self._set(name, serving=serving)
        for name in self._whole:
            await self._set(name, serving=all(states[needed] for needed in self._probes))

    async def keep_looking(self, every: float = 2.0) -> None:
        """Look again and again, for as long as the server runs."""
        while True:
            await asyncio.sleep(every)
            await self.look()

    async def shut_down(self) -> None:
        """Say NOT_SERVING from now on, whatever is set later."""
        await self.servicer.enter_graceful_shutdown()

    async def _set(self, name: str, *, serving: bool) -> None:
        if self._known.get(name) is not serving:
            self._known[name] = serving
            await self.servicer.set(name, SERVING if serving else NOT_SERVING)


async def _answers(name: str, probe: Probe) -> bool:
    try:
        await asyncio.wait_for(probe(), 5)
    except (RelmanError, TimeoutError, OSError) as error:
        log.warning("probe failed", probe=name, error=str(error))
        return False
    except Exception:
        # Whatever it is, the next look must come: health that no longer changes is worse than none.
        log.exception("probe failed", probe=name)
        return False
    return True
