"""Passwords: argon2id, through libpass (docs/adr/0006-libpass.md)."""

from passlib.context import CryptContext

MIN_BYTES = 12
MAX_BYTES = 256

# bcrypt is verified, for users brought along from elsewhere, and replaced at the next login.
_context = CryptContext(schemes=["argon2", "bcrypt"], deprecated=["bcrypt"], argon2__type="ID")
# Of a password thrown away: verified against when a user is unknown, so that the answer takes as long.
_DUMMY = "$argon2id$v=19$m=65536,t=3,p=4$SWnt/V+LUYrxfq91DqE0Jg$85wC1z6541cgoHxugITjdmIxLcDn7zqyL8DFX4/kwqg"


def hash_password(password: str) -> str:
    """Return a hash to store; about 50 ms and 64 MiB, so never on the event loop."""
    return str(_context.hash(password))


def verify_password(password: str, stored: str | None) -> bool:
    """Whether it is the password of a stored hash; takes as long when there is none."""
    if len(password.encode(errors="surrogatepass")) > MAX_BYTES:
        return False
    if stored is None:
        _context.verify(password, _DUMMY)
        return False
    return bool(_context.verify(password, stored))


def needs_rehash(stored: str) -> bool:
    """Whether the hash is of an older kind than today's."""
    return bool(_context.needs_update(stored))
