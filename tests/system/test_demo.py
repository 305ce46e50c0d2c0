"""`confed up` and the CLI as a person uses them."""

import json
import os
import signal
import subprocess
import sys
import unittest

import data
import federation
from federation import BIN, Federation


def processes_of(folder):
    """Ids of live processes that work below a folder."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read()
        except OSError:
            continue
        if str(folder).encode() in words and int(pid) != os.getpid():
            found.append(int(pid))
    return found


class Demo(unittest.TestCase):
    def up(self, fed, *words, timeout=170):
        images = data.small_mnist(fed.folder / "data")
        return subprocess.run(
            [BIN / "confed", "up", "--dir", fed.folder / "up", "--data", images, *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
            env=dict(os.environ, NO_COLOR="1"))

    def test_up_with_rounds(self):
        with Federation() as fed:
            done = self.up(fed, "--rounds", "2", "--clients", "2", "--batch", "16", "--json")
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            result = json.loads(done.stdout.splitlines()[-1])
            self.assertEqual(sorted(result), ["accuracy", "clients", "combiners", "loss",
                                              "model_id", "model_sha256", "rounds", "seconds"])
            self.assertEqual((result["rounds"], result["clients"], result["combiners"]), (2, 2, 1))
            self.assertGreater(result["accuracy"], 0.05)
            self.assertEqual(len(result["model_sha256"]), 64)
            self.assertEqual(processes_of(fed.folder), [])

    def test_up_two_combiners_same_bits(self):
        with Federation() as fed:
            found = []
            for combiners in ("1", "2"):
                done = self.up(fed, "--fresh", "--rounds", "1", "--clients", "3", "--combiners",
                               combiners, "--batch", "16", "--json")
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                found.append(json.loads(done.stdout.splitlines()[-1])["model_sha256"])
            self.assertEqual(found[0], found[1])

    def test_up_ends_on_ctrl_c(self):
        with Federation() as fed:
            images = data.small_mnist(fed.folder / "data")
            up = subprocess.Popen(
                [BIN / "confed", "up", "--dir", fed.folder / "up", "--data", images],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True)
            try:
                lines = []
                for line in up.stdout:
                    lines.append(line)
                    if "http://" in line:
                        break
                self.assertIn("http://", lines[-1], "".join(lines))
                up.send_signal(signal.SIGINT)
                self.assertEqual(up.wait(40), 0)
                self.assertEqual(processes_of(fed.folder), [])
            finally:
                up.kill()
                up.stdout.close()

    def test_cli(self):
        """Tables for people, JSON for scripts, exit statuses and errors that help."""
        with Federation() as fed:
            fed.start_reducer()
            self.assertIn("idle", fed.cli("status"))
            fed.start_combiner()
            fed.start_clients(2)
            fed.wait_clients(2)
            path = federation.random_model(fed.folder / "seed.npz")
            out = fed.cli("session", "start", "--model", path, "--rounds", "2", "--wait")
            self.assertIn("2", out)
            sessions = json.loads(fed.cli("--json", "session", "list"))
            self.assertEqual(len(sessions), 1)
            session = sessions[0]["session_id"]
            for words in (["session", "list"], ["session", "show", session], ["round", "list"],
                          ["round", "show", "1"], ["model", "list"], ["client", "list"],
                          ["client", "show", "client-00"], ["combiner", "list"],
                          ["validation", "list"], ["status"]):
                text = fed.cli(*words)
                self.assertTrue(text.strip(), words)
                self.assertNotIn("\x1b", text, "no colours unless on a terminal")
                json.loads(fed.cli("--json", *words))
            models = json.loads(fed.cli("--json", "model", "list"))
            fed.cli("model", "download", models[0]["model_id"], "--output", fed.folder / "m.npz")
            self.assertTrue((fed.folder / "m.npz").stat().st_size > 1000)
            self.assertEqual(fed.cli("sesion", "list", expect=None)[0], 2)
            self.assertIn("session", fed.cli("sesion", "list", expect=None)[2])
            self.assertEqual(fed.cli("session", "show", "nonsense", expect=None)[0], 1)
            self.assertEqual(fed.cli("--api-url", "http://127.0.0.1:1", "status", expect=None)[0],
                             3)
            for words in ([], ["session"], ["session", "start"], ["up"]):
                self.assertIn("--", fed.cli(*words, "--help"))


if __name__ == "__main__":
    sys.exit(federation.main())
