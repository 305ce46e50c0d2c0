"""A minute without the database, and one without the object store, with the settings as they come:
federations side by side, each caught in another phase of a round. Nothing is lost, nobody ends, REST
and the CLI say what is awaited, and each session ends with the bits of a calm one on files."""

import concurrent.futures
import os
import sys
import threading
import time
import unittest.mock

import federation
from federation import Federation
from minio import MinioServer
from mongo import MongoServer
from outage import OutageCase

AWAY_S = 60
PHASES = ("before_planned", "planned", "collecting", "partial_received", "blob_written", "committed")
READY_S = 120  # for all to be where they stand still, on a busy machine


class Minute(OutageCase):
    @classmethod
    def setUpClass(cls):
        cls.run_calm()

    def stand_still(self, point, steps, words):
        """One federation, in step with the others: all stand still, the server is gone, the minute
        is over, all have said once more what they wait for."""
        try:
            with self.stopped_at(f"reducer.{point}") as fed:
                steps.wait()
                steps.wait()
                fed.reducer.go_on()
                self.check_awaited(fed, *words)
                steps.wait(AWAY_S + READY_S)
                self.check_awaited(fed, *words)
                steps.wait()
        except BaseException:
            steps.abort()
            raise

    def without(self, server, *words):
        """The minute. `words`: what is awaited, of all of them."""
        steps = threading.Barrier(len(PHASES) + 1, timeout=READY_S)
        with concurrent.futures.ThreadPoolExecutor(len(PHASES)) as pool:
            runs = [pool.submit(self.stand_still, point, steps, words) for point in PHASES]
            try:
                steps.wait()
                server.kill()
                steps.wait()
                time.sleep(AWAY_S)
                steps.wait()
                steps.wait()
                server.start()
            except threading.BrokenBarrierError:
                pass  # one of the runs says why
            errors = [run.exception() for run in runs]
        for error in sorted(filter(None, errors),
                            key=lambda e: isinstance(e, threading.BrokenBarrierError)):
            raise error

    def test_database(self):
        with MongoServer() as server:
            self.federation = lambda: Federation(store=server.url(""))
            self.without(server, "metadata store", "MongoDB at mongodb://")

    def test_object_store(self):
        with MinioServer() as server, unittest.mock.patch.dict(os.environ, server.environment()):
            self.federation = lambda: Federation(blob=server.url())
            self.without(server, "writing the new model", f"object store 127.0.0.1:{server.port}")


if __name__ == "__main__":
    sys.exit(federation.main())
