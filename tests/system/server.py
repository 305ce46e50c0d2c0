"""A server that is none of ours, for the tests: started by them, killed, started again."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One server on one port and one folder. Use as a context manager. Which one it is, and how it
    starts, its class says."""

    def __init__(self, part):
        """`part`: as scripts/go-part has it."""
        found = subprocess.run([ROOT / "scripts/go-part", part], capture_output=True, text=True,
                               check=False)
        if found.returncode != 0:
            raise unittest.SkipTest(f"{part} cannot be had here: {found.stderr.strip()}")
        self.program = found.stdout.strip()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"confed-{part}-"))
        self.port = free_port()
        self.popen = None
        self.n_places = 0

    def start(self):
        raise NotImplementedError

    def wait_until(self, is_there, seconds=60):
        """Until is_there(), which may raise OSError meanwhile."""
        until = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError):
                if is_there():
                    return
            if self.popen.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"{self.program} does not serve")
            time.sleep(0.02)  # no connection to wait on

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, trace):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

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

    def new_place(self):
        """A number that no place for data on this server has yet."""
        self.n_places += 1
        return self.n_places
