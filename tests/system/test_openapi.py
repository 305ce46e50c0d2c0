"""openapi.json against routes.c, both ways, and against what the real daemon answers."""

import copy
import json
import re
import signal
import sys
import tarfile
import unittest

import federation
from federation import Federation

try:
    import jsonschema
except ImportError:
    jsonschema = None

RESOURCES = ("combiners clients sessions rounds models packages runs validations statuses "
             "predictions metrics attributes telemetry").split()
ROUTE = re.compile(r'^    \{(API )?"([^"]*)", \w+, REST_(\w+), (?:true|false)\},$', re.M)
SENDER = {"name": "one", "role": "CLIENT", "client_id": "client-00"}


def routes():
    """routes.c's (method, path), with every resource by its name."""
    text = (federation.ROOT / "reducer/rest/routes.c").read_text()
    table = text[text.index("routes[] = {"):text.index("\n};")]
    # The dashboard's pages are for people: see tests/system/test_dashboard.py.
    table = "\n".join(line for line in table.splitlines() if "rest_dashboard_" not in line)
    found = set()
    for api, path, method in ROUTE.findall(table):
        path = ("/api/v1/" if api else "") + path.replace(":id", "{id}")
        for resource in RESOURCES if ":r" in path else [""]:
            found.add((method.lower(), path.replace(":r", resource)))
    lines = [line for line in table.splitlines() if line.startswith("    {")]
    assert len(ROUTE.findall(table)) == len(lines), "a route is written in another way"
    return found


class Document:
    def __init__(self, document):
        self.document = document
        self.shapes = self._strict(copy.deepcopy(document))

    def _strict(self, item):
        """OpenAPI 3.0's `nullable` in JSON Schema's words."""
        if isinstance(item, dict):
            item = {key: self._strict(value) for key, value in item.items()}
            if item.pop("nullable", False) and isinstance(item.get("type"), str):
                item["type"] = [item["type"], "null"]
                if "enum" in item:
                    item["enum"] = item["enum"] + [None]
        elif isinstance(item, list):
            item = [self._strict(value) for value in item]
        return item

    def response(self, method, path, status):
        responses = self.shapes["paths"][path][method]["responses"]
        found = responses.get(str(status))
        assert found is not None, f"{method} {path}: {status} is not described"
        if "$ref" in found:
            found = self.shapes["components"]["responses"][found["$ref"].rsplit("/", 1)[1]]
        return found

    def check(self, method, path, status, answer):
        content = self.response(method, path, status).get("content", {})
        if "application/json" not in content or isinstance(answer, bytes):
            assert isinstance(answer, bytes) and (set(content) - {"application/json"} or
                                                  status == 304), (method, path, answer)
            return
        schema = dict(content["application/json"]["schema"],
                      components=self.shapes["components"])
        jsonschema.Draft7Validator(schema).validate(answer)


