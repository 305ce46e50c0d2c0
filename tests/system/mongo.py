"""FerretDB, a server of MongoDB's protocol, for the tests: started by them, killed, started again."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Short times, so that an outage of some seconds shows what a long one does.
HASTY = "serverSelectionTimeoutMS=1000&connectTimeoutMS=1000&socketTimeoutMS=1500"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class MongoServer:
    """One server on one port and one folder. Use as a context manager."""

    def __init__(self):
        found = subprocess.run([ROOT / "scripts/go-part", "ferretdb"], capture_output=True,
                               text=True, check=False)
        if found.returncode != 0:
            raise unittest.SkipTest(f"FerretDB cannot be had here: {found.stderr.strip()}")
        self.program = found.stdout.strip()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="confed-mongo-"))
        self.port = free_port()
        self.popen = None
        self.n_databases = 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, trace):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        """It serves some tenths of a second later: the store waits for it."""
        with open(self.folder / "ferretdb.log", "ab") as log:
            self.popen = subprocess.Popen(
                [self.program, "--handler=sqlite", f"--sqlite-url=file:{self.folder}/",
                 f"--state-dir={self.folder}", f"--listen-addr=127.0.0.1:{self.port}",
                 "--telemetry=disable", "--debug-addr=-", "--log-level=error"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self):
        """kill -9."""
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait()
            self.popen = None

    def freeze(self, is_frozen=True):
        """Connections are accepted, nothing is answered; or go on."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.popen.pid, signal.SIGSTOP if is_frozen else signal.SIGCONT)

    def url(self, options=HASTY):
        """Of a new, empty database."""
        self.n_databases += 1
        return f"mongodb://127.0.0.1:{self.port}/confed_{self.n_databases}?{options}"
