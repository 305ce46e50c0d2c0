"""The reasons of refusal that need a history of their own (the others: test_refusals.py; the table
of all: tests/tidy/reasons.py)."""

import contextlib
import json
import sys
import unittest

import numpy

import federation
from federation import Federation
from rawclient import RawClient, save


class Reasons(unittest.TestCase):
    @contextlib.contextmanager
    def federation(self, names, reducer=(), combiner=()):
        """A reducer, a combiner and attached raw clients."""
        with Federation() as fed, contextlib.ExitStack() as stack:
            fed.start_reducer(options=list(reducer))
            fed.start_combiner(options=list(combiner))
            fed.address = fed.combiners["combiner"].address

            def new(name, address=None):
                client = RawClient(address or fed.address, name)
                stack.callback(client.close)
                return client
            fed.new = new
            fed.raw = {name: new(name).attach() for name in names}
            fed.wait_clients(len(names))
            fed.seed = fed.upload_model(federation.random_model(fed.folder / "seed.npz"))
            fed.base = (fed.folder / "seed.npz").read_bytes()
            yield fed

    def check(self, fed, session, number, clients, refused):
        """The round has these clients' updates, and refused these: {client: reason}."""
        fed.wait_session(session, 40)
        done = fed.rounds(session)[number]
        self.assertEqual(sorted(e["client_id"] for e in done["entries"]), sorted(clients))
        self.assertEqual({r["client"]: r["reason"] for r in done["refused"]}, refused)
        for row in done["refused"]:
            self.assertTrue(row["detail"])

    def test_late(self):
        with self.federation(["quick", "slow"]) as fed:
            session = fed.start_session(fed.seed, rounds=2, buffer_size=1, validate=False,
                                        round_timeout=20)
            slow, quick = fed.raw["slow"], fed.raw["quick"]
            first = slow.wait_task()
            quick.answer(quick.wait_task())
            slow.wait_task(n=2)
            slow.announce(first, slow.upload(fed.base))
            quick.answer(quick.wait_task(n=2))
            self.check(fed, session, 1, ["quick"], {"slow": "late"})

    def test_session_over(self):
        """What was trained for a session that was stopped."""
        with self.federation(["one"]) as fed:
            client = fed.raw["one"]
            first = fed.start_session(fed.seed, validate=False)
            task = client.wait_task()
            self.assertEqual(fed.rest("POST", f"/api/v1/sessions/{first}/stop", {"now": True})[0],
                             200)
            self.assertEqual(fed.wait_session(first, 20)["status"], "Terminated")
            second = fed.start_session(fed.seed, validate=False)
            again = client.wait_task(n=2)
            client.announce(task, client.upload(fed.base))
            client.answer(again)
            self.check(fed, second, 0, ["one"], {"one": "session_over"})

    def test_no_sender(self):
        """Nobody has heard of it."""
        with self.federation(["one"]) as fed:
            session = fed.start_session(fed.seed, validate=False)
            client = fed.raw["one"]
            task = client.wait_task()
            stranger = fed.new("stranger")
            stranger.announce(task, stranger.upload(fed.base))
            client.answer(task)
            self.check(fed, session, 0, ["one"], {"stranger": "no_sender"})

    def test_too_large(self):
        """More parameters than the combiner takes; a member that would inflate without end."""
        with self.federation(["one", "big", "bomb"],
                             combiner=["--parameters-max", "2000"]) as fed:
            session = fed.start_session(fed.seed, validate=False)
            tasks = {name: client.wait_task() for name, client in fed.raw.items()}
            big, bomb = fed.raw["big"], fed.raw["bomb"]
            big.announce(tasks["big"], big.upload(save([numpy.zeros(1900, numpy.float32)] * 2)))
            bomb.announce(tasks["bomb"], bomb.upload(save([numpy.zeros(10 ** 6)], compressed=True)))
            fed.raw["one"].answer(tasks["one"])
            self.check(fed, session, 0, ["one"], {"big": "too_large", "bomb": "too_large"})

    def test_combiner_lost(self):
        """A combiner that dies with its sum and does not come back: its clients' updates do not
        count, those of the others do."""
        with self.federation(["kept"], reducer=["--combiner-grace", "2s", "--close-timeout",
                                                "1s"]) as fed:
            second = fed.start_combiner("second", fault="combiner.sealed")
            lost = fed.new("lost", second.address).attach()
            fed.wait_clients(2)
            session = fed.start_session(fed.seed, validate=False, round_timeout=20)
            lost.answer(lost.wait_task())
            fed.raw["kept"].answer(fed.raw["kept"].wait_task())
            self.assertEqual(second.wait_end(20), -9)
            self.check(fed, session, 0, ["kept"], {"lost": "combiner_lost"})
            text = fed.cli("--json", "round", "list")
            self.assertTrue(json.loads(text))


if __name__ == "__main__":
    sys.exit(federation.main())