@unittest.skipIf(jsonschema is None, "python3-jsonschema is not installed")
class OpenApi(unittest.TestCase):
    def test_routes(self):
        """Every route is described, and nothing else is."""
        document = json.loads((federation.ROOT / "reducer/rest/openapi.json").read_text())
        described = {(method, path) for path, item in document["paths"].items()
                     for method in item}
        self.assertEqual(described - routes(), set())
        self.assertEqual(routes() - described, set())
        for path, item in document["paths"].items():
            for method, operation in item.items():
                self.assertTrue(operation["summary"], path)
                named = [p.get("$ref") for p in operation.get("parameters", [])]
                self.assertEqual("{id}" in path, "#/components/parameters/id" in named, path)
                for code in operation["responses"]:
                    self.assertRegex(code, "^[2345][0-9][0-9]$")

    def test_schemas(self):
        """The schemas are schemas, and say all: no row may have a key that is not described."""
        document = json.loads((federation.ROOT / "reducer/rest/openapi.json").read_text())
        for name, schema in Document(document).shapes["components"]["schemas"].items():
            jsonschema.Draft7Validator.check_schema(schema)
            if name not in ("Error", "Message", "Prediction"):
                self.assertFalse(schema["additionalProperties"], name)

    def prepare(self, fed):
        fed.start_reducer()
        fed.start_combiner()
        fed.start_clients(2)
        fed.wait_clients(2)
        package = fed.folder / "package.tgz"
        with tarfile.open(package, "w:gz") as archive:
            archive.add(federation.ROOT / "client/examples/fedn-mnist", arcname="client")
        fed.cli("package", "upload", package)
        self.model = fed.upload_model(federation.random_model(fed.folder / "seed.npz"))
        self.session = fed.start_session(self.model, rounds=2, clients_required=2)
        fed.wait_session(self.session)
        fed.wait_live(lambda live: live["validation"]["received"] == 2, 60, "validations")
        # One more, that fails.
        late = fed.clients["client-01"].popen
        late.send_signal(signal.SIGSTOP)
        failing = fed.start_session(self.model, rounds=1, round_timeout=2, clients_required=2)
        self.assertEqual(fed.wait_session(failing)["failed_rounds"], 1)
        late.send_signal(signal.SIGCONT)
        self.other = fed.ask_session(self.model, name="to be started")[1]["session_id"]

    def ask(self, fed, method, path, body=None, pattern=None, query="", want=None):
        status, answer = fed.rest(method.upper(), path + query, body)
        with self.subTest(f"{method} {path}{query} {body}"):
            self.document.check(method, pattern or path, status, answer)
            if want is not None:
                self.assertEqual(status, want, answer)
        self.asked.add((method, pattern or path))
        return status, answer

    def ask_resources(self, fed):
        for resource in RESOURCES:
            base = f"/api/v1/{resource}/"
            _, found = self.ask(fed, "get", base, want=200)
            rows = found["result"]
            if resource not in ("predictions", "metrics"):
                self.assertTrue(rows, resource)
            key = "telemetry_id" if resource == "telemetry" else "status_id" \
                if resource == "statuses" else resource[:-1] + "_id"
            one = rows[0][key] if rows else "nobody"
            self.ask(fed, "get", base + one, pattern=base + "{id}", want=200 if rows else 404)
            self.ask(fed, "get", base + "nobody", pattern=base + "{id}", want=404)
            self.ask(fed, "post", base + "list", {}, want=200)
            self.ask(fed, "post", base + "list", [], want=400)
            self.ask(fed, "get", base + "count", want=200)
            self.ask(fed, "post", base + "count", {"a": "b"}, want=200)
            self.ask(fed, "get", base, query="?" + "&".join(f"k{i}=1" for i in range(20)),
                     want=400)

    def ask_ids(self, fed):
        model, session = f"/api/v1/models/{self.model}", f"/api/v1/sessions/{self.session}"
        for word in ("descendants", "ancestors", "leaf-nodes", "parameters", "download"):
            pattern = "/api/v1/models/{id}/" + word
            self.ask(fed, "get", f"{model}/{word}", pattern=pattern, want=200)
            self.ask(fed, "get", f"/api/v1/models/nobody/{word}", pattern=pattern, want=404)
        for method in ("put", "patch"):
            self.ask(fed, method, model, {"name": "m"}, "/api/v1/models/{id}", want=200)
            self.ask(fed, method, model, {"name": 5}, "/api/v1/models/{id}", want=400)
            self.ask(fed, method, session, {"name": "s"}, "/api/v1/sessions/{id}", want=200)
            self.ask(fed, method, session, [], "/api/v1/sessions/{id}", want=400)
        self.ask(fed, "post", session + "/stop", {}, "/api/v1/sessions/{id}/stop", want=400)
        self.ask(fed, "get", "/api/v1/clients/client-00/attributes",
                 pattern="/api/v1/clients/{id}/attributes", want=200)
        self.ask(fed, "delete", "/api/v1/clients/client-00", pattern="/api/v1/clients/{id}",
                 want=409)
        self.ask(fed, "delete", "/api/v1/combiners/nobody", pattern="/api/v1/combiners/{id}",
                 want=404)

    def ask_by_hand(self, fed):
        record = {"key": "k", "sender": SENDER}
        self.ask(fed, "post", "/api/v1/attributes/", dict(record, value="v"), want=201)
        self.ask(fed, "post", "/api/v1/attributes/", dict(record, value=5), want=400)
        self.ask(fed, "post", "/api/v1/telemetry/", dict(record, value=0.0), want=201)
        self.ask(fed, "post", "/api/v1/telemetry/", dict(record, value="v"), want=400)
        self.ask(fed, "post", "/api/v1/attributes/current", {"client_ids": ["client-00"]},
                 want=200)
        self.ask(fed, "post", "/api/v1/combiners/clients/count", {"combiners": "combiner"},
                 want=200)
        for path in ("/api/v1/clients/add", "/add_client"):
            self.ask(fed, "post", path, {"name": "z", "client_id": "z", "package": "local"},
                     want=200)
            self.ask(fed, "post", path, {"name": "z", "client_id": "z/../", "package": "local"},
                     want=400)
        self.ask(fed, "put", "/api/v1/helpers/active", {"helper": "numpyhelper"}, want=200)
        self.ask(fed, "put", "/api/v1/helpers/active", {"helper": "binaryhelper"}, want=400)
        self.ask(fed, "post", "/api/v1/models/", {}, want=400)
        self.ask(fed, "post", "/api/v1/packages/", {}, want=400)
        active = fed.rest("GET", "/api/v1/packages/active")[1]["package_id"]
        self.ask(fed, "put", "/api/v1/packages/active", {"id": active}, want=200)
        self.ask(fed, "post", "/api/v1/sessions/", {}, want=400)
        self.ask(fed, "post", "/api/v1/sessions/start", {}, want=400)
        self.ask(fed, "post", "/api/v1/sessions/start", {"session_id": self.other, "rounds": 1},
                 want=200)
        fed.wait_session(self.other)

    def ask_views(self, fed):
        """Flat rows: each with something in it but for what echo clients do not do."""
        for name, query in (("rounds", ""), ("client-rounds", "client_id=client-00"),
                            ("refusals", "client_id=client-00"), ("client-times", ""),
                            ("combiner-times", ""), ("timeline", "round_id=1"),
                            ("validations", ""), ("confusion", f"model_id={self.model}")):
            path = f"/api/v1/views/{name}"
            of = "" if name in ("timeline", "confusion") else f"&session_id={self.session}"
            _, answer = self.ask(fed, "get", path, query=f"?{query}{of}", want=200)
            self.assertEqual(answer["count"], len(answer["result"]))
            self.assertEqual(answer["count"] > 0, name not in ("refusals", "confusion"), name)
            self.ask(fed, "get", path, query=f"?{query}{of}&format=csv", want=200)
            if "=" in query:
                self.ask(fed, "get", path, want=400)
        self.ask(fed, "get", "/api/v1/views/timeline", query="?round_id=none", want=404)

    def test_answers(self):
        with Federation() as fed:
            self.prepare(fed)
            status, served = fed.rest("GET", "/api/v1/openapi.json")
            text = (federation.ROOT / "reducer/rest/openapi.json").read_text()
            self.assertEqual((status, served), (200, json.loads(text)))
            self.document, self.asked = Document(served), set()
            self.ask_by_hand(fed)
            self.ask_resources(fed)
            self.ask_ids(fed)
            self.ask(fed, "get", "/api/v1/live", query="?after=x", want=400)
            self.ask_views(fed)
            stream = ("get", "/api/v1/events/stream")  # test_events.py's
            for method, path in sorted(routes() - self.asked - {stream}):
                self.ask(fed, method, path, None if method in ("get", "delete") else {})
            self.assertEqual(routes() - self.asked, {stream})


if __name__ == "__main__":
    sys.exit(federation.main())
