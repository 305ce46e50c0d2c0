"""What the tests of outages share: one session on MNIST-like data, and what came of it."""

import contextlib
import hashlib
import threading
import unittest

import data
from federation import Failed, Federation

# FerretDB 1.24 that is killed while it makes an index never makes it again, and the first use of a
# collection makes some: not what is tested here.
COLLECTIONS = ("combiners", "clients", "sessions", "rounds", "models", "packages", "runs", "validations",
               "statuses", "predictions", "metrics", "attributes", "telemetry")
N_CLIENTS = 2
ROUNDS = 2


def stored_sha256(fed, model):
    """Of the model as it is downloaded."""
    status, content = fed.rest("GET", f"/api/v1/models/{model}/download")
    return hashlib.sha256(content).hexdigest() if status == 200 else (status, content)


class OutageCase(unittest.TestCase):
    """cls.calm is what the session gives on files, undisturbed; self.federation() makes one on the
    server."""

    @classmethod
    def run_calm(cls):
        with Federation() as fed:
            cls.start(fed)
            cls.calm = cls.finish(fed, cls.begin(fed))

    @classmethod
    def start(cls, fed, fault=None, options=()):
        data.small_mnist(fed.folder / "data")
        fed.start_reducer(fault=fault, options=options)
        for name in COLLECTIONS:
            status, answer = fed.rest("GET", f"/api/v1/{name}/")
            if status != 200:
                raise Failed(f"{name}: {status} {answer}")
        fed.start_combiner()
        for i in range(N_CLIENTS):
            fed.start_client(f"client-{i}", trainer="cnn", options=[
                "--data", fed.folder / "data", "--shard", f"{i}/{N_CLIENTS}", "--seed", "3",
                "--epochs", "1", "--batch", "16", "--lr", "0.05"])
        fed.wait_clients(N_CLIENTS)

    @contextlib.contextmanager
    def stopped_at(self, point, options=()):
        """A session that stands still with the reducer at the point; it is continued and the server
        back when the block ends, and then it gives what the calm one does."""
        with self.federation() as fed:
            self.start(fed, fault=f"{point}:1:stop", options=options)
            session = []
            model = self.seed(fed)
            starter = threading.Thread(target=lambda: session.append(self.begin(fed, model)))
            starter.start()
            fed.reducer.wait_stopped(60)
            yield fed
            starter.join(60)
            self.check(fed, self.finish(fed, session[0]))

    @staticmethod
    def seed(fed):
        path = fed.folder / "seed.npz"
        fed.cli("model", "new", "cnn", "--seed", "5", "--output", path)
        return fed.upload_model(path)

    @classmethod
    def begin(cls, fed, model=None):
        return fed.start_session(model or cls.seed(fed), rounds=ROUNDS, clients_required=N_CLIENTS,
                                 round_timeout=100)

    @staticmethod
    def finish(fed, session):
        row = fed.wait_session(session, 160)
        done = fed.rounds(session)

        def are_validated(_):
            answer = fed.rest("GET", f"/api/v1/validations/?session_id={session}")[1]
            return answer["count"] == ROUNDS * N_CLIENTS
        fed.wait_live(are_validated, 60, "the validations")
        return {
            "status": row["status"], "failed": row["failed_rounds"],
            "phases": [r["phase"] for r in done],
            "clients": [sorted(e["client_id"] for e in r["entries"]) for r in done],
            "sha256": [r["model_sha256"] for r in done],
            "stored": [stored_sha256(fed, r["model_id"]) for r in done],
        }

    @staticmethod
    def check_awaited(fed, *words):
        """The live state, /health and `confed status` say what is awaited: all of the words."""
        live = fed.wait_live(lambda state: state["trouble"], 30, "the trouble")
        for said in (live["trouble"][0], fed.rest("GET", "/health")[1].decode(), fed.cli("status")):
            if not all(word in said for word in words):
                raise Failed(f"this does not say what is awaited: {said}")

    def check(self, fed, got):
        self.assertEqual(self.calm["phases"], ["committed"] * ROUNDS)
        self.assertEqual(got, self.calm)
        self.assertEqual(got["stored"], got["sha256"])
        self.assertTrue(all(process.is_running() for process in fed.processes), "nobody died")
        self.assertEqual(fed.live()["trouble"], [])
