"""A whole working day with FEDn's own tools (PyPI, unmodified): the `fedn` command where it can,
its APIClient for the rest."""

import os
import shutil
import subprocess
import sys
import unittest

import federation
from federation import Federation

HERE = federation.ROOT / "tests/system"
FOUND = subprocess.run([federation.ROOT / "scripts/fedn"], capture_output=True, text=True)
VENV = federation.pathlib.Path(FOUND.stdout.strip()) if FOUND.returncode == 0 else None


@unittest.skipIf(VENV is None, FOUND.stderr.strip() or "FEDn cannot be had here")
class Day(unittest.TestCase):
    def fedn(self, *words):
        """Run `fedn`; what it said. Its exit status says little: it is 0 for refusals too."""
        done = subprocess.run([VENV / "bin/fedn", *words], cwd=self.fed.folder, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                              env=dict(os.environ, HOME=str(self.fed.folder),
                                       FEDN_CONTROLLER_URL=f"http://{self.fed.http}"))
        said = done.stdout + done.stderr
        self.assertEqual(done.returncode, 0, said)
        self.assertNotIn("Traceback", said)
        return said

    def rows(self, noun):
        return self.fed.rest("GET", f"/api/v1/{noun}/")[1]["result"]

    def prepare(self):
        fed = self.fed
        fed.start_reducer()
        fed.start_combiner()
        fed.start_client("native")
        fed.wait_clients(1)
        federation.random_model(fed.folder / "seed.npz")
        shutil.copytree(federation.ROOT / "client/examples/fedn-mnist", fed.folder / "client")

    def morning(self):
        """The package, the seed model, the session."""
        self.fedn("package", "create", "-p", "client", "-n", "day.tgz")
        self.assertTrue((self.fed.folder / "day.tgz").exists())
        self.fed.cli("package", "upload", self.fed.folder / "day.tgz")  # `fedn` has no command
        self.fedn("model", "set-active", "-f", "seed.npz")
        self.assertEqual(len(self.rows("models")), 1)
        said = self.fedn("session", "start", "-n", "day", "-r", "2", "-rt", "60", "-mc", "1")
        self.assertIn("Session started", said)
        session = self.rows("sessions")[0]
        self.assertEqual((session["name"], session["session_config"]["round_timeout"]),
                         ("day", 60))
        self.fed.wait_session(session["session_id"])
        return session["session_id"]

    def noon(self, session_id):
        """Every noun, listed and one by one."""
        for noun in ("client", "combiner", "model", "package", "round", "session", "status",
                     "validation"):
            nouns = "statuses" if noun == "status" else noun + "s"
            rows = self.rows(nouns)
            self.assertTrue(rows, noun)
            listed = self.fedn(noun, "list")
            self.assertIn(rows[-1][f"{noun}_id"], listed, noun)
            self.assertIn(rows[0][f"{noun}_id"], listed, noun)
            if noun != "status":  # `fedn status get` asks for /statusesID
                self.assertIn(rows[0]["committed_at"],
                              self.fedn(noun, "get", "-id", rows[0][f"{noun}_id"]), noun)
        for noun in ("model", "validation"):
            listed = self.fedn(noun, "list", "-s", session_id)
            self.assertIn(self.rows(noun + "s")[0][f"{noun}_id"], listed)
        self.assertIn("Found 2 models", self.fedn("model", "list", "-s", session_id))

    def afternoon(self, session_id):
        done = subprocess.run([VENV / "bin/python", HERE / "fedn/day.py", self.fed.http,
                               session_id], cwd=self.fed.folder, capture_output=True, text=True,
                              timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout.split("next ")[1].strip()

    def evening(self, session_id):
        """FEDn's way to stop: the status is written into the row."""
        status, answer = self.fed.rest("PATCH", f"/api/v1/sessions/{session_id}",
                                       {"status": "Terminated"})
        self.assertEqual(status, 200, answer)
        row = self.fed.wait_session(session_id)
        self.assertEqual(row["status"], "Terminated")
        self.assertLess(row["rounds_done"], 500)
        self.assertIn("Terminated", self.fedn("session", "get", "-id", session_id))

    def test_day(self):
        with Federation() as self.fed:
            self.prepare()
            session_id = self.morning()
            self.noon(session_id)
            self.evening(self.afternoon(session_id))


if __name__ == "__main__":
    sys.exit(federation.main())
