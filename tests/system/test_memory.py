"""A model of 200 MB as base and as update: what the daemons' memory grows by.

A combiner holds one sum of the round in memory, 8 bytes a parameter, from the first update that is folded until the partial sum is written. The upload itself and its
check are to fit in 16 MB; the whole round in the sum and 32 MB. The reducer holds no sum: it adds the
partials' files block by block. Up to 28 MB of its own are gRPC's window while a partial comes: 32 MB
are allowed.

Measured is private memory, RssAnon + RssShmem of /proc/PID/status, sampled every 10 ms: what only
swap could take back. Pages of mapped files (RssFile: base, upload and partial sum, which the
daemons map) belong to the page cache: the kernel drops them under pressure at no cost, so VmHWM,
which counts them, says nothing of what a daemon needs; it is printed beside. Release binaries.
"""

import pathlib
import sys
import threading
import time
import unittest

import numpy

import federation
from federation import Federation
from rawclient import RawClient

N_ELEMENTS = 50 * 1000 * 1000
GROWTH_MAX = 16 << 20


class Watch:
    """The peak of a process's private memory."""

    def __init__(self, process):
        self.process = process
        self.start = self.peak = self.read()["private"]
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def read(self):
        found = {}
        text = pathlib.Path(f"/proc/{self.process.popen.pid}/status").read_text()
        for line in text.splitlines():
            key, _, value = line.partition(":")
            if key in ("RssAnon", "RssShmem", "RssFile", "VmHWM"):
                found[key] = int(value.split()[0]) * 1024
        found["private"] = found["RssAnon"] + found["RssShmem"]
        return found

    def run(self):
        while not self.over.wait(0.01):
            self.peak = max(self.peak, self.read()["private"])

    def end(self, what):
        self.over.set()
        self.thread.join()
        now = self.read()
        grown = self.peak - self.start
        print(f"{what}: private memory {self.start / 2**20:.1f} MiB, grown by at most "
              f"{grown / 2**20:.1f} MiB; VmHWM, mapped files too: {now['VmHWM'] / 2**20:.0f} MiB",
              flush=True)
        return grown


class Memory(unittest.TestCase):
    def test_200_mb(self):
        if not (federation.RELEASE_BIN / "confed-combiner").exists():
            self.skipTest(f"no release binaries in {federation.RELEASE_BIN}")
        with Federation(federation.RELEASE_BIN) as fed:
            fed.start_reducer()
            fed.start_combiner()
            path = fed.folder / "seed.npz"
            values = numpy.zeros(N_ELEMENTS, numpy.float32)
            numpy.savez(path, **{"0": values})
            del values
            client = RawClient(fed.combiners["combiner"].address, "one").attach()
            try:
                fed.wait_clients(1)
                combiner, reducer = Watch(fed.combiners["combiner"]), Watch(fed.reducer)
                session = fed.start_session(fed.upload_model(path), rounds=1, validate=False,
                                            round_timeout=50)
                task = client.wait_task(seconds=40)
                base = fed.folder / "spool-combiner" / "models" / task.model_id
                until = time.monotonic() + 40
                while not base.exists():  # the task comes with its first bytes
                    self.assertLess(time.monotonic(), until)
                    time.sleep(0.05)
                fetched = combiner.peak - combiner.start
                print(f"combiner, fetching the base: grown by {fetched / 2**20:.1f} MiB")
                during = Watch(fed.combiners["combiner"])
                update = client.upload(path.read_bytes())
                uploaded = during.end("combiner, the upload")
                client.announce(task, update, examples=3)
                row = fed.wait_session(session, 50)
                self.assertEqual((row["status"], row["failed_rounds"]), ("Finished", 0))
                grown = combiner.end("combiner"), reducer.end("reducer")
                done = fed.rounds(session)[0]
                self.assertEqual([e["client_id"] for e in done["entries"]], ["one"])
                model = fed.rest("GET", f"/api/v1/models/{done['model_id']}")[1]
                self.assertGreaterEqual(model["size_bytes"], 4 * N_ELEMENTS)
                self.assertLessEqual(uploaded, GROWTH_MAX)
                self.assertLessEqual(fetched, 2 * GROWTH_MAX)  # gRPC's receive window
                self.assertLessEqual(grown[0], 8 * N_ELEMENTS + 2 * GROWTH_MAX)
                self.assertLessEqual(grown[1], 2 * GROWTH_MAX)
            finally:
                client.close()


if __name__ == "__main__":
    sys.exit(federation.main())
