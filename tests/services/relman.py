"""A real `relman-server serve` in a process of its own: to be killed, stopped and started again."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

ADMIN_EMAIL = "admin@example.com"
ADMIN_PASSWORD = "correct horse battery staple"
START_SECONDS = 60  # patience with a machine that is busy with other things


@dataclass
class ServerProcess:
    """A server over its own data folder; it keeps its port when it is started again.

    Attributes:
        data_dir: Where its database and keys are.
        settings: More settings, by name without RELMAN_.
        address: host:port, once started.
        lines: What it said on its standard output.
        logged: What it said on its standard error.
    """

    data_dir: Path
    settings: dict[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1:0"
    lines: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    _serves: bool = False
    _readers: list[threading.Thread] = field(default_factory=list)

    def start(self) -> "ServerProcess":
        """Start it and wait until it serves."""
        given = {
            "LISTEN": self.address,
            "DATA_DIR": str(self.data_dir),
            "ADMIN_EMAIL": ADMIN_EMAIL,
            "ADMIN_PASSWORD": ADMIN_PASSWORD,
        } | self.settings
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RELMAN_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "relman_server", "serve"],
            env=environment | {f"RELMAN_{name}": value for name, value in given.items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._serves = False
        serving = threading.Event()
        self._readers = [
            threading.Thread(target=self._read_output, args=(self.process, serving), daemon=True),
            threading.Thread(target=self._read_log, args=(self.process,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        if not serving.wait(START_SECONDS) or not self._serves:
            self.kill()
            raise RuntimeError(f"the server did not start: {self.lines[-5:]} {self.logged[-20:]}")
        return self

    def _read_output(self, process: "subprocess.Popen[str]", serving: threading.Event) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("relman is serving on "):
                self.address = line.split()[-1]
                self._serves = True
                serving.set()
        serving.set()  # it ended: start() sees that it does not serve

    def _read_log(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.logged.append(line.rstrip("\n"))

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """End it with SIGTERM; return its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing when it has ended."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end, and for the last it said; return its exit status."""
        if self.process is None:
            return 0
        status = self.process.wait(30)
        for reader in self._readers:
            reader.join(10)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return status
