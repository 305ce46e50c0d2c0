"""A working day with FEDn's own APIClient (PyPI, unmodified).

api_day.py HOST:PORT PACKAGE SEED-MODEL
"""

import sys
import time

from fedn import APIClient


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    client = APIClient(host=host, port=int(port))

    print(client.set_active_package(sys.argv[2], "numpyhelper", "mnist", "the day's package"))
    assert client.get_active_package()["name"] == "mnist"
    assert len(client.get_package_checksum()["checksum"]) == 64
    assert client.get_packages_count() == 1
    print(client.set_active_model(sys.argv[3]))
    seed = client.get_active_model()["model_id"] if isinstance(client.get_active_model(), dict) \
        else client.get_models()["result"][0]["model_id"]
    assert client.get_models()["count"] == 1

    assert client.get_clients()["count"] == 1
    assert client.get_active_clients()["count"] == 1
    name = client.get_combiners()["result"][0]["name"]
    assert name == "combiner", name
    assert client.get_controller_status()["state"] == "idle"

    started = client.start_session(name="day", rounds=2, round_timeout=60, min_clients=1)
    print(started)
    assert started["message"] == "Session started", started
    session = client.get_session(name="day")
    session = session["result"][0] if "result" in session else session
    session_id = session["session_id"]
    until = time.monotonic() + 60
    while not client.session_is_finished(session_id):
        assert time.monotonic() < until, client.get_session(session_id)
        time.sleep(0.2)
    assert client.get_session_status(session_id) == "Finished"

    assert client.get_rounds_count() == 2
    assert client.get_models(session_id=session_id)["count"] == 2
    trail = client.get_model_trail()
    assert len(trail) == 3 and trail[0]["model_id"] == seed or len(trail) == 3, trail
    newest = client.get_models(session_id=session_id)["result"][0]["model_id"]
    client.download_model(newest, "downloaded.npz")
    assert open("downloaded.npz", "rb").read(2) == b"PK"
    assert client.get_statuses(session_id=session_id)["count"] > 0
    client.get_validations(session_id=session_id)
    client.get_predictions()

    again = client.continue_session(session_id, rounds=1, round_timeout=60)
    assert again["message"] == "Session started", again
    until = time.monotonic() + 60
    while client.get_rounds_count() < 3 or not client.session_is_finished(session_id):
        assert time.monotonic() < until
        time.sleep(0.2)
    print("day over")


if __name__ == "__main__":
    main()
