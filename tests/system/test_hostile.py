"""Peers that mean harm, or whose network does: rules 14 to 18 and 20. The honest ones finish their
round, and nobody sees a status that would end a FEDn client."""

import contextlib
import pathlib
import queue
import socket
import sys
import threading
import unittest
import urllib.parse
import uuid

import grpc
import numpy

import federation
from federation import Federation
from rawclient import RawClient, load, save, stubs

SAFE = {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
BAD_IDS = ["../../etc/passwd", "/etc/passwd", "..", ".", "a/b", "", "a\\b", "x" * 300, "a b",
           "caf\u00e9", "%2e%2e%2fx"]


class Upload:
    """An upload whose messages are sent one by one."""

    def __init__(self, client, update_id):
        self.client, self.update_id = client, update_id
        self.parts = queue.Queue()
        self.call = client.models.Upload.future(iter(self.parts.get, None),
                                                metadata=client.metadata, timeout=30)

    def add(self, data, status="IN_PROGRESS"):
        pb = self.client.pb
        self.parts.put(pb.ModelRequest(data=data, id=self.update_id,
                                       status=pb.ModelStatus.Value(status)))
        return self

    def end(self):
        self.add(b"", "OK")
        self.parts.put(None)
        return self.call.result()

    def cancel(self):
        self.parts.put(None)
        self.call.cancel()


class Hostile(unittest.TestCase):
    @contextlib.contextmanager
    def federation(self, names, heartbeat_limit="10s", **config):
        """A reducer, a combiner, attached raw clients by name and an open round."""
        with Federation() as fed, contextlib.ExitStack() as stack:
            fed.start_reducer(options=["--heartbeat-limit", heartbeat_limit])
            fed.start_combiner()
            fed.address = fed.combiners["combiner"].address
            fed.new = lambda name: self.enter(stack, RawClient(fed.address, name))
            fed.raw = {name: fed.new(name).attach() for name in names}
            fed.wait_clients(len(names))
            path = federation.random_model(fed.folder / "seed.npz")
            config.setdefault("round_timeout", 20)
            config.setdefault("validate", False)
            fed.session = fed.start_session(fed.upload_model(path), **config)
            fed.tasks = {name: client.wait_task() for name, client in fed.raw.items()}
            fed.base = fed.raw[names[0]].download(fed.tasks[names[0]].model_id)
            yield fed

    @staticmethod
    def enter(stack, client):
        stack.callback(client.close)
        return client

    def end(self, fed, clients):
        """The one round, committed, with those clients."""
        row = fed.wait_session(fed.session, 40)
        self.assertEqual((row["status"], row["failed_rounds"]), ("Finished", 0))
        done = fed.rounds(fed.session)[0]
        self.assertEqual(sorted(e["client_id"] for e in done["entries"]), sorted(clients))
        return done

    def change(self, fed, done):
        """What was added to the base."""
        content = fed.rest("GET", f"/api/v1/models/{done['model_id']}/download")[1]
        return [new - old for new, old in zip(load(content), load(fed.base))]

    def shifted(self, fed, change):
        return save([array + numpy.float32(change) for array in load(fed.base)])

    # -- rule 16 -----------------------------------------------------------------------------

    def test_newest_stream_wins(self):
        with self.federation(["one"]) as fed:
            old = fed.raw["one"]
            new = fed.new("one").attach()
            task = new.wait_task()
            self.assertEqual(task.model_id, fed.tasks["one"].model_id)
            self.assertEqual(task.data, fed.tasks["one"].data)
            with old.changed:
                old.changed.wait_for(lambda: old.stream_end is not None, 10)
            self.assertEqual(old.stream_end, grpc.StatusCode.UNAVAILABLE)
            new.answer(task, change=1.0)
            self.end(fed, ["one"])
            self.assertIsNone(new.stream_end)

    def test_address_changed(self):
        """After a NAT drop the old stream still looks alive. What comes from the new connection is
        kept: it counts when the old one falls silent, or when the TaskStream comes after it."""
        with self.federation(["silent", "moved", "other"], heartbeat_limit="3s") as fed:
            fed.raw["other"].answer(fed.tasks["other"])
            for name, client in fed.raw.items():
                if name != "other":
                    client.over.set()  # no heartbeat any more; the stream stays open
            answers = {}

            def announce(name):
                client = fed.new(name)
                answers[name] = client
                client.answer(fed.tasks[name], change=1.0)
            threads = [threading.Thread(target=announce, args=(name,), daemon=True)
                       for name in ("silent", "moved")]
            for thread in threads:
                thread.start()
            fed.wait_live(lambda live: True, 5)
            again = answers.get("moved") or fed.new("moved")
            again.attach()
            for thread in threads:
                thread.join(15)
                self.assertFalse(thread.is_alive())
            self.end(fed, ["silent", "moved", "other"])

    # -- rule 14 -----------------------------------------------------------------------------

    def test_uploads_of_one_id(self):
        """Interleaved, replaced, given up, cancelled, changed too late: exactly one counts, whole."""
        names = ["interleaved", "replaced", "failed", "cancelled", "late", "twice"]
        with self.federation(names) as fed:
            bad, good = self.shifted(fed, 64.0), self.shifted(fed, 1.0)
            half = len(good) // 2
            for name in names:
                client, task, update = fed.raw[name], fed.tasks[name], str(uuid.uuid4())
                if name == "interleaved":
                    other = fed.new("somebody")
                    first, second = Upload(other, update), Upload(client, update)
                    first.add(bad[:half])
                    second.add(good[:half])
                    first.add(bad[half:])
                    self.assertEqual(first.end().status, client.pb.OK)
                    second.add(good[half:])
                    self.assertEqual(second.end().status, client.pb.OK)
                elif name == "replaced":
                    client.upload(bad, update)
                    client.upload(good, update)
                elif name == "failed":
                    client.upload(bad, update)
                    given_up = Upload(client, update).add(bad[:half]).add(b"", "FAILED")
                    given_up.parts.put(None)
                    self.assertEqual(given_up.call.result().status, client.pb.FAILED)
                    client.upload(good, update)
                elif name == "cancelled":
                    client.upload(good, update)
                    Upload(client, update).add(bad[:half]).cancel()
                elif name == "late":
                    client.upload(good, update)
                    client.announce(task, update)
                    client.upload(bad, update)
                else:
                    client.upload(good, update)
                    client.announce(task, update)
                    client.announce(task, update)
                client.announce(task, update)
            done = self.end(fed, names)
            self.assertEqual(done["refused"], [])
            for change in self.change(fed, done):
                numpy.testing.assert_allclose(change, 1.0, atol=2e-6)

    # -- rule 15 -----------------------------------------------------------------------------

    def test_ids(self):
        """An id is never a path, and a global model is nobody's to write."""
        with self.federation(["one"]) as fed:
            client, task = fed.raw["one"], fed.tasks["one"]
            before = {path for path in fed.folder.rglob("*") if path.is_file()}
            for bad in BAD_IDS:
                upload = Upload(client, bad).add(b"evil" * 100)
                self.assertEqual(upload.end().status, client.pb.FAILED, bad)
                self.assertIsNone(client.download(bad), bad)
                status, _ = fed.rest(
                    "GET", f"/api/v1/models/{urllib.parse.quote(bad, safe='')}/download")
                self.assertIn(status, (400, 404), bad)
            Upload(client, task.model_id).add(b"evil" * 100).end()
            self.assertEqual(client.download(task.model_id), fed.base)
            status, content = fed.rest("GET", f"/api/v1/models/{task.model_id}/download")
            self.assertEqual((status, content), (200, fed.base))
            for path in fed.folder.rglob("*"):
                if path.is_file() and path not in before:
                    self.assertNotIn(b"evil", path.read_bytes(), path)
            self.assertFalse(pathlib.Path("/etc/passwd.npz").exists())
            client.answer(task, change=1.0)
            self.end(fed, ["one"])

    # -- rule 17 -----------------------------------------------------------------------------

    def test_control_has_no_effect(self):
        with self.federation(["one", "two"]) as fed:
            thief = fed.new("thief")
            pb = thief.pb
            control = thief.services.ControlStub(thief.channel)
            request = pb.ControlRequest(command=pb.STOP)
            for method in ("Start", "Stop", "FlushAggregationQueue", "SetAggregator",
                           "SetServerFunctions"):
                getattr(control, method)(request, metadata=thief.metadata, timeout=10)
            victim = fed.raw["one"].sender
            thief.connector.ReassignClient(
                pb.ReassignRequest(sender=thief.sender, receiver=victim, server="127.0.0.1",
                                   port=9), timeout=10)
            thief.connector.ReconnectClient(
                pb.ReconnectRequest(sender=thief.sender, receiver=victim), timeout=10)
            for name, client in fed.raw.items():
                self.assertIsNone(client.stream_end)
                client.answer(fed.tasks[name], change=1.0)
            done = self.end(fed, ["one", "two"])
            self.assertEqual(done["refused"], [])

    # -- rule 18 -----------------------------------------------------------------------------

    @staticmethod
    def walk():
        """Every method of the port, and some that are not there: (path, request streamed, response
        streamed)."""
        pb, _ = stubs()
        for service in pb.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                streamed = service.name == "ModelService" and method.name == "Upload"
                answers = method.name in ("TaskStream", "Download", "AllianceStatusStream")
                yield f"/{service.full_name}/{method.name}", streamed, answers
        for path in ("/fedn.Combiner/NoSuchMethod", "/no.Such/Service", "/x",
                     "/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/X"):
            yield path, False, False

    @staticmethod
    def status(channel, path, streamed, answers, payload, compression=None):
        kind = ("stream" if streamed else "unary") + "_" + ("stream" if answers else "unary")
        method = getattr(channel, kind)(path)
        request = iter([payload]) if streamed else payload
        options = {"metadata": (("client", "walker"),), "compression": compression}
        try:
            if not answers:
                call = method.future(request, timeout=15, **options)
                call.exception(15)
                return call.code()
            call = method(request, **options)
            timer = threading.Timer(0.3, call.cancel)  # a stream may well stay open
            timer.start()
            for _ in call:
                pass
            return call.code()
        except grpc.FutureCancelledError:
            return grpc.StatusCode.CANCELLED
        except grpc.RpcError as error:
            return error.code()

    def test_only_safe_statuses(self):
        """Whatever is sent to whatever method: OK, UNAVAILABLE or CANCELLED."""
        pb, _ = stubs()
        sender = pb.Client(role=pb.CLIENT, name="walker", client_id="walker")
        nested = b""
        for _ in range(200):
            nested = b"\x0a" + self.varint(len(nested)) + nested
        payloads = {
            "empty": b"", "garbage": bytes(range(256)) * 8, "truncated": b"\x0a\xff\xff\xff\x07",
            "endless varint": b"\xff" * 64, "not UTF-8": b"\x0a\x04\x12\x02\xff\xfe\x1a\x02\xc3\x28",
            "zero tags": b"\x00" * 100, "groups": b"\x0b\x0c" * 100, "nested": nested,
            "sender only": pb.ClientAvailableMessage(sender=sender).SerializeToString(),
            "bad sender": pb.ClientAvailableMessage(
                sender=pb.Client(client_id="../" * 9)).SerializeToString(),
            "2 MB": pb.Status(sender=sender, status="x" * (2 << 20)).SerializeToString(),
        }
        with self.federation(["one"]) as fed:
            channel = grpc.insecure_channel(fed.address, options=[
                ("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)])
            wrong, lock = [], threading.Lock()

            def visit(path, streamed, answers):
                for what, payload in payloads.items():
                    for compression in ((None, grpc.Compression.Gzip) if what == "2 MB" else
                                        (None,)):
                        code = self.status(channel, path, streamed, answers, payload, compression)
                        if code not in SAFE:
                            with lock:
                                wrong.append((path, what, str(compression), code.name))
            threads = [threading.Thread(target=visit, args=step) for step in self.walk()]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(wrong, [])
            # gRPC's core itself answers what is larger than a message may be, before we see it. An
            # unmodified client never sends it: its chunks are 1 MiB.
            code = self.status(channel, "/fedn.Connector/SendStatus", False, False,
                               b"\x00" * (6 << 20))
            self.assertIn(code, SAFE | {grpc.StatusCode.RESOURCE_EXHAUSTED})
            channel.close()
            fed.raw["one"].answer(fed.tasks["one"])
            self.end(fed, ["one"])

    @staticmethod
    def varint(value):
        out = b""
        while value >= 0x80:
            out += bytes([value & 0x7F | 0x80])
            value >>= 7
        return out + bytes([value])

    # -- rule 20 -----------------------------------------------------------------------------

    def raw_http(self, fed, head):
        """The status a request gets that no HTTP library would send (0: closed)."""
        host, port = fed.http.split(":")
        with socket.create_connection((host, int(port)), timeout=2) as connection:
            connection.sendall(head)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(4096)
        return int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/") else 0

    def test_rest_input(self):
        """Malformed input is a 4xx with a message; filters are literal; nothing is a 5xx."""
        with self.federation(["one"], round_timeout=55) as fed:
            paths = ["sessions/", "sessions/start", "models/", "packages/", "clients/add",
                     "attributes/current", "rounds/list", "models/list", "clients/list",
                     "sessions/list", "combiners/list", "validations/list", "statuses/list",
                     f"sessions/{fed.session}/stop", "no/such/path"]
            bodies = [b"", b"{", b"[]", b"null", b'"x"', b"1e999", b"\xff\xfe", b"[" * 5000,
                      b'{"a":' * 300, b'{"session_config": 1}', b'{"session_id": {"$gt": ""}}',
                      b'{"session_id": 7, "rounds": -1}', b'{"session_id": "x", "rounds": "\\ud800"}',
                      b'{"now": "maybe"}', b'{"name": ["x"], "client_id": {}}']
            for path in paths:
                for body in bodies:
                    for kind in ("application/json", "text/plain", "multipart/form-data",
                                 "multipart/form-data; boundary=" + "x" * 500):
                        if path.endswith("/stop") and (body == b"" or b'"now"' not in body and
                                                       body.endswith(b"}")):
                            continue  # well formed: it would stop the session
                        status, answer = fed.rest("POST", f"/api/v1/{path}", body,
                                                  {"Content-Type": kind})
                        self.assertLess(status, 500, (path, body[:40], kind, answer))
                        if status >= 400:
                            self.assertTrue(answer["message"], (path, body[:40]))
                        elif path not in ("clients/add", "attributes/current") and \
                                "list" not in path:
                            self.fail(f"{path} took {body[:40]!r} as {kind}: {status} {answer}")
            for query in ("limit=-1", "limit=x", "skip=99999999999999999999", "name=%00", "%zz=1",
                          "session_id[$gt]=", "session_id=%7B%22$gt%22:%22%22%7D", "a=" + "b" * 4000,
                          "&&&===", "limit=1&limit=2"):
                for path in ("models", "sessions", "rounds", "clients", "statuses"):
                    status, answer = fed.rest("GET", f"/api/v1/{path}/?{query}")
                    self.assertLess(status, 500, (path, query, answer))
                    if "$gt" in query and status == 200 and path == "rounds":
                        self.assertEqual(answer["count"], 0, query)
            for head in (b"\x16\x03\x01\x02\x00\x01" + b"\x00" * 300, b"GET\r\n\r\n",
                         b"\r\n" * 50, b"GET " + b"/" * 70000,
                         b"POST /api/v1/models/ HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
                         b"POST /api/v1/models/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
                         b"Content-Length: 8\r\n\r\nx",
                         b"POST /api/v1/sessions/ HTTP/1.1\r\nHost: x\r\nContent-Length: "
                         b"99999999999999\r\n\r\n",
                         b"POST /api/v1/sessions/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked"
                         b"\r\n\r\nffffffffffffffff\r\n"):
                with contextlib.suppress(OSError):  # closed without a word
                    self.assertLess(self.raw_http(fed, head), 500, head[:60])
            fed.raw["one"].answer(fed.tasks["one"])
            self.end(fed, ["one"])


if __name__ == "__main__":
    sys.exit(federation.main())
