"""What the `fedn` command does not do of a working day, by APIClient (PyPI fedn, unmodified).

day.py HOST:PORT SESSION: reads everything of a finished session, starts the next one from its
model, and stops that.
"""

import sys
import time

import numpy
from fedn import APIClient


def wait(condition, what, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.1)


def read_nouns(client):
    """List, get and count every noun; the three agree."""
    for noun in ("client", "combiner", "model", "package", "round", "session", "status",
                 "validation"):
        nouns = "statuses" if noun == "status" else noun + "s"
        found = getattr(client, f"get_{nouns}")()
        assert list(found) == ["count", "result"], (noun, list(found))
        assert found["count"] == len(found["result"]) > 0, noun
        assert getattr(client, f"get_{nouns}_count")() == found["count"], noun
        assert getattr(client, f"get_{nouns}")(n_max=1)["result"] == found["result"][:1], noun
        for row in found["result"]:
            assert getattr(client, f"get_{noun}")(row[f"{noun}_id"]) == row, noun
        missing = getattr(client, f"get_{noun}")("nobody")
        assert missing == {"code": "not_found",
                           "message": "Entity with id: nobody not found"}, missing
    assert client.get_predictions() == {"count": 0, "result": []}


def read_session(client, session_id):
    models = client.get_models(session_id=session_id)["result"]
    assert len(models) == 2
    newest = models[0]["model_id"]
    trail = [model["model_id"] for model in client.get_model_trail(reverse=True)]
    assert trail[-2:] == [models[1]["model_id"], newest] and len(trail) == 3, trail
    assert client.get_active_model()["model_id"] == newest
    client.download_model(newest, "newest.npz")
    with numpy.load("newest.npz") as model, numpy.load("seed.npz") as seed:
        assert [model[name].shape for name in model.files] == \
            [seed[name].shape for name in seed.files]
    statuses = client.get_statuses(session_id=session_id)
    updates = client.get_statuses(session_id=session_id, event_type="MODEL_UPDATE")
    assert 0 < updates["count"] < statuses["count"]
    wait(lambda: client.get_validations(session_id=session_id)["count"] == 2, "validations")
    assert client.get_validations(model_id=newest)["count"] == 1
    assert client.get_validations(sender_role="CLIENT")["count"] == 2
    assert client.get_validations(receiver_name="nobody")["count"] == 0
    return newest


def read_package(client):
    package = client.get_active_package()
    client.download_package("again.tgz")
    assert client.get_package_checksum()["checksum"] == package["sha256"]
    assert client.get_client_config()["checksum"] == package["sha256"]
    assert client.get_current_attributes(["native"]) in ({}, {"native": {}})
    added = client.add_attributes({"key": "colour", "value": "blue", "sender": {
        "name": "native", "role": "CLIENT", "client_id": "native"}})
    assert added["value"] == "blue", added
    assert client.get_current_attributes(["native"]) == {"native": {"colour": "blue"}}


def next_session(client, model_id):
    """From the newest model; its trail goes on. Stopped before its rounds are done."""
    refused = client.start_session(name="no", model_id="nobody", rounds=1)
    assert "message" in refused, refused
    started = client.start_session(name="next", model_id=model_id, rounds=500, round_timeout=60)
    assert started["message"] == "Session started", started
    session = client.get_sessions()["result"][0]
    assert session["name"] == "next" and session["seed_model_id"] == model_id, session
    session_id = session["session_id"]
    assert client.start_session(name="second", rounds=1)["message"] == \
        "A session is already running!"
    wait(lambda: client.get_models(session_id=session_id)["count"] > 0, "a model")
    first = client.get_models(session_id=session_id)["result"][-1]
    assert first["parent_model"] == model_id, first
    return session_id


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    client = APIClient(host=host, port=int(port))

    read_nouns(client)
    newest = read_session(client, sys.argv[2])
    read_package(client)
    print("next", next_session(client, newest))


if __name__ == "__main__":
    main()
