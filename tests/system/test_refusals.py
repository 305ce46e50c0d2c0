"""What does not count: every update that is refused is stored with its reason, changes nothing, and
its client hears OK."""

import json
import sys
import unittest
import uuid

import numpy

import federation
from federation import Federation
from rawclient import RawClient, load, save


def flip(content):
    """One bit of a member's data: its CRC-32 does not hold any more."""
    at = len(content) // 3
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1:]


class Refusals(unittest.TestCase):
    """One round. Each client does one thing, and is named after the reason it is refused for."""

    def attack(self, name, client, task, base, fed):
        arrays = load(base)
        config = json.loads(task.data)

        def other_config(**change):
            return json.dumps(dict(config, **change))

        def good():
            return client.upload(save(arrays))
        if name == "no_round":
            client.announce(task, good(), config="{}")
        elif name == "other_round":
            client.announce(task, good(), config=other_config(round_id="999999"))
        elif name == "other_session":
            client.announce(task, good(), config=other_config(session_id="somebody-elses"))
        elif name == "wrong_base":
            client.announce(task, good(), model_id=str(uuid.uuid4()))
        elif name == "not_uploaded":
            client.announce(task, str(uuid.uuid4()))
        elif name == "not_terminated":
            client.announce(task, client.upload(base, terminate=False))
        elif name == "bad_id":
            client.announce(task, "../../etc/passwd")
        elif name == "malformed":
            client.announce(task, client.upload(b"this is no model" * 100))
        elif name == "truncated":
            client.announce(task, client.upload(base[:len(base) // 2]))
        elif name == "checksum":
            client.announce(task, client.upload(flip(save(arrays))))
        elif name == "tensor_count":
            client.announce(task, client.upload(save(arrays[:-1])))
        elif name == "tensor_shape":
            client.announce(task, client.upload(save([a.T for a in arrays])))
        elif name == "tensor_dtype":
            client.announce(task, client.upload(save([a.astype(complex) for a in arrays])))
        elif name == "not_finite":
            client.announce(task, client.upload(save([a * numpy.nan for a in arrays])))
        elif name == "out_of_range":
            client.announce(task, client.upload(save([a + 1e30 for a in arrays])))
        elif name == "examples":
            client.announce(task, good(), examples=-5)
        elif name == "bad_meta":
            client.announce(task, good(), meta="{" * 10)
        elif name == "reserved_id":
            client.announce(task, task.model_id)
        elif name == "other_connection":
            # Somebody else speaks in its name; the client itself stays silent until later.
            thief = RawClient(fed.combiners["combiner"].address, name)
            try:
                thief.announce(task, thief.upload(save([a + 9 for a in arrays])))
            finally:
                thief.close()
        else:
            raise ValueError(name)

    WANT = {name: name for name in (
        "no_round other_round other_session wrong_base not_uploaded bad_id malformed checksum "
        "tensor_count tensor_shape tensor_dtype not_finite out_of_range examples bad_meta "
        "reserved_id other_connection").split()}
    WANT["not_terminated"] = "not_uploaded"
    WANT["truncated"] = "malformed"

    def test_every_reason(self):
        with Federation() as fed:
            fed.start_reducer(options=["--heartbeat-limit", "3s"])
            fed.start_combiner()
            address = fed.combiners["combiner"].address
            clients = {name: RawClient(address, name).attach() for name in
                       [*self.WANT, "honest", "duplicate"]}
            late = RawClient(address, "not_asked")
            try:
                fed.wait_clients(len(clients))
                path = federation.random_model(fed.folder / "seed.npz")
                session = fed.start_session(fed.upload_model(path), rounds=1, round_timeout=15,
                                            clients_required=2)
                tasks = {name: client.wait_task() for name, client in clients.items()}
                base = clients["honest"].download(tasks["honest"].model_id)
                late.attach()
                late.announce(tasks["honest"], late.upload(base))
                for name in self.WANT:
                    self.attack(name, clients[name], tasks[name], base, fed)
                # The same id again is the same update; another one is not counted.
                double = clients["duplicate"]
                update = double.answer(tasks["duplicate"], change=0.5, examples=2)
                double.announce(tasks["duplicate"], update, examples=2)
                double.answer(tasks["duplicate"], change=100.0, examples=2)
                clients["honest"].answer(tasks["honest"], change=1.0, examples=2)
                # Whose name was misused answers for itself, and counts.
                clients["other_connection"].answer(tasks["other_connection"], 0.75, 4)

                row = fed.wait_session(session)
                self.assertEqual((row["status"], row["failed_rounds"]), ("Finished", 0))
                done = fed.rounds(session)[0]
                self.assertEqual({e["client_id"]: e["examples"] for e in done["entries"]},
                                 {"honest": 2, "duplicate": 2, "other_connection": 4})
                got = {}
                for refused in done["refused"]:
                    got.setdefault(refused["client"], set()).add(refused["reason"])
                    self.assertTrue(refused["detail"], refused)
                want = {name: {reason} for name, reason in self.WANT.items()}
                want["duplicate"] = {"duplicate"}
                want["not_asked"] = {"not_asked"}
                self.assertEqual(got, want)
                # (2·1 + 2·0.5 + 4·0.75) / 8
                status, content = fed.rest("GET", f"/api/v1/models/{done['model_id']}/download")
                for new, old in zip(load(content), load(base)):
                    numpy.testing.assert_allclose(new, old + 0.75, atol=2e-6)
                # After its end.
                clients["honest"].answer(tasks["honest"], change=5.0)
                text = fed.cli("round", "show", done["round_id"])
                for reason in set(self.WANT.values()):
                    self.assertIn(reason, text)
                for client in clients.values():
                    self.assertIsNone(client.stream_end, client.client_id)
            finally:
                late.close()
                for client in clients.values():
                    client.close()

    def test_set_aside(self):
        """Who keeps sending what is refused is not heard any more; the round goes on."""
        with Federation() as fed:
            fed.start_reducer()
            fed.start_combiner()
            address = fed.combiners["combiner"].address
            bad, honest = (RawClient(address, name).attach() for name in ("bad", "honest"))
            try:
                fed.wait_clients(2)
                path = federation.random_model(fed.folder / "seed.npz")
                session = fed.start_session(fed.upload_model(path), rounds=1, round_timeout=40)
                task = bad.wait_task()
                base = bad.download(task.model_id)
                for _ in range(5):
                    bad.announce(task, bad.upload(b"garbage"))
                bad.announce(task, bad.upload(base))
                honest.answer(honest.wait_task())
                fed.wait_session(session)
                done = fed.rounds(session)[0]
                self.assertEqual([e["client_id"] for e in done["entries"]], ["honest"])
                self.assertEqual([r["reason"] for r in done["refused"]],
                                 ["malformed"] * 5 + ["set_aside"])
            finally:
                bad.close()
                honest.close()

    def test_deadline_and_late(self):
        """A round ends at its deadline without who does not answer; what comes later is late."""
        with Federation() as fed:
            fed.start_reducer()
            fed.start_combiner()
            address = fed.combiners["combiner"].address
            slow, quick = (RawClient(address, name).attach() for name in ("slow", "quick"))
            try:
                fed.wait_clients(2)
                path = federation.random_model(fed.folder / "seed.npz")
                session = fed.start_session(fed.upload_model(path), rounds=2, round_timeout=4,
                                            clients_required=1)
                first = slow.wait_task()
                base = slow.download(first.model_id)
                quick.answer(quick.wait_task())
                slow.wait_task(n=2)
                slow.announce(first, slow.upload(base))
                slow.answer(slow.wait_task(n=2))
                quick.answer(quick.wait_task(n=2))
                row = fed.wait_session(session)
                self.assertEqual(row["failed_rounds"], 0)
                done = fed.rounds(session)
                self.assertEqual([sorted(e["client_id"] for e in r["entries"]) for r in done],
                                 [["quick"], ["quick", "slow"]])
                self.assertLess(done[0]["timings"]["total_ms"], 6000)
                reasons = {r["reason"] for entry in done for r in entry["refused"]
                           if r["client"] == "slow"}
                self.assertTrue(reasons & {"late", "other_round"}, reasons)
            finally:
                slow.close()
                quick.close()

    def test_quorum_missed(self):
        """A failed round leaves the model as it was; the session goes on, the CLI says 4."""
        with Federation() as fed:
            fed.start_reducer()
            fed.start_combiner()
            address = fed.combiners["combiner"].address
            bad, honest = (RawClient(address, name).attach() for name in ("bad", "honest"))
            try:
                fed.wait_clients(2)
                path = federation.random_model(fed.folder / "seed.npz")
                seed = fed.upload_model(path)
                session = fed.start_session(seed, rounds=1, round_timeout=20, clients_required=2)
                bad.announce(bad.wait_task(), bad.upload(b"garbage"))
                honest.answer(honest.wait_task(), change=1.0)
                row = fed.wait_session(session)
                self.assertEqual((row["status"], row["failed_rounds"], row["model_id"]),
                                 ("Finished", 1, seed))
                entry = fed.rounds(session)[0]
                self.assertEqual((entry["phase"], entry["status"]), ("failed", "Failed"))
                self.assertIn("1 of 2", entry["failure"])
            finally:
                bad.close()
                honest.close()


if __name__ == "__main__":
    sys.exit(federation.main())
