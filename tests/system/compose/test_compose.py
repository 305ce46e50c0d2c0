#!/usr/bin/python3
"""The compose files as they are shipped, run for real: three machines as three projects on three
networks that are joined only by published ports; images built from the shipped Dockerfile; real
MNIST. Its models are those of the same session on SQLite and a directory, bit for bit, also when
each machine is stopped and started in the middle of a round.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from engine import ADDRESS, ROOT, Engine, Machine, go_part, skip  # noqa: E402
from federation import RELEASE_BIN, Federation, main  # noqa: E402

IMAGES = ("confed-reducer", "confed-combiner", "confed-client")
SIZE_MAX = 120e6  # bytes
START_MAX = 60  # s from `up` to the first round
FIRST, SECOND = 2, 4  # rounds of the two sessions
CONFIG = {"round_timeout": 240, "clients_required": 2, "validate": True}


def mnist():
    done = subprocess.run([ROOT / "scripts/mnist"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        skip(f"MNIST cannot be had: {done.stderr.strip()[-200:]}")
    return done.stdout.strip()


def at_once(*functions):
    """Run them side by side; the first failure is raised."""
    failures = []

    def run(function):
        try:
            function()
        except BaseException as error:  # pylint: disable=broad-except
            failures.append(error)
    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def models(fed, session):
    return [row["model_sha256"] for row in fed.rounds(session)]


def wait_round(fed, number, seconds=120):
    """Round `number` is open and its clients train."""
    fed.wait_live(lambda live: live["round"] and live["round"]["round_number"] == number and
                  live["round"]["phase"] == "open", seconds, f"round {number}")


class Compose(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not (RELEASE_BIN / "confed").exists():
            skip(f"{RELEASE_BIN} is not built (scripts/build release)")
        cls.data = mnist()
        cls.parts = pathlib.Path(tempfile.mkdtemp(prefix="confed-parts-"))
        cls.addClassCleanup(shutil.rmtree, cls.parts, ignore_errors=True)
        for part in ("ferretdb", "minio"):
            shutil.copy(go_part(part), cls.parts / part)
        cls.engine = cls.enterClassContext(Engine())
        subprocess.run([ROOT / "compose/make-secrets"], check=True)
        variables = {"CONFED_BIND": ADDRESS, "CONFED_REDUCER_HOST": ADDRESS,
                     "CONFED_COMBINER_HOST": ADDRESS, "CONFED_DATA": cls.data,
                     "CONFED_TEST_PARTS": str(cls.parts)}
        override = pathlib.Path(__file__).with_name("base-test.yaml")
        cls.base = Machine(cls.engine, "confed-test-base", ["base.yaml", override], **variables)
        cls.combiner = Machine(cls.engine, "confed-test-combiner", ["combiner.yaml"], **variables)
        cls.clients = Machine(cls.engine, "confed-test-clients", ["clients.yaml"], **variables)
        cls.machines = (cls.base, cls.combiner, cls.clients)
        cls.all = Machine(cls.engine, "confed-test-all", ["all.yaml", override], **variables)
        started = time.monotonic()
        for machine in cls.machines:
            machine.run("build", "--quiet")
        print(f"images built in {time.monotonic() - started:.0f} s", flush=True)
        cls.addClassCleanup(cls.engine.docker, "image", "prune", "-f")

    def tearDown(self):
        failed = any(error for _, error in self._outcome.errors) if hasattr(
            self._outcome, "errors") else not self._outcome.success
        for machine in (*self.machines, self.all):
            if failed and machine.run("ps", "-q"):
                sys.stderr.write(machine.logs())
            machine.down()

    def reference(self, seed):
        """The models of both sessions on SQLite and a directory."""
        with Federation(RELEASE_BIN) as fed:
            fed.start_reducer()
            fed.start_combiner()
            for i in range(2):
                fed.start_client(f"client-{i + 1}", trainer="cnn",
                                 options=["--data", self.data, "--shard", f"{i}/2"])
            fed.wait_clients(2)
            model = fed.upload_model(seed)
            found = []
            for rounds in (FIRST, SECOND):
                session = fed.start_session(model, rounds=rounds, **CONFIG)
                fed.wait_session(session, 300)
                found.append(models(fed, session))
            return found

    def federation(self):
        """The federation of the containers, to be asked; it has no processes of ours."""
        fed = Federation(RELEASE_BIN)
        fed.http = f"{ADDRESS}:8092"
        self.addCleanup(shutil.rmtree, fed.folder, ignore_errors=True)
        return fed

    def kill_combiner(self):
        """kill -9 of the combiner's process, not of its container."""
        name = self.combiner.run("ps", "-q", "combiner").strip()
        for line in self.engine.docker("top", name, "-eo", "pid,comm").splitlines()[1:]:
            pid, command = line.split(None, 1)
            if command == "confed-combiner":
                os.kill(int(pid), signal.SIGKILL)
        return name

    def test_images(self):
        for name in IMAGES:
            image = self.engine.image(name)
            print(f"{name}: {image['Size'] / 1e6:.1f} MB", flush=True)
            self.assertLess(image["Size"], SIZE_MAX)
            self.assertEqual(image["Config"]["User"], "10001:10001")
            for tool in ("sh", "bash", "gcc", "apt-get"):
                with self.assertRaisesRegex(AssertionError, "not found"):
                    self.engine.docker("run", "--rm", "--entrypoint", tool, name)

    def test_three_machines(self):
        fed = self.federation()
        seed = fed.folder / "seed.npz"
        fed.cli("model", "new", "cnn", "--seed", "1", "--output", seed)
        started = time.monotonic()
        at_once(*[machine.up for machine in self.machines])
        fed.wait_clients(2)
        model = fed.upload_model(seed)
        session = fed.start_session(model, rounds=FIRST, **CONFIG)
        wait_round(fed, 1)
        seconds = time.monotonic() - started
        print(f"up to the first round: {seconds:.1f} s", flush=True)
        self.assertLess(seconds, START_MAX)
        fed.wait_session(session, 300)
        found = [models(fed, session)]

        session = fed.start_session(model, rounds=SECOND, **CONFIG)
        for number, machine in enumerate(self.machines, 1):
            wait_round(fed, number)
            machine.run("stop")
            machine.run("start")
        wait_round(fed, SECOND)
        container = self.kill_combiner()
        row = fed.wait_session(session, 300)
        self.assertEqual((row["status"], row["failed_rounds"]), ("Finished", 0))
        state = json.loads(self.engine.docker("inspect", container))[0]
        self.assertTrue(state["State"]["Running"])
        self.assertEqual(state["RestartCount"], 0)  # the port was kept, and so was the container
        found.append(models(fed, session))
        at_once(*[machine.down for machine in self.machines])
        self.assertEqual(found, self.reference(seed))

    def test_one_machine(self):
        self.all.up()
        fed = self.federation()
        fed.wait_clients(2)
        self.assertIn("2 online of 2", fed.cli("status"))
        # The CLI is in the reducer's image, and all is well there.
        found = json.loads(self.all.run("exec", "-T", "reducer", "confed", "--json", "doctor"))
        self.assertFalse([check for check in found if check["status"] == "failed"], found)
        kinds = " ".join(check["text"] for check in found if check["name"] in ("store", "blobs"))
        self.assertRegex(kinds, "mongodb [0-9].*s3: ")
        # Where it does not run, its settings are checked, and a backup is one command.
        self.all.run("stop", "reducer")
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="confed-backup-"))
        os.chmod(folder, 0o777)
        settings = ["--config", "/etc/confed/reducer.yaml"]
        self.assertIn("blobs     s3", self.all.run("run", "--rm", "--no-deps", "-T", "reducer",
                                                   "--check", *settings))
        self.all.run("run", "--rm", "-T", "-v", f"{folder}:/backup", "--entrypoint", "confed",
                     "reducer", "backup", *settings, "/backup")
        self.assertTrue((pathlib.Path(folder) / "confed.db").exists())


if __name__ == "__main__":
    main()
