"""The server's secret key."""

import secrets
from contextlib import suppress
from pathlib import Path


def signing_key(data_dir: Path) -> bytes:
    """Return the server's secret key, made at the first start; readable by its owner only."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = data_dir / "signing.key"
    with suppress(FileExistsError):
        # Written whole before it has its name: a server that starts at the same time never reads half a key.
        fresh = data_dir / f".signing.key.{secrets.token_hex(8)}"
        if not file.exists():
            fresh.touch(mode=0o600)
            fresh.write_bytes(secrets.token_bytes(32))
            try:
                file.hardlink_to(fresh)
            finally:
                fresh.unlink()
    key = file.read_bytes()
    if len(key) < 32:
        raise OSError(f"{file} is damaged: it must hold at least 32 bytes")
    return key
