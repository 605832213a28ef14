"""`relman lock`: the same as `relman env lock`."""

from relman_client.cli.env import lock
from relman_client.cli.options import new_app

app = new_app()
app.command()(lock)
