#!/usr/bin/python3
"""Running it: the doctor, pruning, backup, restore and migration, disk use and a full disk, a
combiner whose port is held over its crash."""

import hashlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import unittest.mock

from federation import BIN, Federation, main, random_model
from minio import MinioServer
from mongo import MongoServer
from server import free_port

MIB = 1 << 20


def run(*words, expect=0, **environment):
    """Run a program of ours; its standard output, and its errors where it fails."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True,
                          check=False, timeout=120, stdin=subprocess.DEVNULL,
                          env=dict(os.environ, **environment))
    if done.returncode != expect:
        raise AssertionError(f"{words}: {done.returncode}, not {expect}\n{done.stdout}\n"
                             f"{done.stderr}")
    return done.stdout if expect == 0 else done.stdout + done.stderr


def sums(folder):
    """{name: SHA-256} of the files in a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in pathlib.Path(folder).iterdir()}


def rows(fed):
    """What REST tells of the federation's past. Not its statuses: a combiner that held some back
    hands them over to the next reducer."""
    found = {}
    for resource in ("sessions", "rounds", "models", "validations", "runs"):
        status, answer = fed.rest("GET", f"/api/v1/{resource}/")
        assert status == 200, answer
        found[resource] = answer["result"]
    return found


class Ops(unittest.TestCase):
    def federation(self, *options):
        fed = self.enterContext(Federation(reducer_options=options))
        fed.start_reducer()
        fed.start_combiner()
        fed.start_clients(2)
        return fed

    def trained(self, fed, n_rounds=3):
        """A session that has run; its id, and its seed's."""
        seed = fed.upload_model(random_model(fed.folder / "seed.npz"))
        session = fed.start_session(seed, rounds=n_rounds, clients_required=2)
        self.assertEqual(fed.wait_session(session)["failed_rounds"], 0)
        fed.wait_live(lambda live: live["validation"]["received"] == live["validation"]["asked"])
        return session, seed

    # -- doctor ------------------------------------------------------------------------------

    def checks(self, text):
        return {check["name"]: check for check in json.loads(text)}

    def test_doctor(self):
        fed = self.federation()
        found = self.checks(fed.cli("--json", "doctor"))
        self.assertLessEqual({"reducer", "store", "blobs", "disk", "combiner", "clients", "clock"},
                             set(found))
        self.assertFalse([check for check in found.values() if check["status"] == "failed"])
        fed.combiners["combiner"].stop()
        fed.wait_live(lambda live: live["combiners"][0]["status"] == "offline")
        status, out, _ = fed.cli("doctor", expect=None)
        self.assertEqual(status, 1)
        self.assertIn("none is attached", out)
        self.assertIn("->", out)
        fed.reducer.stop()
        status, _, errors = fed.cli("doctor", expect=None)
        self.assertEqual(status, 3)
        self.assertIn("reducer", errors)

    def test_doctor_of_settings(self):
        fed = self.enterContext(Federation())
        fed.start_reducer()
        settings = fed.folder / "reducer.yaml"
        settings.write_text(f'store: "sqlite:{fed.folder}/reducer.db"\n'
                            f'blob: "dir:{fed.folder}/blobs"\nhttp: "{fed.http}"\n'
                            'rpc: "127.0.0.1:0"\n')
        status, out, _ = fed.cli("--json", "doctor", "--config", settings, expect=None)
        found = self.checks(out)
        self.assertEqual(status, 1)
        self.assertIn("in use by pid", found["store"]["text"])
        self.assertEqual(found["http"]["status"], "failed")
        self.assertTrue(found["http"]["advice"])
        fed.reducer.stop()
        found = self.checks(fed.cli("--json", "doctor", "--config", settings))
        self.assertEqual({check["status"] for check in found.values()} - {"warning"}, {"ok"})
        self.assertEqual(list((fed.folder / "blobs").iterdir()), [])  # it leaves nothing behind

    # -- pruning -----------------------------------------------------------------------------

    def test_prune(self):
        fed = self.federation()
        session, seed = self.trained(fed, 4)
        made = [row["model_id"] for row in fed.rounds(session)]
        before = json.loads(fed.cli("--json", "status"))["disk"]
        self.assertEqual(before["models"], 5)
        out = fed.cli("model", "prune", "--keep", "2")  # no terminal: nothing happens
        self.assertIn("2 models would go", out)
        self.assertIn("--yes", out)
        self.assertEqual(fed.rest("GET", f"/api/v1/models/{made[0]}/download")[0], 200)
        report = json.loads(fed.cli("--json", "model", "prune", "--keep", "2", "--yes"))
        self.assertEqual([row["model_id"] for row in report["removed"]], made[1::-1])
        self.assertEqual({row["model_id"]: row["why"] for row in report["kept"]},
                         {made[3]: "in use", made[2]: "among the newest",
                          seed: "seed of a session"})
        for model in made[:2]:
            status, answer = fed.rest("GET", f"/api/v1/models/{model}/download")
            self.assertEqual((status, answer["code"]), (410, "pruned"))
            self.assertEqual(fed.rest("GET", f"/api/v1/models/{model}/parameters")[0], 410)
            self.assertEqual(fed.rest("GET", f"/api/v1/models/{model}")[0], 200)
        self.assertEqual(set(sums(fed.folder / "blobs")), {made[2], made[3], seed})
        trail = fed.rest("GET", f"/api/v1/models/{made[3]}/ancestors?limit=10")[1]
        self.assertIn(made[0], json.dumps(trail))  # the trail is whole
        after = json.loads(fed.cli("--json", "status"))["disk"]
        self.assertEqual(after["models"], 3)
        self.assertLess(after["models_bytes"], before["models_bytes"])
        # A pruned model starts no session; the kept ones do.
        with self.assertRaisesRegex(AssertionError, "seed model not found"):
            fed.start_session(made[0])
        session = fed.start_session(seed, clients_required=2)
        self.assertEqual(fed.wait_session(session)["failed_rounds"], 0)

    def test_prune_spares_open_sessions(self):
        fed = self.federation()
        _, seed = self.trained(fed, 1)
        other = fed.upload_model(random_model(fed.folder / "other.npz", 2), "other")
        status, row = fed.ask_session(other)
        self.assertEqual(status, 201, row)
        running = fed.start_session(seed, rounds=6, clients_required=2)
        fed.wait_live(lambda live: live["session"]["rounds_done"] >= 2)
        status, report = fed.rest("POST", "/api/v1/models/prune", {"keep": 1})
        self.assertEqual(status, 200, report)
        kept = {model["model_id"] for model in report["kept"]}
        self.assertLessEqual({seed, other}, kept)
        self.assertEqual(fed.wait_session(running)["failed_rounds"], 0)

    def test_prune_keeps_the_best(self):
        fed = self.federation()
        self.trained(fed, 3)
        status, report = fed.rest("POST", "/api/v1/models/prune",
                                  {"keep": 1, "keep_best": "loss", "dry_run": True})
        self.assertEqual(status, 200, report)
        self.assertTrue(report["dry_run"])
        for body in ({}, {"keep": 0}, {"keep": "2"}, {"keep": 1, "dry_run": 1},
                     {"keep": 1, "keep_best": 5}):
            self.assertEqual(fed.rest("POST", "/api/v1/models/prune", body)[0], 400, body)

    # -- copies ------------------------------------------------------------------------------

    def test_backup_and_restore(self):
        fed = self.federation()
        self.trained(fed)
        past = rows(fed)
        store, blob = f"sqlite:{fed.folder}/reducer.db", f"dir:{fed.folder}/blobs"
        backup = fed.folder / "backup"
        self.assertIn("in use by pid", run(BIN / "confed", "backup", backup, "--store", store,
                                           "--blob", blob, expect=1))
        fed.reducer.stop()
        first = json.loads(run(BIN / "confed", "--json", "backup", backup, "--store", store,
                               "--blob", blob))
        self.assertEqual(first["blobs"], 4)
        again = json.loads(run(BIN / "confed", "--json", "backup", backup, "--store", store,
                               "--blob", blob))
        self.assertEqual((again["blobs"], again["blobs_there"]), (0, 4))
        self.assertEqual(again["documents"], first["documents"])
        self.assertEqual(sums(backup / "blobs"), sums(fed.folder / "blobs"))
        self.assertEqual(sorted(path.name for path in backup.iterdir() if path.suffix != ".lock"),
                         ["blobs", "confed.db"])
        # What is damaged is not carried on.
        model = next((backup / "blobs").iterdir())
        good = model.read_bytes()
        model.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        there = ["--store", f"sqlite:{fed.folder}/new.db", "--blob", f"dir:{fed.folder}/new"]
        self.assertIn("damaged", run(BIN / "confed", "restore", backup, *there, expect=1))
        model.write_bytes(good)
        run(BIN / "confed", "restore", backup, *there)  # goes on from the one that failed
        self.assertEqual(sums(fed.folder / "new"), sums(fed.folder / "blobs"))
        fed.start_reducer(options=there)
        self.assertEqual(rows(fed), past)
        fed.wait_clients(2)
        self.trained(fed, 1)
        fed.reducer.stop()
        self.assertIn("another one", run(BIN / "confed", "restore", backup, *there, expect=1))
        self.assertIn("is no backup", run(BIN / "confed", "restore", fed.folder, *there, expect=1))

    def migrated(self, store, blob):
        """A federation that moved there, through a copy that was killed; back on SQLite it is what
        it was."""
        fed = self.federation()
        self.trained(fed)
        past = rows(fed)
        fed.reducer.stop()
        old = ["--from-store", f"sqlite:{fed.folder}/reducer.db", "--from-blob",
               f"dir:{fed.folder}/blobs"]
        new = [store.format(fed.folder), blob.format(fed.folder)]
        there = ["--to-store", new[0], "--to-blob", new[1]]
        run(BIN / "confed", "migrate", *old, *there, expect=-signal.SIGKILL,
            CONFED_FAULT="migrate.blob:2")
        report = json.loads(run(BIN / "confed", "--json", "migrate", *old, *there))
        self.assertEqual((report["blobs"], report["blobs_there"], report["documents"]), (3, 1, 0))
        back = ["--to-store", f"sqlite:{fed.folder}/back.db", "--to-blob",
                f"dir:{fed.folder}/back"]
        run(BIN / "confed", "migrate", "--from-store", new[0], "--from-blob", new[1], *back)
        self.assertEqual(sums(fed.folder / "back"), sums(fed.folder / "blobs"))
        fed.start_reducer(options=["--store", new[0], "--blob", new[1]])
        self.assertEqual(rows(fed), past)
        fed.wait_clients(2)
        self.trained(fed, 1)
        fed.reducer.stop()

    def test_migrate(self):
        self.migrated("sqlite:{}/new.db", "dir:{}/new")

    def test_migrate_to_mongodb(self):
        server = self.enterContext(MongoServer())
        self.migrated(server.url(""), "dir:{}/new")

    def test_migrate_to_s3(self):
        server = self.enterContext(MinioServer())
        self.enterContext(unittest.mock.patch.dict(os.environ, server.environment()))
        self.migrated("sqlite:{}/new.db", "s3://moved/here")
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="confed-ops-"))
        settings = ["--store", f"sqlite:{folder}/check.db", "--http", "127.0.0.1:0", "--rpc",
                    "127.0.0.1:0"]
        self.assertIn("ok       blobs     s3", run(BIN / "confed-reducer", "--check", *settings,
                                                   "--blob", "s3://moved"))
        os.environ["FED_REDUCER_BLOB_SECRET_KEY"] = "another-one"
        out = run(BIN / "confed-reducer", "--check", *settings, "--blob", "s3://moved", expect=1)
        self.assertIn("SignatureDoesNotMatch", out)
        self.assertIn("->  check blob_secret_key_file", out)

    def test_usage(self):
        self.assertIn("--from FILE is missing", run(BIN / "confed", "migrate", expect=2))
        same = ["--from-store", "sqlite:a", "--from-blob", "dir:b", "--to-store", "sqlite:a",
                "--to-blob", "dir:b"]
        self.assertIn("the same", run(BIN / "confed", "migrate", *same, expect=2))

    # -- disks -------------------------------------------------------------------------------

    def test_full_disk(self):
        folder = tempfile.mkdtemp(prefix="confed-ops-")
        self.addCleanup(os.rmdir, folder)
        if os.geteuid() != 0 or subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", folder],
                capture_output=True, check=False).returncode != 0:
            self.skipTest("a small tmpfs cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", "-l", folder], check=True)
        fed = self.enterContext(Federation())
        fed.start_reducer(options=["--store", f"sqlite:{folder}/confed.db", "--blob",
                                   f"dir:{folder}/blobs", "--disk-reserve", "48MiB"])
        fed.start_combiner()
        fed.start_clients(2)
        seed = fed.upload_model(random_model(fed.folder / "seed.npz"))
        # More rounds than the test has time for: it is stopped.
        session = fed.start_session(seed, rounds=1000000, clients_required=2)
        fed.wait_live(lambda live: live["session"]["rounds_done"] >= 2)
        ballast = pathlib.Path(folder) / "ballast"
        ballast.write_bytes(bytes(60 * MIB))
        live = fed.wait_live(lambda live: "disk space" in live["waits_for"], 30, "the full disk")
        self.assertTrue(any("MiB free" in line for line in live["trouble"]), live["trouble"])
        out = fed.cli("status")
        self.assertIn("trouble", out)
        self.assertIn("disk   ", out)
        self.assertEqual(fed.cli("doctor", expect=None)[0], 1)
        self.assertTrue(fed.reducer.is_running())
        done = live["session"]["rounds_done"]
        time.sleep(2)
        self.assertEqual(fed.live()["session"]["rounds_done"], done)  # and it stays so
        ballast.unlink()
        fed.wait_live(lambda live: live["session"]["rounds_done"] > done, 30, "the next round")
        self.assertEqual(fed.live()["trouble"], [])
        fed.cli("session", "stop")
        row = fed.wait_session(session)
        self.assertEqual(row["failed_rounds"], 0)

    # -- the port of a combiner --------------------------------------------------------------

    def test_hold(self):
        fed = self.enterContext(Federation())
        fed.start_reducer()
        address = f"127.0.0.1:{free_port()}"
        hold = fed._start("hold", [BIN / "confed", "hold", "--listen", address, "--",
                                   "confed-combiner", "--name", "held", "--reducer", fed.rpc,
                                   "--advertise", address, "--spool", fed.folder / "spool"])
        hold.wait_ready()
        run(BIN / "confed-probe", address)
        client = fed.start_client("client", wait=True)
        run(BIN / "confed-probe", client.ready_path)
        for _ in range(2):
            child = int(run("pgrep", "-P", hold.popen.pid, "-x", "confed-combiner"))
            os.kill(child, signal.SIGKILL)
            with socket.create_connection(("127.0.0.1", int(address.split(":")[1])), 1):
                pass  # not refused, at any time
            until = time.monotonic() + 20
            while subprocess.run([BIN / "confed-probe", address], capture_output=True,
                                 check=False).returncode != 0:
                self.assertLess(time.monotonic(), until)
        self.assertIn("died", hold.text())
        fed.wait_clients(1)
        client.kill()
        run(BIN / "confed-probe", client.ready_path, expect=1)
        self.assertEqual(hold.stop(), 0)
        run(BIN / "confed-probe", address, expect=1)
        # What the next start would not change ends it.
        run(BIN / "confed", "hold", "--listen", address, "--", "confed-combiner", "--nonsense",
            expect=2)

    # -- copies of a part --------------------------------------------------------------------

    def test_migrate_blobs_alone(self):
        """From one folder to another, with the metadata where it is; then the metadata alone."""
        fed = self.federation()
        self.trained(fed, 1)
        past = rows(fed)
        fed.reducer.stop()
        store, blob = f"sqlite:{fed.folder}/reducer.db", f"dir:{fed.folder}/blobs"
        there = [f"sqlite:{fed.folder}/new.db", f"dir:{fed.folder}/new"]
        report = json.loads(run(BIN / "confed", "--json", "migrate", "--from-store", store,
                                "--from-blob", blob, "--to-store", store, "--to-blob", there[1]))
        self.assertEqual((report["documents"], report["blobs"], report["blobs_there"]), (0, 2, 0))
        self.assertEqual(sums(fed.folder / "new"), sums(fed.folder / "blobs"))
        report = json.loads(run(BIN / "confed", "--json", "migrate", "--from-store", store,
                                "--from-blob", there[1], "--to-store", there[0],
                                "--to-blob", there[1]))
        self.assertEqual((report["documents_there"], report["blobs"], report["blobs_there"]),
                         (0, 0, 2))
        fed.start_reducer(options=["--store", there[0], "--blob", there[1]])
        self.assertEqual(rows(fed), past)


if __name__ == "__main__":
    main()
