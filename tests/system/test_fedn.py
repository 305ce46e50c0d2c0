"""FEDn's own client, command and APIClient (PyPI, unmodified) against the real daemons."""

import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import unittest

import numpy

import data
import federation
from federation import Federation

HERE = pathlib.Path(__file__).resolve().parent
FOUND = subprocess.run([federation.ROOT / "scripts/fedn"], capture_output=True, text=True)
VENV = pathlib.Path(FOUND.stdout.strip()) if FOUND.returncode == 0 else None


class Peer:
    """A process of FEDn's side, in a folder of its own."""

    def __init__(self, fed, name, argv):
        self.name = name
        self.folder = fed.folder / f"fedn-{name}"
        self.folder.mkdir(exist_ok=True)
        self.log_path = self.folder / "log"
        self.log = open(self.log_path, "ab")
        self.popen = subprocess.Popen([str(word) for word in argv], cwd=self.folder,
                                      stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                      env=dict(os.environ, PYTHONUNBUFFERED="1"))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        alive = self.popen.poll() is None
        self.popen.kill()
        self.popen.wait()
        self.log.close()
        if kind is not None:
            text = self.log_path.read_text(errors="replace")
            sys.stderr.write(f"--- {self.name} (alive: {alive})\n" +
                             "\n".join(text.splitlines()[-40:]) + "\n")


def library_client(fed, name="python"):
    return Peer(fed, name, [VENV / "bin/python", HERE / "fedn/library_client.py",
                            f"http://{fed.http}/", name])


@unittest.skipIf(VENV is None, FOUND.stderr.strip() or "FEDn cannot be had here")
class Fedn(unittest.TestCase):
    def start(self, fed, echo_examples=1):
        fed.start_reducer()
        fed.start_combiner()
        fed.start_client("native", options=["--echo-examples", str(echo_examples)])

    def values(self, fed, model_id):
        status, content = fed.rest("GET", f"/api/v1/models/{model_id}/download")
        self.assertEqual(status, 200)
        with numpy.load(io.BytesIO(content)) as archive:
            return [archive[str(i)] for i in range(len(archive.files))]

    def test_library(self):
        """Beside a C client: both count, with their weights, and everything they say is stored."""
        with Federation() as fed:
            self.start(fed)
            with library_client(fed):
                fed.wait_clients(2)
                path = federation.random_model(fed.folder / "seed.npz")
                session = fed.start_session(fed.upload_model(path), rounds=2, clients_required=2)
                row = fed.wait_session(session)
                self.assertEqual((row["status"], row["failed_rounds"]), ("Finished", 0))
                done = fed.rounds(session)
                for entry in done:
                    self.assertEqual({e["client_id"]: e["examples"] for e in entry["entries"]},
                                     {"native": 1, "python": 3})
                    self.assertEqual(entry["refused"], [])
                with numpy.load(path) as seed:
                    for i, value in enumerate(self.values(fed, done[0]["model_id"])):
                        # (1·b + 3·(b + 1)) / 4
                        numpy.testing.assert_allclose(value, seed[str(i)] + 0.75, atol=2e-6)
                fed.wait_live(lambda live: live["validation"]["received"] == 2, 60, "validations")
                status, metrics = fed.rest("GET", f"/api/v1/metrics/?session_id={session}")
                self.assertEqual(status, 200)
                self.assertEqual({m["key"] for m in metrics["result"]}, {"train_loss", "zero"})
                self.assertIn(0.0, [m["value"] for m in metrics["result"]])
                status, now = fed.rest("POST", "/api/v1/attributes/current",
                                       {"client_ids": ["python"]})
                self.assertEqual(now, {"python": {"colour": "blue"}})
                statuses = fed.rest("GET", f"/api/v1/statuses/?session_id={session}")[1]
                self.assertIn("Model update completed.",
                              [s["status"] for s in statuses["result"]])

    def run_over_a_crash(self, crash):
        with Federation() as fed:
            self.start(fed)
            with library_client(fed):
                fed.wait_clients(2)
                path = federation.random_model(fed.folder / "seed.npz")
                model = fed.upload_model(path)
                first = fed.start_session(model, rounds=1, clients_required=2)
                self.assertEqual(fed.wait_session(first)["failed_rounds"], 0)
                crash(fed)
                fed.wait_clients(2, 60)
                second = fed.start_session(model, rounds=2, clients_required=2)
                row = fed.wait_session(second)
                self.assertEqual((row["status"], row["failed_rounds"]), ("Finished", 0))
                for entry in fed.rounds(second):
                    self.assertEqual(sorted(e["client_id"] for e in entry["entries"]),
                                     ["native", "python"])

    def test_library_survives_the_combiner(self):
        def crash(fed):
            fed.combiners["combiner"].kill()
            fed.start_combiner()
        self.run_over_a_crash(crash)

    def test_library_survives_the_reducer(self):
        def crash(fed):
            fed.reducer.kill()
            fed.start_reducer()
        self.run_over_a_crash(crash)

    def test_command(self):
        """`fedn client start` with a compute package from the reducer, beside a C client: both
        train the CNN."""
        with Federation() as fed:
            fed.start_reducer()
            fed.start_combiner()
            images = data.small_mnist(fed.folder / "data", n_train=64, n_test=16)
            fed.start_client("native", trainer="cnn", options=[
                "--data", images, "--shard", "0/2", "--epochs", "1", "--batch", "16"])
            package = fed.folder / "package.tgz"
            with tarfile.open(package, "w:gz") as archive:
                archive.add(federation.ROOT / "client/examples/fedn-mnist", arcname="client")
            fed.cli("package", "upload", package)
            os.environ["CONFED_MNIST"] = str(images)
            # The package's commands run with what stands first in PATH: give them NumPy.
            os.environ["PATH"] = f"{VENV}/bin:{os.environ['PATH']}"
            with Peer(fed, "command", [VENV / "bin/fedn", "client", "start", "--api-url",
                                       f"http://{fed.http}", "-n", "command", "-i", "command"]):
                fed.wait_clients(2, 90)
                path = fed.folder / "seed.npz"
                fed.cli("model", "new", "cnn", "--seed", "1", "--output", path)
                session = fed.start_session(fed.upload_model(path), rounds=1, clients_required=2,
                                            round_timeout=120)
                row = fed.wait_session(session, 180)
                self.assertEqual((row["status"], row["failed_rounds"]), ("Finished", 0))
                entry = fed.rounds(session)[0]
                self.assertEqual(sorted(e["client_id"] for e in entry["entries"]),
                                 ["command", "native"])
                fed.wait_live(lambda live: live["validation"]["received"] == 2, 90, "validations")
                found = fed.rest("GET", f"/api/v1/validations/?session_id={session}")[1]["result"]
                for validation in found:
                    self.assertIn("test_accuracy", json.loads(validation["data"]))

    def test_api_client(self):
        """A working day with FEDn's APIClient."""
        with Federation() as fed:
            self.start(fed)
            fed.wait_clients(1)
            federation.random_model(fed.folder / "seed.npz")
            package = fed.folder / "package.tgz"
            with tarfile.open(package, "w:gz") as archive:
                archive.add(federation.ROOT / "client/examples/fedn-mnist", arcname="client")
            done = subprocess.run([VENV / "bin/python", HERE / "fedn/api_day.py", fed.http,
                                   package, fed.folder / "seed.npz"], cwd=fed.folder,
                                  capture_output=True, text=True, timeout=150)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn("day over", done.stdout)


if __name__ == "__main__":
    sys.exit(federation.main())
