"""Each row of the round protocol's table of crash points (section 9): the process is killed at a
named point, started again, and the session ends as a calm one does, with the same bits."""

import sys
import unittest

import data
import federation
from federation import Failed, Federation

N_CLIENTS = 2
ROUNDS = 2
SEED_MODEL_SEED = "5"


class Crash(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """What a calm run gives."""
        with Federation() as fed:
            cls.start(fed)
            cls.calm = cls.finish(fed, cls.begin(fed))

    @staticmethod
    def client_options(fed, i, seed=3):
        return ["--data", fed.folder / "data", "--shard", f"{i}/{N_CLIENTS}", "--seed", str(seed),
                "--epochs", "1", "--batch", "16", "--lr", "0.05"]

    @classmethod
    def start(cls, fed, reducer_fault=None, combiner_fault=None, client_fault=None,
              combiner_options=()):
        data.small_mnist(fed.folder / "data")
        fed.start_reducer(fault=reducer_fault)
        fed.start_combiner(fault=combiner_fault, options=combiner_options)
        for i in range(N_CLIENTS):
            fed.start_client(f"client-{i}", fault=client_fault if i == 0 else None,
                             options=cls.client_options(fed, i), trainer="cnn")
        fed.wait_clients(N_CLIENTS)

    @staticmethod
    def begin(fed):
        path = fed.folder / "seed.npz"
        fed.cli("model", "new", "cnn", "--seed", SEED_MODEL_SEED, "--output", path)
        return fed.start_session(fed.upload_model(path), rounds=ROUNDS,
                                 clients_required=N_CLIENTS, round_timeout=100)

    @staticmethod
    def finish(fed, session):
        row = fed.wait_session(session, 160)
        done = fed.rounds(session)
        return {
            "status": row["status"], "failed": row["failed_rounds"],
            "phases": [r["phase"] for r in done],
            "clients": [sorted(e["client_id"] for e in r["entries"]) for r in done],
            "examples": [sorted(e["examples"] for e in r["entries"]) for r in done],
            "sha256": [r["model_sha256"] for r in done],
        }

    def check(self, got):
        self.assertEqual(self.calm["status"], "Finished")
        self.assertEqual(self.calm["phases"], ["committed"] * ROUNDS)
        self.assertEqual(got, self.calm)

    # -- the reducer -------------------------------------------------------------------------

    def kill_reducer_at(self, point):
        with Federation() as fed:
            self.start(fed, reducer_fault=point)
            session = None
            try:
                session = self.begin(fed)
            except (OSError, Failed):
                pass  # it may die before it answers the start
            self.assertEqual(fed.reducer.wait_end(60), -9, f"it did not come to {point}")
            fed.start_reducer()
            if session is None:
                session = fed.rest("GET", "/api/v1/sessions/")[1]["result"][0]["session_id"]
            self.check(self.finish(fed, session))

    def test_reducer_before_planned(self):
        self.kill_reducer_at("reducer.before_planned")

    def test_reducer_planned(self):
        self.kill_reducer_at("reducer.planned")

    def test_reducer_plan_sent(self):
        self.kill_reducer_at("reducer.plan_sent")

    def test_reducer_collecting(self):
        self.kill_reducer_at("reducer.collecting")

    def test_reducer_partial_received(self):
        self.kill_reducer_at("reducer.partial_received")

    def test_reducer_blob_written(self):
        self.kill_reducer_at("reducer.blob_written")

    def test_reducer_committed(self):
        self.kill_reducer_at("reducer.committed")

    # -- the combiner ------------------------------------------------------------------------

    def kill_combiner_at(self, point, options=()):
        with Federation() as fed:
            self.start(fed, combiner_fault=point, combiner_options=options)
            session = self.begin(fed)
            self.assertEqual(fed.combiners["combiner"].wait_end(60), -9,
                             f"it did not come to {point}")
            fed.start_combiner(options=options)
            self.check(self.finish(fed, session))
            return {client.name: client.text().count(" round.trained ")
                    for client in fed.clients.values()}

    def test_combiner_upload_running(self):
        self.kill_combiner_at("combiner.upload_running")

    def test_combiner_upload_published(self):
        self.kill_combiner_at("combiner.upload_published")

    def test_combiner_logged(self):
        self.assertEqual(set(self.kill_combiner_at("combiner.logged").values()), {ROUNDS},
                         "nobody whose update was logged trains again")

    def test_combiner_answered(self):
        self.assertEqual(set(self.kill_combiner_at("combiner.answered").values()), {ROUNDS},
                         "nobody whose update was accepted trains again")

    def kill_combiner_at_checkpoint(self, point):
        """The calm run makes none: its bits are the same."""
        self.assertEqual(
            set(self.kill_combiner_at(point, ["--spool-bytes-max", "1MiB"]).values()), {ROUNDS},
            "nobody whose update was accepted trains again")

    def test_combiner_checkpoint_written(self):
        self.kill_combiner_at_checkpoint("combiner.checkpoint_written:2")

    def test_combiner_checkpointed(self):
        self.kill_combiner_at_checkpoint("combiner.checkpointed")

    def test_combiner_checkpoint_swept(self):
        self.kill_combiner_at_checkpoint("combiner.checkpoint_swept:2")

    def test_combiner_sealed(self):
        self.assertEqual(set(self.kill_combiner_at("combiner.sealed").values()), {ROUNDS},
                         "nobody whose update was accepted trains again")

    def test_combiner_gone_for_good(self):
        """Its disk too: the clients attach elsewhere and answer from what they have kept."""
        import shutil
        with Federation(reducer_options=["--combiner-grace", "5s"]) as fed:
            data.small_mnist(fed.folder / "data")
            fed.start_reducer()
            fed.start_combiner("first", fault="combiner.logged", keep_socket=False)
            for i in range(N_CLIENTS):
                options = [*self.client_options(fed, i), "--reassign-after", "1s"]
                fed.start_client(f"client-{i}", options=options, trainer="cnn")
            fed.wait_clients(N_CLIENTS)
            session = self.begin(fed)
            fed.start_combiner("second", keep_socket=False)
            self.assertEqual(fed.combiners["first"].wait_end(60), -9)
            shutil.rmtree(fed.folder / "spool-first")
            self.check(self.finish(fed, session))

    # -- a client ----------------------------------------------------------------------------

    def kill_client_at(self, point):
        with Federation() as fed:
            self.start(fed, client_fault=point)
            session = self.begin(fed)
            client = fed.clients["client-0"]
            self.assertEqual(client.wait_end(60), -9, f"it did not come to {point}")
            fed.start_client("client-0", options=self.client_options(fed, 0), trainer="cnn")
            self.check(self.finish(fed, session))

    def test_client_training(self):
        self.kill_client_at("client.training")

    def test_client_uploaded(self):
        self.kill_client_at("client.uploaded")

    def test_client_admitted(self):
        self.kill_client_at("client.admitted")


if __name__ == "__main__":
    sys.exit(federation.main())
