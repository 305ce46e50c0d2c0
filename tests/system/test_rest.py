"""The REST API of a real daemon: every path with good and bad input (fedn.md 6), and rules 20-23.

test_openapi.py compares the shapes of answers; here it is what is accepted, what is refused and
how, and that whoever is slow, huge or hostile costs nobody else anything.
"""

import contextlib
import io
import json
import socket
import sys
import time
import unittest

import federation
import numpy
from federation import Federation

RESOURCES = ("clients combiners models packages rounds sessions statuses validations predictions "
             "metrics attributes telemetry runs").split()


def npz(**arrays):
    content = io.BytesIO()
    numpy.savez(content, **arrays)
    return content.getvalue()


def multipart(content, name="seed.npz", **texts):
    """(body, headers) of an upload."""
    lines = [f'--cut\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
             for key, value in texts.items()]
    lines.append(f'--cut\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
                 .encode() + content + b"\r\n--cut--\r\n")
    return b"".join(lines), {"Content-Type": "multipart/form-data; boundary=cut"}


class Rest(unittest.TestCase):
    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.fed = self.stack.enter_context(Federation())
        self.fed.start_reducer()

    def upload(self, content, path="models", **texts):
        body, headers = multipart(content, **texts)
        return self.fed.rest("POST", f"/api/v1/{path}/", body, headers)

    def seed(self):
        status, answer = self.upload(npz(**{"0": numpy.ones((4, 2), numpy.float32)}))
        self.assertEqual(status, 200, answer)
        return answer["model_id"]

    def refused(self, status, method, path, body=None, text=None, headers=None):
        """It is refused, with a text that says why."""
        with self.subTest(f"{method} {path} {str(body)[:80]}"):
            got, answer = self.fed.rest(method, path, body, headers)
            self.assertEqual(got, status, answer)
            self.assertEqual({"message", "code"} - set(answer), set(), answer)
            self.assertGreater(len(answer["message"]), 8)
            if text is not None:
                self.assertIn(text, answer["message"])
            return answer

    def taken(self, status, method, path, body=None, headers=None):
        with self.subTest(f"{method} {path} {str(body)[:80]}"):
            got, answer = self.fed.rest(method, path, body, headers)
            self.assertEqual(got, status, answer)
            return answer

    # -- the generic set

    def test_lists(self):
        """Order, pages, filters and counts, the same by GET and by POST."""
        for i in range(30):
            self.taken(201, "POST", "/api/v1/attributes/", {
                "key": f"k{i:02d}", "value": str(i), "sender": {
                    "name": "even" if i % 2 == 0 else "odd", "role": "CLIENT", "client_id": "c"}})
        base = "/api/v1/attributes/"

        def keys(query="", headers=None, body=None):
            answer = self.taken(200, "GET", base + query, headers=headers) if body is None else \
                self.taken(200, "POST", base + "list", body, headers)
            self.assertEqual(list(answer), ["count", "result"])
            self.count = answer["count"]
            return [int(row["key"][1:]) for row in answer["result"]]
        down = list(range(29, -1, -1))
        self.assertEqual((keys(), self.count), (down, 30))
        self.assertEqual(keys(headers={"X-Sort-Order": "asc"}), down[::-1])
        self.assertEqual(keys(headers={"X-Sort-Key": "key", "X-Sort-Order": "asc"}), down[::-1])
        for limit in ("0", "-1", "x", ""):
            self.assertEqual(keys(headers={"X-Limit": limit}), down)
        page = {"X-Limit": "4", "X-Skip": "3"}
        self.assertEqual((keys(headers=page), self.count), (down[3:7], 30))
        self.assertEqual((keys("?sender.name=odd", page), self.count), (down[0::2][3:7], 15))
        self.assertEqual((keys(headers=page, body={"sender.name": "odd"}), self.count),
                         (down[0::2][3:7], 15))
        self.assertEqual((keys("?sender.name=odd", dict(page, **{
            "X-Sort-Key": "key", "X-Sort-Order": "asc"})), self.count), ([7, 9, 11, 13], 15))
        self.assertEqual(keys("?value__gte=27"), [29, 28, 27])
        self.assertEqual(keys("?value__lt=2&key__ne=k00"), [1])
        self.assertEqual(keys(body={"key": "k01,k03"}), [3, 1])
        self.assertEqual(keys(body={"key": ["k01", "k03"]}), [3, 1])
        for query in ("?key=nobody", "?nothing=1", "?sender=odd", "?_sender_key__ne=x"):
            self.assertEqual((keys(query), self.count), ([], 0), query)
        self.assertEqual(self.taken(200, "GET", base + "count?sender.name=odd"), 15)
        self.assertEqual(self.taken(200, "POST", base + "count", {"sender.name": "odd"}), 15)

    def test_filters_are_literal(self):
        """Rule 20: an operator matches nothing, and harms nothing."""
        self.seed()
        for name in RESOURCES:
            for body in ({"model_id": {"$gt": ""}}, {"$where": "1"}, {"model_id": {"$ne": None}},
                         {"a": {"b": {"c": []}}}, {"model_id[$gt]": ""}):
                answer = self.taken(200, "POST", f"/api/v1/{name}/list", body)
                self.assertEqual(answer, {"count": 0, "result": []})
            self.refused(400, "POST", f"/api/v1/{name}/list", [1])
            self.refused(400, "POST", f"/api/v1/{name}/list", b"{",
                         headers={"Content-Type": "application/json"})
            self.refused(400, "GET", f"/api/v1/{name}/?" + "&".join(f"k{i}=1" for i in range(40)))
            self.refused(404, "GET", f"/api/v1/{name}/nobody", text="Entity with id: nobody")
            self.refused(404, "GET", f"/api/v1/{name}/" + "x" * 300)
            self.refused(404, "GET", f"/api/v1/{name}/..%2f..%2fetc")
            self.refused(405, "PUT", f"/api/v1/{name}/")

    def test_csv(self):
        self.seed()
        request = "/api/v1/models/?format=csv"
        text = self.taken(200, "GET", request).decode()
        head, row, rest = text.split("\r\n", 2)
        self.assertEqual(rest, "")
        listed = self.taken(200, "GET", "/api/v1/models/")["result"][0]
        self.assertEqual(set(head.split(",")), set(listed))
        self.assertIn(listed["model_id"], row)
        for name in RESOURCES:
            self.taken(200, "GET", f"/api/v1/{name}/", headers={"Accept": "text/csv"})
        model = listed["model_id"]
        for path in (f"models/{model}/ancestors?include_self=true&format=csv",
                     "models/leaf-nodes?format=csv"):
            self.assertEqual(self.taken(200, "GET", "/api/v1/" + path).decode(), text)

    # -- models, packages, sessions

    def test_models_are_checked(self):
        """Rule 21: a model is read whole before it is kept."""
        good = npz(**{"0": numpy.ones(3, numpy.float32)})
        for content in (b"", b"x", good[:-30], good[:50] + b"\xff" * 9 + good[59:],
                        npz(weights=numpy.ones(3)), npz(**{"1": numpy.ones(3)}),
                        npz(**{"0": numpy.array([numpy.nan])}),
                        npz(**{"0": numpy.array(["text"])})):
            status, answer = self.upload(content)
            self.assertEqual(status, 400, answer)
            self.assertTrue(answer["message"] and answer["code"])
        self.assertEqual(self.taken(200, "GET", "/api/v1/models/count"), 0)
        self.refused(400, "POST", "/api/v1/models/", {"a": 1})

    def test_seed_and_trail(self):
        """Rule 23; models are not deleted (22)."""
        model = self.seed()
        row = self.taken(200, "GET", f"/api/v1/models/{model}")
        self.assertEqual((row["session_id"], row["parent_model"]), (None, None))
        self.refused(405, "DELETE", f"/api/v1/models/{model}")
        self.refused(405, "DELETE", "/api/v1/sessions/x")
        self.refused(405, "DELETE", "/api/v1/rounds/1")
        self.refused(501, "GET", "/delete_model_trail")
        tag = f'"{model}"'
        path = f"/api/v1/models/{model}/download"
        self.assertEqual(self.taken(304, "GET", path, headers={"If-None-Match": tag}), b"")
        self.assertTrue(self.taken(200, "GET", path, headers={"If-None-Match": '"x"'}))

    def test_session_settings(self):
        """Rule 21: what can be known to be wrong is refused when the session is made."""
        model = self.seed()
        good = federation.session_config(model)
        path = "/api/v1/sessions/"
        self.assertEqual(self.taken(201, "POST", path, {"session_config": good})["status"],
                         "Created")
        for key in good.keys() - {"model_id"}:
            config = {k: v for k, v in good.items() if k != key}
            self.refused(400, "POST", path, {"session_config": config}, f"missing field {key}")
        self.refused(400, "POST", path, {"session_config": dict(good, more=1)}, "Invalid object")
        for key, values in {"round_timeout": (0, -1, "x", [], 1e300), "buffer_size": (0, -2, "x"),
                            "clients_required": (0, -1, "x", 2**70),
                            "aggregator": ("fedprox", "", 5), "validate": ("maybe", 5, []),
                            "helper_type": ("binaryhelper", "androidhelper", {})}.items():
            for value in values:
                self.refused(400, "POST", path, {"session_config": dict(good, **{key: value})})
        self.refused(400, "POST", path, {"session_config": dict(good, aggregator="splitlearning")},
                     "fedavg")
        self.refused(400, "POST", path, {"name": 5, "session_config": good})

    def test_starts(self):
        """FEDn's texts, on which its clients depend."""
        path = "/api/v1/sessions/start"
        model = self.seed()
        self.refused(400, "POST", path, {}, "Session ID is required")
        self.refused(400, "POST", path, {"session_id": "nobody"},
                     "Session with specified ID does not exist")
        session = self.taken(201, "POST", "/api/v1/sessions/", {
            "session_config": federation.session_config(model)})["session_id"]
        self.refused(400, "POST", path, {"session_id": session},
                     "Number of available clients is lower than the required minimum of 1")
        self.refused(400, "POST", path, {"session_id": session, "client_ids": 5},
                     "client_ids must be a comma separated string")
        for rounds in (0, -1, "x", 1e300, []):
            self.refused(400, "POST", path, {"session_id": session, "rounds": rounds})
        self.refused(400, "POST", f"/api/v1/sessions/{session}/stop", {})
        self.refused(404, "POST", "/api/v1/sessions/nobody/stop", {})
        self.refused(403, "POST", path, {"session_id": session}, "another site",
                     {"Origin": "http://evil.example"})

    # -- who is there

    def test_clients_and_combiners(self):
        """Rules 22, 25: what is live is not deleted; nobody is sent where nobody is."""
        add = "/api/v1/clients/add"
        body = {"name": "z", "client_id": "z", "package": "local"}
        answer = self.taken(203, "POST", add, body)
        self.assertEqual((answer["status"], answer["success"]), ("retry", False))
        self.fed.start_combiner()
        self.fed.start_client("one")
        self.fed.wait_clients(1)
        self.assertEqual(self.taken(200, "POST", add, body)["status"], "assigned")
        made = self.taken(200, "POST", add, {"name": "y", "package": "local"})
        self.assertEqual(len(made["client_id"]), 36)  # who brings no id gets one
        for wrong in ({}, dict(body, client_id="a/b"), dict(body, client_id="x" * 200), dict(body, name=["z"]),
                      dict(body, package=5)):
            self.refused(400, "POST", add, wrong)
        self.refused(409, "DELETE", "/api/v1/clients/one")
        combiner = self.taken(200, "GET", "/api/v1/combiners/")["result"][0]["combiner_id"]
        self.refused(409, "DELETE", f"/api/v1/combiners/{combiner}")
        self.fed.clients["one"].stop()
        self.fed.wait_live(lambda live: all(c["status"] != "online" for c in live["clients"]))
        self.taken(200, "DELETE", "/api/v1/clients/one")
        self.refused(404, "DELETE", "/api/v1/clients/one")

    def test_metrics(self):
        self.refused(404, "GET", "/nothing")
        text = self.taken(200, "GET", "/metrics").decode()
        samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
        self.assertGreaterEqual(int(samples["confed_rest_refused_total"]), 1)
        self.assertEqual(samples['confed_updates_refused_total{reason="not_finite"}'], "0")
        for line in text.splitlines():
            if line[0] != "#":
                name = line.split("{")[0].split(" ")[0]
                self.assertIn(f"# TYPE {name} ", text)

    # -- peers

    def test_head(self):
        self.assertEqual(self.fed.rest("HEAD", "/api/v1/models/"), (200, b""))
        self.assertEqual(self.fed.rest("HEAD", "/api/v1/models/nobody")[0], 404)

    def connect(self):
        host, port = self.fed.http.rsplit(":", 1)
        link = socket.create_connection((host, int(port)), timeout=60)
        self.addCleanup(link.close)
        return link

    def test_slow_and_idle(self):
        """Hundreds that send a byte now and then, or read nothing: the others are served."""
        for i in range(500):
            link = self.connect()
            link.sendall(b"POST /api/v1/sessions/ HTTP/1.1\r\nHost: x\r\n"[:10 + i % 30])
        model = self.seed()
        greedy = [self.connect() for _ in range(50)]
        for link in greedy:
            link.sendall(b"GET /api/v1/models/ HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
        began = time.monotonic()
        for _ in range(50):
            self.taken(200, "GET", f"/api/v1/models/{model}")
        self.assertLess(time.monotonic() - began, 10)

    def test_huge(self):
        """A length beyond the bound is refused before a byte of the body is read."""
        for path, length in (("sessions/", 10 << 20), ("models/", 1 << 40)):
            link = self.connect()
            link.sendall(f"POST /api/v1/{path} HTTP/1.1\r\nHost: x\r\nContent-Type: "
                         f"multipart/form-data; boundary=a\r\nContent-Length: {length}\r\n\r\n"
                         .encode())
            self.assertIn(b"HTTP/1.1 413", link.recv(4096))

    def test_bytes_are_sorted_json(self):
        """Keys sorted, no blanks, one newline: as FEDn's server writes."""
        self.seed()
        with socket.create_connection(self.fed.http.rsplit(":", 1)) as link:
            link.sendall(b"GET /api/v1/models/ HTTP/1.0\r\nHost: x\r\n\r\n")
            text = link.makefile("rb").read().split(b"\r\n\r\n", 1)[1]
        value = json.loads(text)
        self.assertEqual(text.decode(), json.dumps(value, sort_keys=True,
                                                   separators=(",", ":")) + "\n")


if __name__ == "__main__":
    sys.exit(federation.main())
