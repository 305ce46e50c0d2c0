"""Unmodified FEDn clients of other ages (PyPI's packages) beside a C client: 0.20.0, which speaks
/add_client and knows no metrics; 0.26.0, whose metrics go to the Connector; 0.27.0, which beats as
fast as it is answered."""

import os
import pathlib
import subprocess
import sys
import tarfile
import time
import unittest

import numpy

import data
import federation
from federation import Federation
from rawclient import load
from test_fedn import Peer

HERE = pathlib.Path(__file__).resolve().parent


def venv_of(version):
    """The folder of that version's virtual environment. Without it the test says SKIP."""
    found = subprocess.run([federation.ROOT / "scripts/fedn", version], capture_output=True,
                           text=True)
    if found.returncode != 0:
        raise unittest.SkipTest(found.stderr.strip() or f"FEDn {version} cannot be had here")
    return pathlib.Path(found.stdout.strip())


class Peers(unittest.TestCase):
    def library(self, fed, venv, name="old"):
        return Peer(fed, name, [venv / "bin/python", HERE / "fedn/library_client.py",
                                f"http://{fed.http}/", name])

    def run_session(self, fed, seed, rounds=2):
        """Both clients count in every round; the session's id."""
        session = fed.start_session(seed, rounds=rounds, clients_required=2)
        row = fed.wait_session(session, 60)
        self.assertEqual((row["status"], row["failed_rounds"]), ("Finished", 0))
        for entry in fed.rounds(session):
            self.assertEqual(entry["refused"], [])
            self.assertEqual({e["client_id"]: e["examples"] for e in entry["entries"]},
                             {"native": 1, "old": 3})
        return session

    def run_version(self, version, crash=False, look=None):
        venv = venv_of(version)
        with Federation() as fed:
            fed.start_reducer()
            fed.start_combiner()
            fed.start_client("native")
            path = federation.random_model(fed.folder / "seed.npz")
            with self.library(fed, venv) as peer:
                fed.wait_clients(2)
                seed = fed.upload_model(path)
                if crash:
                    fed.combiners["combiner"].kill()
                    fed.start_combiner()
                    fed.wait_clients(2, 40)
                session = self.run_session(fed, seed)
                first = fed.rounds(session)[0]
                content = fed.rest("GET", f"/api/v1/models/{first['model_id']}/download")[1]
                with numpy.load(path) as base:
                    for i, value in enumerate(load(content)):
                        numpy.testing.assert_allclose(value, base[str(i)] + 0.75, atol=2e-6)
                fed.wait_live(lambda live: live["validation"]["received"] == 2, 30, "validations")
                if look:
                    look(fed, peer, session)
                self.assertIsNone(peer.popen.poll())

    def metrics_are_stored(self, fed, _peer, session):
        rows = fed.rest("GET", f"/api/v1/metrics/?session_id={session}")[1]["result"]
        self.assertEqual(sorted((m["key"], m["value"]) for m in rows),
                         [("train_loss", 0.5)] * 2 + [("zero", 0.0)] * 2)

    def beats_are_paced(self, fed, peer, session):
        self.metrics_are_stored(fed, peer, session)

        def count():
            return peer.log_path.read_text(errors="replace").count("beat\n")
        before, start = count(), time.monotonic()
        time.sleep(5)  # a rate is measured over time
        rate = (count() - before) / (time.monotonic() - start)
        print(f"heartbeats of a 0.27.0 client: {rate:.2f} a second")
        self.assertGreater(rate, 0.2)
        self.assertLessEqual(rate, 2.0)

    def test_0_20(self):
        self.run_version("0.20.0")

    def test_0_26(self):
        self.run_version("0.26.0", look=self.metrics_are_stored)

    def test_0_27(self):
        self.run_version("0.27.0", look=self.beats_are_paced)

    def test_0_20_combiner_killed(self):
        self.run_version("0.20.0", crash=True)

    def test_0_26_combiner_killed(self):
        self.run_version("0.26.0", crash=True)

    def test_0_27_combiner_killed(self):
        self.run_version("0.27.0", crash=True)

    def test_0_20_command(self):
        """`fedn client start` by /add_client, with a compute package."""
        venv = venv_of("0.20.0")
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
            os.environ["PATH"] = f"{venv}/bin:{os.environ['PATH']}"
            with Peer(fed, "command", [venv / "bin/fedn", "client", "start", "--api-url",
                                       f"http://{fed.http}", "-n", "command", "-i", "command"]):
                fed.wait_clients(2, 60)
                path = fed.folder / "seed.npz"
                fed.cli("model", "new", "cnn", "--seed", "1", "--output", path)
                session = fed.start_session(fed.upload_model(path), rounds=1, clients_required=2,
                                            round_timeout=90)
                row = fed.wait_session(session, 100)
                self.assertEqual((row["status"], row["failed_rounds"]), ("Finished", 0))
                entry = fed.rounds(session)[0]
                self.assertEqual(sorted(e["client_id"] for e in entry["entries"]),
                                 ["command", "native"])
                fed.wait_live(lambda live: live["validation"]["received"] == 2, 60, "validations")


if __name__ == "__main__":
    sys.exit(federation.main())
