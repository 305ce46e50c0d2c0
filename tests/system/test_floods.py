"""Floods (rule 19): while they last honest clients finish their rounds, and all server processes
together grow by at most 64 MB. Release binaries: what is measured is what runs in production.

Growth is the peak of the resident set (VmHWM, reset before the flood) over its size before,
reducer and combiner together; models are small here, so no mapped file hides in it.
"""

import contextlib
import os
import pathlib
import socket
import sys
import threading
import time
import unittest

import grpc

import federation
from federation import Federation
from rawclient import RawClient, stubs

GROWTH_MAX = 64 << 20
RPC_MEMORY_MAX = 256 << 20  # the combiner's default for rpc_memory_max
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + \
        payload


def field(name, value):
    """A header field, literally, without indexing."""
    def text(words):
        words = words.encode()
        n = len(words)
        head = bytes([n]) if n < 127 else b"\x7f"
        n -= 127
        while n >= 0:
            head, n = head + bytes([n & 0x7F | (0x80 if n > 127 else 0)]), (n >> 7) or -1
        return head + words
    return b"\x00" + text(name) + text(value)


def request(path):
    return b"".join(field(*pair) for pair in (
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"),
        ("content-type", "application/grpc"), ("te", "trailers"), ("client", "flood")))


def message(payload, size=None):
    return b"\x00" + (len(payload) if size is None else size).to_bytes(4, "big") + payload


class Connection:
    """HTTP/2 by hand. What the server says is thrown away."""

    def __init__(self, address):
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0))
        self.next = 1

    def open(self, path, rest=b""):
        stream, self.next = self.next, self.next + 2
        return frame(HEADERS, END_HEADERS, stream, request(path)) + (
            frame(DATA, 0, stream, rest) if rest else b"")

    def fill(self, stream, content, seconds=0.3):
        """Send as much of it as the server's windows let through; how much that was."""
        windows, initial, buffer, at = {0: 65535, stream: 65535}, 65535, b"", 0
        until = time.monotonic() + seconds
        self.socket.settimeout(seconds)
        with contextlib.suppress(TimeoutError, OSError):
            while at < len(content):
                n = min(windows[0], windows[stream], 16384, len(content) - at)
                if n > 0:
                    self.socket.sendall(frame(DATA, 0, stream, content[at:at + n]))
                    at += n
                    windows[0] -= n
                    windows[stream] -= n
                    continue
                got = self.socket.recv(1 << 16)
                if not got or time.monotonic() > until:
                    break
                buffer += got
                while len(buffer) >= 9 and len(buffer) >= 9 + int.from_bytes(buffer[:3], "big"):
                    size, kind, flags = int.from_bytes(buffer[:3], "big"), buffer[3], buffer[4]
                    number, body = int.from_bytes(buffer[5:9], "big"), buffer[9:9 + size]
                    buffer = buffer[9 + size:]
                    if kind == WINDOW_UPDATE:
                        windows[number] = windows.get(number, 0) + int.from_bytes(body, "big")
                    elif kind == SETTINGS and not flags & 1:
                        for i in range(0, size, 6):
                            if body[i:i + 2] == b"\x00\x04":
                                value = int.from_bytes(body[i + 2:i + 6], "big")
                                windows[stream] += value - initial
                                initial = value
                        self.socket.sendall(frame(SETTINGS, 1, 0))
                    elif kind == PING and not flags & 1:
                        self.socket.sendall(frame(PING, 1, 0, body))
        self.socket.settimeout(10)
        return at

    def send(self, content):
        with contextlib.suppress(OSError):
            self.socket.sendall(content)
            self.socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while self.socket.recv(1 << 16):
                    pass
            self.socket.setblocking(True)


