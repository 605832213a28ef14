"""The commands of `relman-server`: serving, from an empty folder to the end, and migrating."""

import asyncio
import secrets
import signal
import sys
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from relman_server import settings, supervisor
from relman_server.app import App
from relman_server.kernel import allocator, log_format
from relman_server.kernel.db import embedded, schema
from relman_server.kernel.db.database import Database
from relman_server.kernel.db.engine import write_engine
from relman_server.kernel.errors import AlreadyExists, RelmanError
from relman_server.settings import Settings
from relman_server.users import logic as users
from relman_server.users import store as user_store
from relman_server.users.inputs import NewUser
from relman_server.users.passwords import hash_password

log = structlog.get_logger(__name__)


def run(command: str, chosen: Settings) -> int:
    """Serve or migrate; return the exit status. What keeps it from doing so is said in a line."""
    allocator.use_few_arenas()  # before there are threads
    return reported(chosen, lambda: migrate(chosen) if command == "migrate" else asyncio.run(serve(chosen)))


def reported(chosen: Settings, work: Callable[[], int]) -> int:
    """Return the exit status of some work; what keeps it from being done is said in a line."""
    log_format.configure(chosen.log_level, json=None if chosen.log_format is None else chosen.log_format == "json")
    try:
        return work()
    except KeyboardInterrupt:
        return 130  # before the signal's handler was there
    except schema.SchemaMismatch as error:
        return settings.fail(error)
    except (RelmanError, OSError) as error:
        return _fail(str(error))
    except SQLAlchemyError as error:
        return _fail(f"the database cannot be used: {str(getattr(error, 'orig', error)).splitlines()[0]}")


def _fail(line: str) -> int:
    sys.stderr.write(f"relman-server: {' '.join(line.split())}\n")
    return 1


def _prepare(chosen: Settings) -> None:
    """Make what an embedded database needs, for its owner only."""
    chosen.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    embedded.make_private(chosen.url)


def migrate(chosen: Settings) -> int:
    """Bring the database to this version's schema."""
    if chosen.is_embedded:
        _prepare(chosen)
    engine = write_engine(chosen.url, 1)
    try:
        before = schema.current(engine)
        schema.migrate(engine)
    finally:
        engine.dispose()
    after = schema.newest()
    sys.stdout.write(f"the schema is {after}\n" if before == after else f"the schema is now {after}\n")
    return 0


async def serve(chosen: Settings) -> int:
    """Serve until told to stop."""
    if not chosen.is_embedded:
        return await _serve(chosen)
    _prepare(chosen)
    with embedded.held(chosen.url):
        await asyncio.to_thread(migrate_quietly, chosen)
        return await _serve(chosen)


async def _serve(chosen: Settings) -> int:
    app = App(chosen, shares_port=supervisor.is_worker())
    try:
        await asyncio.to_thread(schema.require_newest, app.db.writes)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if supervisor.is_worker():
            supervisor.end_with_supervisor()
        async with app.serving(lambda: first_admin(app.db, chosen)) as address:
            sys.stdout.write(f"relman is serving on {address}\n")
            sys.stdout.flush()
            await stop.wait()
            log.info("stopping")
    finally:
        app.close()
    return 0


def migrate_quietly(chosen: Settings) -> None:
    """Bring an embedded database to this version's schema."""
    engine = write_engine(chosen.url, 1)
    try:
        schema.migrate(engine)
    finally:
        engine.dispose()


async def first_admin(db: Database, chosen: Settings) -> None:
    """Create the admin of a new server, and say how to log in; nothing when there is one."""
    if await db.read(user_store.active_admins):
        return
    given = chosen.admin_password.get_secret_value() if chosen.admin_password else None
    password = given or secrets.token_urlsafe(15)
    email = chosen.admin_email or "admin@localhost"
    new = NewUser(email=email, username="admin", full_name="Administrator", password=password)
    password_hash = await asyncio.to_thread(hash_password, password)
    try:
        admin = await db.write(users.create_first_admin, new, password_hash)
    except AlreadyExists:
        if not await db.read(user_store.active_admins):
            raise
        admin = None  # another replica made it at the same moment
    if admin is None:
        return
    said = f"created the admin {admin.username} <{admin.email}>"
    if not given:
        said += f", password {password}\n(shown this once: keep it, or change it after the first login)"
    sys.stdout.write(f"{said}\n")
    sys.stdout.flush()
