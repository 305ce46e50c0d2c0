"""A client built on FEDn's own library (PyPI, unmodified): adds 1 to every value, with 3 examples.

library_client.py API-URL NAME

Metrics (from 0.26 on) and attributes (0.27) are logged where the library can. Each heartbeat that
has been answered is a line "beat" on standard output, for those who count.
"""

import io
import sys

import numpy
from fedn.network.clients.fedn_client import ConnectToApiResult, FednClient


def load(stream):
    with numpy.load(io.BytesIO(stream.getvalue())) as archive:
        return [archive[str(i)] for i in range(len(archive.files))]


def count_beats(handler):
    """Print a line after each answered heartbeat."""
    beat = getattr(handler, "heartbeat", None)

    def counted(*args, **kwargs):
        answer = beat(*args, **kwargs)
        print("beat", flush=True)
        return answer
    if beat is not None:
        handler.heartbeat = counted


def main():
    url, name = sys.argv[1:3]
    client = FednClient()

    def train(model, _settings):
        if hasattr(client, "log_metric"):
            client.log_metric({"train_loss": 0.5, "zero": 0.0})
        out = io.BytesIO()
        numpy.savez_compressed(out, **{str(i): value + 1 for i, value in enumerate(load(model))})
        out.seek(0)
        return out, {"training_metadata": {"num_examples": 3}}

    def validate(model):
        return {"test_accuracy": float(load(model)[0].ravel()[0])}

    client.set_train_callback(train)
    client.set_validate_callback(validate)
    client.set_name(name)
    client.set_client_id(name)
    result, config = client.connect_to_api(
        url, "", {"name": name, "client_id": name, "package": "local", "preferred_combiner": ""})
    if result != ConnectToApiResult.Assigned:
        sys.exit(f"not assigned: {result} {config}")
    client.init_grpchandler(config=config, client_name=name, token="")
    count_beats(client.grpc_handler)
    if hasattr(client, "log_attributes"):
        client.log_attributes({"colour": "blue"})
    client.run()


if __name__ == "__main__":
    main()