class Floods(unittest.TestCase):
    def memory(self, fed, peak=False):
        return sum(p.rss_bytes()[1 if peak else 0]
                   for p in (fed.reducer, fed.combiners["combiner"]))

    def run_flood(self, flood, seconds=6, growth_max=GROWTH_MAX):
        """flood(fed, stack) begins it and returns; what it keeps open goes with the stack."""
        if not (federation.RELEASE_BIN / "confed-combiner").exists():
            self.skipTest(f"no release binaries in {federation.RELEASE_BIN}")
        with Federation(federation.RELEASE_BIN) as fed, contextlib.ExitStack() as stack:
            fed.start_reducer()
            fed.start_combiner()
            fed.address = fed.combiners["combiner"].address
            fed.start_clients(2)
            fed.wait_clients(2)
            seed = fed.upload_model(federation.random_model(fed.folder / "seed.npz"))
            self.assertEqual(fed.wait_session(fed.start_session(seed))["failed_rounds"], 0)
            for process in (fed.reducer, fed.combiners["combiner"]):
                pathlib.Path(f"/proc/{process.popen.pid}/clear_refs").write_text("5")
            before = self.memory(fed)
            fed.over = threading.Event()
            stack.callback(fed.over.set)
            flood(fed, stack)
            until = time.monotonic() + seconds
            n_rounds = 0
            while n_rounds == 0 or time.monotonic() < until:
                session = fed.start_session(seed, rounds=3, clients_required=2, round_timeout=20,
                                            client_ids="client-00,client-01")
                row = fed.wait_session(session, 45)
                self.assertEqual((row["status"], row["failed_rounds"]), ("Finished", 0))
                for entry in fed.rounds(session):
                    self.assertEqual(len(entry["entries"]), 2)
                    n_rounds += 1
            growth = self.memory(fed, peak=True) - before
            print(f"{self.id()}: grown by {growth / 2**20:.1f} MiB, {n_rounds} rounds", flush=True)
            for process in (fed.reducer, fed.combiners["combiner"]):
                self.assertTrue(process.is_running())
            self.assertLessEqual(growth, growth_max)

    @staticmethod
    def keep(stack, connection):
        stack.callback(connection.socket.close)
        return connection

    def repeat(self, fed, stack, step, threads=1):
        """step() again and again, until the test is over."""
        def run():
            while not fed.over.is_set():
                with contextlib.suppress(grpc.RpcError, OSError, ValueError):
                    step()
        started = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
        for thread in started:
            thread.start()
        stack.callback(lambda: [thread.join(10) for thread in started])
        stack.callback(fed.over.set)
        time.sleep(1)  # in full swing before the round begins

    def test_half_open_streams(self):
        """Calls that never say what they want."""
        def flood(fed, stack):
            for i in range(20):
                connection = self.keep(stack, Connection(fed.address))
                path = ("/fedn.Combiner/TaskStream", "/fedn.Connector/SendStatus",
                        "/fedn.ModelService/Upload", "/fedn.ModelService/Download")[i % 4]
                connection.send(b"".join(connection.open(path, b"\x00\x00\x00\xff\xff")
                                         for _ in range(50)))
        self.run_flood(flood)

    def test_unfinished_uploads(self):
        """2,000 of them: a chunk each, and no more."""
        def flood(fed, stack):
            pb, _ = stubs()
            for i in range(40):
                connection = self.keep(stack, Connection(fed.address))
                for k in range(50):
                    part = pb.ModelRequest(data=b"\x00" * 1000, id=f"flood-{i}-{k}",
                                           status=pb.IN_PROGRESS).SerializeToString()
                    connection.send(connection.open(
                        "/fedn.ModelService/Upload",
                        message(part) + message(part[:500], size=len(part))))
        self.run_flood(flood)

    def test_long_messages_unfinished(self):
        """Messages of 4 MiB that lack their last byte: a few uploads are read from at once."""
        def flood(fed, stack):
            part = message(b"\x00" * ((4 << 20) - 1), size=4 << 20)
            sent = 0
            for _ in range(50):
                connection = self.keep(stack, Connection(fed.address))
                connection.send(connection.open("/fedn.ModelService/Upload"))
                sent += connection.fill(1, part)
            print(f"{sent >> 20} MiB taken of {50 * len(part) >> 20}")
        self.run_flood(flood)

    def test_message_without_end(self):
        """A message that is said to be 1 GiB. gRPC 1.51 looks at its length when it is whole: what
        bounds it is gRPC's own memory (rpc_memory_max), which is above what rule 19 wants."""
        def flood(fed, stack):
            part = message(b"\x00" * (RPC_MEMORY_MAX + (16 << 20)), size=1 << 30)
            for path in ("/fedn.Connector/SendHeartbeat", "/fedn.ModelService/Upload"):
                connection = self.keep(stack, Connection(fed.address))
                connection.send(connection.open(path))
                print(f"{path}: {connection.fill(1, part, seconds=5) >> 20} MiB taken")
        self.run_flood(flood, growth_max=RPC_MEMORY_MAX + (16 << 20))

    def test_byte_a_second(self):
        def flood(fed, stack):
            ports = [fed.address, fed.http, fed.rpc]
            sockets = []
            for i in range(90):
                host, port = ports[i % 3].split(":")
                sockets.append(stack.enter_context(socket.create_connection((host, int(port)))))

            def step():
                for i, peer in enumerate(sockets):
                    with contextlib.suppress(OSError):
                        peer.send(b"GET / HTTP/1.1\r\nA: bcdefgh"[step.n % 27:][:1] if i % 3 == 1
                                  else PREFACE[step.n % 24:][:1])
                step.n += 1
                fed.over.wait(1)
            step.n = 0
            self.repeat(fed, stack, step)
        self.run_flood(flood)

    def test_garbage_on_every_port(self):
        def flood(fed, stack):
            def step():
                for address in (fed.address, fed.http, fed.rpc):
                    host, port = address.split(":")
                    for head in (b"", PREFACE, b"POST /api/v1/models/ HTTP/1.1\r\n"):
                        with contextlib.suppress(OSError), \
                                socket.create_connection((host, int(port)), timeout=2) as peer:
                            peer.sendall(head + os.urandom(20000))
            self.repeat(fed, stack, step, threads=2)
        self.run_flood(flood)

    def test_long_headers(self):
        """1 MB of them, by HTTP/1.1, and by HTTP/2 in CONTINUATION frames without end."""
        def flood(fed, stack):
            big = field("x-big", "y" * 16000)

            def step():
                for address in (fed.address, fed.rpc):
                    connection = Connection(address)
                    with connection.socket:
                        connection.send(frame(HEADERS, 0, 1, request("/fedn.Connector/SendStatus")))
                        for _ in range(64):
                            connection.send(frame(CONTINUATION, 0, 1, big))
                host, port = fed.http.split(":")
                with socket.create_connection((host, int(port)), timeout=2) as peer:
                    peer.sendall(b"GET /api/v1/models/ HTTP/1.1\r\nHost: x\r\nX-Big: ")
                    for _ in range(64):
                        peer.sendall(b"y" * 16384)
            self.repeat(fed, stack, step, threads=2)
        self.run_flood(flood)

    def test_rapid_resets(self):
        """At a pace of some thousand a second: as fast as a socket takes them, gRPC 1.51 itself
        takes all of a processor and hundreds of MB, before a call reaches us."""
        def flood(fed, stack):
            def step():
                connection = Connection(fed.address)
                with connection.socket:
                    for _ in range(20):
                        fed.over.wait(0.05)
                        content = b""
                        for _ in range(50):
                            stream = connection.next
                            content += connection.open("/fedn.Connector/SendHeartbeat")
                            content += frame(RESET, 0, stream, (8).to_bytes(4, "big"))
                        connection.send(content + frame(PING, 0, 0, b"12345678"))
            self.repeat(fed, stack, step, threads=2)
        self.run_flood(flood)

    def test_heartbeats_and_statuses(self):
        """As fast as a client can call, with a 1 MB status and compressed zeros among them."""
        def flood(fed, stack):
            client = RawClient(fed.address, "flood").attach(beats=False)
            stack.callback(client.close)
            pb = client.pb
            statuses = [pb.Status(sender=client.sender, status="x" * n)
                        for n in (10, 1000, 100000, 1000000)]
            zeros = pb.Status(sender=client.sender, status="\x00" * (4 << 20))

            def beat():
                calls = [client.connector.SendHeartbeat.future(
                    pb.Heartbeat(sender=client.sender), metadata=client.metadata, timeout=10)
                    for _ in range(200)]
                for call in calls:
                    call.exception()

            def status():
                calls = [client.connector.SendStatus.future(
                    statuses[i % 4], metadata=client.metadata, timeout=10) for i in range(40)]
                calls.append(client.connector.SendStatus.future(
                    zeros, metadata=client.metadata, timeout=10, compression=grpc.Compression.Gzip))
                for call in calls:
                    call.exception()
            self.repeat(fed, stack, beat)
            self.repeat(fed, stack, status)
        self.run_flood(flood)

    def test_compressed(self):
        """64 MB of zeros in 64 kB: not inflated, or bounded."""
        def flood(fed, stack):
            channel = grpc.insecure_channel(fed.address, options=[
                ("grpc.max_send_message_length", -1)])
            stack.callback(channel.close)
            zeros = b"\x00" * (64 << 20)
            calls = [channel.stream_unary(path) if "Upload" in path else channel.unary_unary(path)
                     for path in ("/fedn.Connector/SendStatus", "/fedn.ModelService/Upload",
                                  "/fedn.Combiner/SendModelUpdate")]

            def step():
                for i, call in enumerate(calls):
                    with contextlib.suppress(grpc.RpcError):
                        call(iter([zeros]) if i == 1 else zeros, timeout=10,
                             compression=grpc.Compression.Gzip)
            self.repeat(fed, stack, step)
        self.run_flood(flood)


if __name__ == "__main__":
    sys.exit(federation.main())
