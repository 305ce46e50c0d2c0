"""The event stream of real daemons: what a page that watches is told."""

import re
import signal
import socket
import sys
import time
import unittest

import federation
from eventstream import EventStream
from federation import Federation


def named(name, **wanted):
    return lambda event: event.name == name and \
        all(event.data.get(key) == value for key, value in wanted.items())


class Events(unittest.TestCase):
    def test_a_session(self):
        """Who follows the events alone knows what the live state says."""
        with Federation() as fed:
            fed.start_reducer()
            with EventStream(fed.http) as stream:
                hello = stream.wait(named("hello"))
                self.assertEqual(stream.answer.headers["Content-Type"], "text/event-stream")
                self.assertEqual((hello.seq, hello.data["resumed"]), (hello.data["seq"], False))
                fed.start_combiner()
                fed.start_clients(2)
                stream.wait(named("combiner", status="online", clients=2))
                for name in ("client-00", "client-01"):
                    stream.wait(named("client", client_id=name, status="online"))
                path = federation.random_model(fed.folder / "seed.npz")
                model = fed.upload_model(path)
                stream.wait(named("model", id=model, model_id=model))
                late = fed.clients["client-01"].popen
                late.send_signal(signal.SIGSTOP)  # so that the round stays open for a while
                session = fed.start_session(model, rounds=2, clients_required=2)
                stream.wait(named("session", session_id=session, status="Started"))
                first = stream.wait(named("round", session_id=session, phase="planned"))
                for name, phase in (("client-00", "admitted"), ("client-01", "asked")):
                    stream.wait(named("round_client", round_id=first.data["id"], client_id=name,
                                      phase=phase))
                late.send_signal(signal.SIGCONT)
                stream.wait(named("round", session_id=session, round_number=2,
                                  phase="committed"))
                stream.wait(named("session", session_id=session, status="Finished"))
                fed.wait_session(session)
                validation = stream.wait(named("validation", session_id=session))
                status, row = fed.rest("GET", f"/api/v1/validations/{validation.data['id']}")
                self.assertEqual((status, row["model_id"]), (200, validation.data["model_id"]))
                self.check_statuses(fed, stream, session)
                self.check_live(fed, stream)
                self.check_order(stream)
                fed.clients["client-01"].stop()
                stream.wait(named("client", client_id="client-01", status="offline"))
                self.assertEqual(fed.rest("DELETE", "/api/v1/clients/client-01")[0], 200)
                stream.wait(named("client", client_id="client-01", gone=True))

    def check_statuses(self, fed, stream, session):
        rows = fed.rest("GET", f"/api/v1/statuses/?session_id={session}")[1]["result"]
        self.assertGreater(len(rows), 3)
        for row in rows:
            told = stream.wait(named("status", status_id=row["status_id"])).data
            self.assertEqual(set(told), set(row))
            for key in ("status", "sender", "timestamp", "type", "data", "log_level"):
                self.assertEqual(told[key], row[key])

    def check_live(self, fed, stream):
        """Once all is quiet: the last `live` and the elements are the live state."""
        live = fed.live()
        stream.wait(lambda event: event.name == "live" and event.data["seq"] >= live["seq"])
        last = stream.named("live")[-1].data
        if last["seq"] > live["seq"]:
            self.check_live(fed, stream)
            return
        for key in set(live) - {"uptime_ms", "waits_for", "clients", "combiners", "round"}:
            self.assertEqual(last[key], live[key], key)
        self.assertFalse({"clients", "combiners"} & set(last))
        for name, key in (("client", "client_id"), ("combiner", "combiner_id")):
            told = {event.data[key]: event.data for event in stream.named(name)}
            self.assertEqual(told, {item[key]: item for item in live[name + "s"]})

    def check_order(self, stream):
        numbers = [event.seq for event in stream.events]
        self.assertEqual(numbers, sorted(numbers))
        times = [event.at for event in stream.named("live")]
        gaps = [b - a for a, b in zip(times, times[1:])]
        # 100 ms apart where they were sent; what is measured is when they arrived.
        self.assertLess(sum(gap < 0.05 for gap in gaps), len(gaps) / 4 + 2, gaps)

    def test_resume(self):
        with Federation() as fed:
            fed.start_reducer()
            fed.start_combiner()
            with EventStream(fed.http) as stream:
                start = stream.wait(named("hello")).seq
                fed.start_client("one")
                end = stream.wait(named("client", client_id="one", status="online")).seq
                told = [e.seq for e in stream.events if start < e.seq <= end]
            for how in ({"last_event_id": start}, {"query": f"?after={start}"},
                        {"last_event_id": start, "query": "?after=1"}):
                with EventStream(fed.http, **how) as again:
                    self.assertTrue(again.wait(named("hello")).data["resumed"])
                    again.wait(named("client", client_id="one", status="online"))
                    self.assertEqual([e.seq for e in again.events if e.name != "hello"
                                      and e.seq <= end], told)
            for lost in (1, start + 10**9, "soon", 2**63, -1):
                with EventStream(fed.http, last_event_id=lost) as again:
                    reset = again.wait(lambda event: True)
                    self.assertEqual((reset.name, reset.data["resumed"]), ("reset", False))
                    self.assertGreaterEqual(reset.seq, end)
            fed.reducer.kill()
            fed.start_reducer()
            with EventStream(fed.http, last_event_id=end) as again:
                self.assertEqual(again.wait(lambda event: True).name, "reset")

    def test_slow_reader(self):
        """Who does not read costs nothing, hears `reset` when he reads again, and holds up
        nobody."""
        with Federation() as fed:
            fed.start_reducer()
            fed.start_combiner()
            host, port = fed.http.rsplit(":", 1)
            slow = socket.socket()
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            slow.connect((host, int(port)))
            began = time.monotonic()
            slow.sendall(b"GET /api/v1/events/stream HTTP/1.1\r\nHost: x\r\n\r\n")
            with EventStream(fed.http) as quick:
                quick.wait(named("hello"))
                note = {"key": "colour", "value": "x" * 500,
                        "sender": {"name": "a", "role": "CLIENT", "client_id": "a"}}
                self.assertEqual(fed.rest("POST", "/api/v1/attributes/", note)[0], 201)
                path = federation.random_model(fed.folder / "seed.npz")
                status, session = fed.ask_session(fed.upload_model(path), name="s")
                self.assertEqual(status, 201, session)
                for i in range(5000):
                    status, _ = fed.rest("PATCH", f"/api/v1/sessions/{session['session_id']}",
                                         {"name": f"{i:05d}"})
                    self.assertEqual(status, 200)
                with quick.changed:
                    quick.changed.wait_for(
                        lambda: sum(e.name == "session" for e in quick.events) >= 5000, 20)
                self.assertGreaterEqual(len(quick.named("session")), 5000)
                self.assertEqual(quick.named("reset"), [])
            slow.settimeout(20)
            text = b""
            with slow:
                while b"event: reset" not in text:
                    piece = slow.recv(65536)
                    if not piece:
                        break
                    text += piece
            if b"event: reset" not in text:
                # Shut out: nothing was taken for 30 s, as slow as this machine is.
                self.assertGreater(time.monotonic() - began, 30)
                last = int(re.findall(rb"^id: (\d+)$", text, re.M)[-1])
                with EventStream(fed.http, last_event_id=last) as again:
                    self.assertEqual(again.wait(lambda event: True).name, "reset")

    def test_drain(self):
        with Federation() as fed:
            fed.start_reducer()
            with EventStream(fed.http) as one, EventStream(fed.http) as two:
                one.wait(named("hello"))
                two.wait(named("hello"))
                began = time.monotonic()
                self.assertEqual(fed.reducer.stop(), 0)
                self.assertTrue(one.wait_end())
                self.assertTrue(two.wait_end())
                self.assertLess(time.monotonic() - began, 3)

    def test_keep_alive(self):
        with Federation() as fed:
            fed.start_reducer()
            with EventStream(fed.http) as stream:
                stream.wait(named("hello"))
                with stream.changed:
                    self.assertTrue(stream.changed.wait_for(lambda: stream.comments > 0, 20))

    def test_methods(self):
        with Federation() as fed:
            fed.start_reducer()
            self.assertEqual(fed.rest("HEAD", "/api/v1/events/stream")[0], 200)
            status, answer = fed.rest("POST", "/api/v1/events/stream", {})
            self.assertEqual((status, answer["code"]), (405, "method"))


if __name__ == "__main__":
    sys.exit(federation.main())
