"""What the updates of a round take on the combiner's disk, without a bound and with one."""

import sys
import threading
import unittest

import numpy

import federation
from federation import Federation
from rawclient import RawClient, load, save

N_CLIENTS = 8


class Watch:
    """The most that a spool's rounds have taken, sampled every 5 ms."""

    def __init__(self, folder):
        self.folder = folder
        self.files = self.all = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.over.wait(0.005):
            files = total = 0
            for path in self.folder.glob("rounds/*/*"):
                try:
                    size = path.stat().st_size
                except FileNotFoundError:
                    continue
                total += size
                files += size if path.name.startswith("update-") else 0
            self.files = max(self.files, files)
            self.all = max(self.all, total)

    def end(self):
        self.over.set()
        self.thread.join()


class Spool(unittest.TestCase):
    def run_round(self, options, kills=False):
        """One round of N_CLIENTS: the model's SHA-256, an update's bytes, the watch."""
        with Federation() as fed:
            fed.start_reducer()
            fed.start_combiner(options=options)
            path = fed.folder / "seed.npz"
            fed.cli("model", "new", "cnn", "--seed", "5", "--output", path)
            arrays = load(path.read_bytes())
            size = len(save(arrays))
            watch = Watch(fed.folder / "spool-combiner")
            clients = [RawClient(fed.combiners["combiner"].address, f"client-{i}").attach()
                       for i in range(N_CLIENTS)]
            try:
                fed.wait_clients(N_CLIENTS)
                session = fed.start_session(fed.upload_model(path), rounds=1, validate=False,
                                            clients_required=N_CLIENTS, round_timeout=200)
                for i, client in enumerate(clients):
                    if kills and i == N_CLIENTS // 2:
                        self.kill(fed, options)
                        for other in clients[i:]:
                            other.close()
                        clients[i:] = [RawClient(fed.combiners["combiner"].address, other.client_id)
                                       .attach() for other in clients[i:]]
                        client = clients[i]
                    task = client.wait_task()
                    content = save([a + numpy.float32(0.01 * (i + 1)) for a in arrays])
                    client.announce(task, client.upload(content), examples=i + 1)
                row = fed.wait_session(session, 100)
                self.assertEqual((row["status"], row["failed_rounds"]), ("Finished", 0))
                done = fed.rounds(session)[0]
                self.assertEqual(len(done["entries"]), N_CLIENTS)
                made = fed.combiners["combiner"].text().count(" round.checkpointed ")
                return done["model_sha256"], size, watch, made
            finally:
                watch.end()
                for client in clients:
                    client.close()

    @staticmethod
    def kill(fed, options):
        fed.combiners["combiner"].kill()
        fed.start_combiner(options=options)

    def test_updates_stay_within_their_bound(self):
        free_sha256, size, free, none = self.run_round([])
        bound_sha256, _, bound, made = self.run_round(["--spool-bytes-max", "1MiB"], kills=True)
        for name, watch, n in (("no bound", free, none), ("1 MiB", bound, made)):
            print(f"{name}: {N_CLIENTS} updates of {size / 2**20:.2f} MiB, {n} checkpoints; on disk "
                  f"at most {watch.files / 2**20:.1f} MiB of updates, {watch.all / 2**20:.1f} MiB "
                  f"in all", flush=True)
        self.assertEqual(free_sha256, bound_sha256, "a checkpoint changes no bit")
        self.assertEqual(none, 0)
        self.assertEqual(free.files, N_CLIENTS * size)
        self.assertGreaterEqual(made, 3)
        self.assertEqual(bound.files, size)  # one is above the bound, and the next waits


if __name__ == "__main__":
    sys.exit(federation.main())
