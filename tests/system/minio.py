"""MinIO, an S3 server, for the tests: started by them, killed, started again."""

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
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
ACCESS_KEY = "confed-test"
SECRET_KEY = "a secret of the tests"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class MinioServer:
    """One server on one port and one folder. Use as a context manager."""

    def __init__(self):
        found = subprocess.run([ROOT / "scripts/go-part", "minio"], capture_output=True, text=True,
                               check=False)
        if found.returncode != 0:
            raise unittest.SkipTest(f"MinIO cannot be had here: {found.stderr.strip()}")
        self.program = found.stdout.strip()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="confed-minio-"))
        self.port = free_port()
        self.popen = None
        self.n_prefixes = 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, trace):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self, seconds=60):
        """Until it serves."""
        with open(self.folder.parent / f"{self.folder.name}.log", "ab") as log:
            self.popen = subprocess.Popen(
                [self.program, "server", "--quiet", "--address", f"127.0.0.1:{self.port}",
                 self.folder], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={"HOME": str(self.folder), "MINIO_ROOT_USER": ACCESS_KEY,
                     "MINIO_ROOT_PASSWORD": SECRET_KEY, "MINIO_UPDATE": "off",
                     "MINIO_BROWSER": "off"})
        os.unlink(log.name)
        until = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(f"{self.endpoint}/minio/health/ready", timeout=2):
                    return
            if self.popen.poll() is not None or time.monotonic() > until:
                raise AssertionError("MinIO does not serve")
            time.sleep(0.02)  # no connection to wait on

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

    def url(self):
        """A new, empty place for blobs, in a bucket that the first writer makes."""
        self.n_prefixes += 1
        return f"s3://confed-test/run-{self.n_prefixes}"

    def put(self, url, key, data):
        """An object beside the reducer's, by curl."""
        subprocess.run(["curl", "--silent", "--show-error", "--fail", "--aws-sigv4",
                        "aws:amz:us-east-1:s3", "--user", f"{ACCESS_KEY}:{SECRET_KEY}",
                        "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "--request",
                        "PUT", "--data-binary", "@-",
                        f"{self.endpoint}/{url.removeprefix('s3://')}/{key}"],
                       input=data, check=True, stdout=subprocess.DEVNULL)

    def environment(self):
        """The reducer's settings that go with it."""
        return {"FED_REDUCER_BLOB_ENDPOINT": self.endpoint,
                "FED_REDUCER_BLOB_ACCESS_KEY": ACCESS_KEY,
                "FED_REDUCER_BLOB_SECRET_KEY": SECRET_KEY}
