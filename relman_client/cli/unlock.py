"""`relman unlock`: the same as `relman env unlock`."""

from relman_client.cli.env import unlock
from relman_client.cli.options import new_app

app = new_app()
app.command()(unlock)
