"""The object store goes away in each phase of a round, or is not there at the start: nothing is
lost, nobody dies, REST and the CLI say what is awaited, and the session ends with the bits of a calm
one on files."""

import hashlib
import os
import sys
import time
import unittest.mock

import federation
from federation import Federation
from minio import MinioServer, SECRET_KEY
from outage import OutageCase

AWAY_S = 7  # more than the reducer's own patience with one call


class BlobOutage(OutageCase):
    @classmethod
    def setUpClass(cls):
        cls.run_calm()
        cls.server = MinioServer()
        cls.addClassCleanup(cls.server.__exit__, None, None, None)
        cls.server.start()
        cls.enterClassContext(unittest.mock.patch.dict(os.environ, cls.server.environment()))

    def federation(self):
        return Federation(blob=self.server.url())

    def check(self, fed, got):
        super().check(fed, got)
        self.assertNotIn(SECRET_KEY, fed.reducer.text())

    def check_says(self, fed, what):
        self.check_awaited(fed, what, f"object store 127.0.0.1:{self.server.port}")

    def away_at(self, point, what=None, away=None):
        """The reducer stands still at the point while the server is killed (or what `away` does);
        `what`: what is awaited then."""
        with self.stopped_at(point) as fed:
            (away or self.server.kill)()
            fed.reducer.go_on()
            if what:
                self.check_says(fed, what)
            else:
                time.sleep(AWAY_S)
            if away:
                self.server.freeze(False)
            else:
                self.server.start()

    def test_calm(self):
        with self.federation() as fed:
            self.start(fed)
            self.check(fed, self.finish(fed, self.begin(fed)))

    def test_planning(self):
        self.away_at("reducer.before_planned", "writing the new model")

    def test_open(self):
        self.away_at("reducer.collecting")

    def test_closing(self):
        self.away_at("reducer.partial_received", "writing the new model")

    def test_closing_frozen(self):
        self.away_at("reducer.partial_received", "writing the new model", self.server.freeze)

    def test_commit(self):
        self.away_at("reducer.blob_written")

    def test_committed(self):
        self.away_at("reducer.committed", "writing the new model")

    def restart_without(self, point):
        """The reducer is killed at the point, and comes back before the object store does."""
        with self.federation() as fed:
            self.start(fed, fault=point)
            session = self.begin(fed)
            fed.reducer_ended(-9)
            self.server.kill()
            fed.start_reducer()
            self.check_says(fed, "reading the base model")
            self.server.start()
            self.check(fed, self.finish(fed, session))

    def test_reducer_starts_in_an_open_round(self):
        self.restart_without("reducer.collecting")

    def test_reducer_starts_between_two_rounds(self):
        self.restart_without("reducer.committed")

    def test_downloads_and_uploads(self):
        """503 and why, soon, while it is away; the same bytes when it is back."""
        with self.federation() as fed:
            self.start(fed)
            model = self.seed(fed)
            path = f"/api/v1/models/{model}/download"
            self.server.kill()
            began = time.monotonic()
            session = fed.ask_session(model)[1]["session_id"]
            for status, answer in (fed.rest("GET", path), fed.rest(
                    "POST", "/api/v1/sessions/start", {"session_id": session})):
                self.assertEqual(status, 503, answer)
                self.assertIn("object store 127.0.0.1", answer["message"])
            status, _, err = fed.cli("model", "upload", fed.folder / "seed.npz", expect=None)
            self.assertNotEqual(status, 0)
            self.assertIn("object store 127.0.0.1", err)
            self.assertLess(time.monotonic() - began, 30)
            self.server.start()
            seed = (fed.folder / "seed.npz").read_bytes()
            self.assertEqual(hashlib.sha256(fed.rest("GET", path)[1]).digest(),
                             hashlib.sha256(seed).digest())
            self.check(fed, self.finish(fed, self.begin(fed, model)))

    def test_sweep(self):
        """The store goes away before blobs are swept, and they are when it is back."""
        left = "0123abcd-1111-4222-8333-444444444444"
        with self.federation() as fed:
            fed.start_reducer()
            self.seed(fed)
            fed.stop_reducer()
            self.server.put(fed.blob, left, b"x" * 5000)
            fed.start_reducer(options=("--blob-sweep-after", "2s"))
            self.server.kill()
            fed.reducer.wait_log(r"blobs\.not_swept why=.*object store 127\.0\.0\.1")
            self.server.start()
            fed.reducer.wait_log(r"blobs\.swept blobs=1 bytes=5000")

    def test_wrong_keys(self):
        """Said with what to check, and never with the secret; right keys, and it works."""
        with self.federation() as fed:
            with unittest.mock.patch.dict(os.environ, FED_REDUCER_BLOB_SECRET_KEY="not this one"):
                fed.start_reducer()
            status, _, err = fed.cli("model", "new", "cnn", "--seed", "5", "--output", "seed.npz",
                                     expect=None)
            self.assertEqual(status, 0, err)
            status, _, err = fed.cli("model", "upload", "seed.npz", expect=None)
            self.assertNotEqual(status, 0)
            self.assertIn("check blob_secret_key", err)
            self.assertNotIn("not this one", err + fed.reducer.text())
            fed.stop_reducer()
            fed.start_reducer()
            fed.upload_model(fed.folder / "seed.npz")
            self.assertNotIn(SECRET_KEY, fed.reducer.text())


if __name__ == "__main__":
    sys.exit(federation.main())
