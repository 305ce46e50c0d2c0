"""Old blobs that no row names are removed: what is left of uploads and commits that were cut off."""

import os
import signal
import sys
import time
import unittest

import federation
from federation import Federation, random_model

SOON = ("--blob-sweep-after", "1s")
LEFT = "0123abcd-1111-4222-8333-444444444444"
YOUNG = "0123abcd-1111-4222-8333-555555555555"


def add_blob(folder, name):
    (folder / name).write_bytes(b"x" * 5000)


class Tidying(unittest.TestCase):
    def test_what_an_upload_left(self):
        """An hour old, as the settings come; what stays is whole: the session goes on from its
        model."""
        with Federation() as fed:
            fed.start_reducer()
            fed.start_combiner()
            fed.start_clients(1)
            fed.wait_clients(1)
            model = fed.upload_model(random_model(fed.folder / "seed.npz"))
            fed.wait_session(fed.start_session(model, rounds=1))
            fed.stop_reducer()
            blobs = fed.folder / "blobs"
            add_blob(blobs, LEFT)
            add_blob(blobs, "notes.txt")
            for path in blobs.iterdir():
                os.utime(path, times=(time.time() - 3601,) * 2)
            add_blob(blobs, YOUNG)
            stay = sorted(path.name for path in blobs.iterdir() if path.name != LEFT)
            fed.start_reducer()
            fed.reducer.wait_log(r"blobs\.swept blobs=1 bytes=5000")
            self.assertEqual(sorted(path.name for path in blobs.iterdir()), stay)
            fed.wait_clients(1)
            row = fed.wait_session(fed.start_session(model, rounds=1))
            self.assertEqual((row["status"], row["failed_rounds"]), ("Finished", 0))

    def test_a_round_that_was_cut_off_between_blob_and_row(self):
        """Its blob goes, and it writes it again."""
        with Federation() as fed:
            fed.start_reducer(fault="reducer.blob_written")
            combiner = fed.start_combiner()
            fed.start_clients(1)
            fed.wait_clients(1)
            seed = fed.upload_model(random_model(fed.folder / "seed.npz"))
            session = fed.start_session(seed, rounds=1)
            fed.reducer_ended(-9)
            blobs = fed.folder / "blobs"
            cut_off = {path.name for path in blobs.iterdir()} - {seed}
            self.assertEqual(len(cut_off), 1)
            os.kill(combiner.popen.pid, signal.SIGSTOP)
            fed.start_reducer(options=SOON)
            fed.reducer.wait_log(r"blobs\.swept blobs=1")
            self.assertEqual({path.name for path in blobs.iterdir()}, {seed})
            combiner.go_on()
            row = fed.wait_session(session)
            self.assertEqual((row["status"], row["failed_rounds"]), ("Finished", 0))
            self.assertEqual({path.name for path in blobs.iterdir()}, cut_off | {seed})
            self.assertEqual(fed.rest("GET", f"/api/v1/models/{min(cut_off)}/download")[0], 200)

    def test_a_database_that_names_none_of_them(self):
        with Federation() as fed:
            blobs = fed.folder / "blobs"
            blobs.mkdir()
            add_blob(blobs, LEFT)
            fed.start_reducer(options=SOON)
            fed.reducer.wait_log(r"blobs\.not_swept blobs=1 unnamed=1")
            self.assertTrue((blobs / LEFT).exists())


if __name__ == "__main__":
    sys.exit(federation.main())
