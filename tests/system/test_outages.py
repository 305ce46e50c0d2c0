"""The database goes away in each phase of a round, or is not there at the start: nothing is lost,
nobody dies, REST says what is awaited, and the session ends with the bits of a calm one."""

import sys
import threading
import time
import unittest

import federation
from federation import Failed, Federation
from mongo import MongoServer
from outage import N_CLIENTS, OutageCase
from server import free_port

AWAY_S = 5  # several times what one call waits (mongo.HASTY)


class Outage(OutageCase):
    @classmethod
    def setUpClass(cls):
        cls.server = MongoServer()
        cls.addClassCleanup(cls.server.__exit__, None, None, None)
        cls.server.start()
        cls.run_calm()

    def federation(self):
        return Federation(store=self.server.url())

    def check_says(self, fed):
        self.check_awaited(fed, "metadata store", "MongoDB at mongodb://")

    def check_answers(self, fed):
        """While the database is away: 503 with a reason, soon, and many at a time too."""
        took = []

        def ask(path):
            began = time.monotonic()
            status, answer = fed.rest("GET", path)
            took.append(time.monotonic() - began)
            self.assertEqual(status, 503, (path, answer))
            self.assertIn("MongoDB", answer["message"])
        threads = [threading.Thread(target=ask, args=(path,)) for path in
                   4 * ["/ready", "/api/v1/sessions/", "/api/v1/models/", "/api/v1/clients/"]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(took), len(threads))
        self.assertLess(max(took), 6)
        status, text = fed.rest("GET", "/health")
        self.assertEqual(status, 200)
        self.assertTrue(text.startswith(b"OK"), text)

    def away_at(self, point, away=None, options=()):
        """The reducer stands still at the point while the database is killed."""
        with self.stopped_at(point, options) as fed:
            self.server.kill()
            fed.reducer.go_on()
            began = time.monotonic()
            self.check_answers(fed)
            time.sleep(max(0, AWAY_S - (time.monotonic() - began)))
            if away:
                away(fed)
            self.server.start()

    def test_planning(self):
        self.away_at("reducer.before_planned", self.check_says)

    def test_planned(self):
        self.away_at("reducer.planned")

    def test_open(self):
        self.away_at("reducer.collecting")

    def test_closing(self):
        self.away_at("reducer.partial_received", self.check_says)

    def test_commit(self):
        self.away_at("reducer.blob_written", self.check_says)

    def test_commit_beside_sweeps(self):
        """The model has waited for its row for longer than blobs without one stay."""
        self.away_at("reducer.blob_written", options=("--blob-sweep-after", "1s"))

    def test_committed_and_validating(self):
        self.away_at("reducer.committed")

    def test_frozen_while_open(self):
        """It accepts connections and answers nothing."""
        with self.federation() as fed:
            self.start(fed)
            session = self.begin(fed)
            fed.wait_live(lambda live: (live["round"] or {}).get("phase") == "open", 60, "a round")
            self.server.freeze()
            try:
                time.sleep(AWAY_S)
                self.assertEqual(fed.rest("GET", "/ready")[0], 503)
            finally:
                self.server.freeze(False)
            self.check(fed, self.finish(fed, session))

    def test_before_the_start_of_a_session(self):
        with self.federation() as fed:
            self.start(fed)
            model = self.seed(fed)
            self.server.kill()
            self.check_answers(fed)
            status, answer = fed.ask_session(model)
            self.assertEqual(status, 503, answer)
            self.server.start()
            fed.wait_live(lambda _: fed.rest("GET", "/ready")[0] == 200, 30, "readiness")
            session = self.begin(fed, model)
            self.check(fed, self.finish(fed, session))

    def test_reducer_starts_before_the_database(self):
        """In the middle of a session: the reducer is killed, and comes back first."""
        with self.federation() as fed:
            fed.http, fed.rpc = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
            self.start(fed, fault="reducer.collecting")
            session = self.begin(fed)
            fed.reducer_ended(-9)
            self.server.kill()
            fed.start_reducer(wait=False)
            fed.wait_live_status(503)
            self.check_answers(fed)
            self.assertIn(b"waits for its metadata store", fed.rest("GET", "/health")[1])
            time.sleep(AWAY_S)
            self.assertEqual(fed.reducer.text().count(" reducer.waiting "), 1, "one line says so")
            self.server.start()
            fed.reducer.wait_ready(30)
            self.check(fed, self.finish(fed, session))

    def test_a_waiting_reducer_ends_on_sigterm(self):
        with self.federation() as fed:
            fed.http = f"127.0.0.1:{free_port()}"
            self.server.kill()
            reducer = fed.start_reducer(wait=False)
            fed.wait_live_status(503)
            self.assertEqual(reducer.stop(10), 0)
            self.server.start()


class TwoReducers(unittest.TestCase):
    def test_the_older_one_ends(self):
        """A second reducer on the store: the first writes nothing more, and ends."""
        with MongoServer() as server, Federation(store=server.url()) as fed:
            first = fed.start_reducer()
            fed.start_combiner(keep_socket=False)
            fed.start_clients(N_CLIENTS)
            fed.wait_clients(N_CLIENTS)
            model = fed.upload_model(federation.random_model(fed.folder / "seed.npz"))
            first_http = fed.http
            fed.http = fed.rpc = None
            second = fed.start_reducer()
            second_http, fed.http = fed.http, first_http
            try:
                fed.start_session(model, rounds=1)
            except Failed:
                pass  # it may say so, or end before it answers
            except OSError:
                pass
            self.assertEqual(first.wait_end(30), 1)
            self.assertIn("another reducer", first.text())
            fed.http = second_http
            status, answer = fed.rest("GET", "/api/v1/rounds/")
            self.assertEqual((status, answer["count"]), (200, 0), "it has written nothing")
            self.assertTrue(second.is_running())
            self.assertIn("epoch=2", second.text())


if __name__ == "__main__":
    sys.exit(federation.main())
