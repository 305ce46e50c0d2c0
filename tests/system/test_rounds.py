"""Whole sessions with real daemons: combiners × clients."""

import io
import sys

import numpy

import federation
from federation import Federation


class Rounds(federation.unittest.TestCase):
    def run_session(self, n_combiners, n_clients, rounds=2):
        with Federation() as fed:
            fed.start_reducer()
            for i in range(n_combiners):
                fed.start_combiner(f"combiner-{i}")
            fed.start_clients(n_clients, options=["--echo-examples", "7"])
            live = fed.wait_clients(n_clients)
            used = {client["combiner"] for client in live["clients"]}
            self.assertEqual(len(used), n_combiners, "clients go to the least loaded combiner")
            path = federation.random_model(fed.folder / "seed.npz")
            seed = fed.upload_model(path)
            session = fed.start_session(seed, rounds=rounds, clients_required=n_clients)
            row = fed.wait_session(session)
            self.assertEqual(row["status"], "Finished")
            self.assertEqual(row["failed_rounds"], 0)
            ids = sorted(client.name for client in fed.clients.values())
            done = fed.rounds(session)
            self.assertEqual([r["round_number"] for r in done], list(range(1, rounds + 1)))
            for entry in done:
                self.assertEqual(entry["phase"], "committed")
                self.assertEqual(sorted(e["client_id"] for e in entry["entries"]), ids)
                self.assertEqual({e["examples"] for e in entry["entries"]}, {7})
                self.assertEqual(entry["refused"], [])
            # Everybody sent the base back: the model is the seed, value for value.
            status, content = fed.rest("GET", f"/api/v1/models/{done[-1]['model_id']}/download")
            self.assertEqual(status, 200)
            with numpy.load(path) as want, numpy.load(io.BytesIO(content)) as got:
                self.assertEqual(sorted(want.files), sorted(got.files))
                for name in want.files:
                    self.assertEqual(want[name].dtype, got[name].dtype)
                    self.assertEqual(want[name].tobytes(), got[name].tobytes())
            status, answer = fed.rest("GET", f"/api/v1/validations/?session_id={session}")
            self.assertEqual(status, 200)
            trail = fed.rest("GET", f"/api/v1/models/{done[-1]['model_id']}/ancestors")[1]
            self.assertEqual([m["model_id"] for m in trail], [done[0]["model_id"], seed])


def add(n_combiners, n_clients):
    def test(self):
        self.run_session(n_combiners, n_clients)
    setattr(Rounds, f"test_{n_combiners}_combiners_{n_clients}_clients", test)


for combiners in (1, 2):
    for clients in (2, 5, 50):
        add(combiners, clients)

if __name__ == "__main__":
    sys.exit(federation.main())
