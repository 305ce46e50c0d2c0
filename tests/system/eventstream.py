"""Server-sent events for the tests: one stream, read as it comes."""

import http.client
import json
import socket
import threading
import time


class Event:
    def __init__(self, seq, name, data):
        self.seq, self.name, self.data, self.at = seq, name, data, time.monotonic()

    def __repr__(self):
        return f"<{self.seq} {self.name} {json.dumps(self.data)[:120]}>"


class EventStream:
    """GET /api/v1/events/stream, read on a thread of its own. Use as a context manager."""

    def __init__(self, address, last_event_id=None, query=""):
        self.connection = http.client.HTTPConnection(address, timeout=60)
        headers = {"Accept": "text/event-stream"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = str(last_event_id)
        self.connection.request("GET", "/api/v1/events/stream" + query, headers=headers)
        self.answer = self.connection.getresponse()
        self.events, self.comments, self.trouble = [], 0, None
        self.changed = threading.Condition()
        self.is_over = False
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.connection.sock:
            self.connection.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        self.connection.close()

    def _read(self):
        fields = {}
        try:
            for line in self.answer:
                line = line.decode("ascii").rstrip("\n")
                with self.changed:
                    if line.startswith(":"):
                        self.comments += 1
                    elif line:
                        key, _, value = line.partition(": ")
                        fields[key] = value
                    elif fields:
                        self.events.append(Event(int(fields["id"]), fields["event"],
                                                 json.loads(fields["data"])))
                        fields = {}
                    self.changed.notify_all()
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.trouble = error
        with self.changed:
            self.is_over = True
            self.changed.notify_all()

    def wait(self, condition, seconds=30, what="an event"):
        """The first event that fulfils condition(event)."""
        until = time.monotonic() + seconds
        seen = 0
        with self.changed:
            while True:
                for event in self.events[seen:]:
                    if condition(event):
                        return event
                seen = len(self.events)
                left = until - time.monotonic()
                if self.is_over or left <= 0:
                    raise AssertionError(f"{what} did not come; over: {self.is_over} "
                                         f"{self.trouble}; last: {self.events[-8:]}")
                self.changed.wait(left)

    def wait_end(self, seconds=30):
        with self.changed:
            self.changed.wait_for(lambda: self.is_over, seconds)
            return self.is_over and self.trouble is None

    def named(self, name):
        with self.changed:
            return [event for event in self.events if event.name == name]
