"""A client that can misbehave: FEDn's services by plain gRPC (Debian's python3-grpcio), with stubs
made from proto/fedn.proto. For what a well-behaved client never does; FEDn's own client is used
where FEDn's behaviour is meant."""

import importlib
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import grpc
import numpy

import federation

_made = None


def stubs():
    """The generated modules (messages, services)."""
    global _made
    if _made is None:
        folder = tempfile.TemporaryDirectory(prefix="confed-stubs-")
        proto = federation.ROOT / "proto"
        subprocess.run(["protoc", f"-I{proto}", "-I/usr/include", f"--python_out={folder.name}",
                        f"--grpc_python_out={folder.name}",
                        "--plugin=protoc-gen-grpc_python=/usr/bin/grpc_python_plugin",
                        str(proto / "fedn.proto")], check=True)
        sys.path.insert(0, folder.name)
        _made = (importlib.import_module("fedn_pb2"), importlib.import_module("fedn_pb2_grpc"),
                 folder)
    return _made[0], _made[1]


class RawClient:
    """One client on one connection. attach() opens its TaskStream and beats once a second."""

    def __init__(self, address, client_id):
        self.pb, self.services = stubs()
        self.client_id = client_id
        options = [("grpc.use_local_subchannel_pool", 1),
                   ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(address, options=options)
        self.combiner = self.services.CombinerStub(self.channel)
        self.connector = self.services.ConnectorStub(self.channel)
        self.models = self.services.ModelServiceStub(self.channel)
        self.metadata = (("client", client_id), ("grpc-server", "127.0.0.1"))
        self.sender = self.pb.Client(role=self.pb.CLIENT, name=client_id, client_id=client_id)
        self.tasks = []
        self.changed = threading.Condition()
        self.stream = None
        self.stream_end = None
        self.over = threading.Event()

    def close(self):
        self.over.set()
        if self.stream:
            self.stream.cancel()
        self.channel.close()

    def attach(self, beats=True):
        self.stream = self.combiner.TaskStream(
            self.pb.ClientAvailableMessage(sender=self.sender), metadata=self.metadata)
        threading.Thread(target=self._listen, args=(self.stream,), daemon=True).start()
        if beats:
            threading.Thread(target=self._beat, daemon=True).start()
        return self

    def _listen(self, stream):
        try:
            for task in stream:
                with self.changed:
                    self.tasks.append(task)
                    self.changed.notify_all()
        except grpc.RpcError as error:
            self.stream_end = error.code()
        with self.changed:
            self.changed.notify_all()

    def _beat(self):
        while not self.over.wait(1):
            try:
                self.connector.SendHeartbeat(self.pb.Heartbeat(sender=self.sender),
                                             metadata=self.metadata)
            except (grpc.RpcError, ValueError):
                return

    def wait_task(self, kind="MODEL_UPDATE", n=1, seconds=30):
        """The n-th task of a kind."""
        kind = self.pb.StatusType.Value(kind)
        until = time.monotonic() + seconds
        with self.changed:
            while True:
                found = [task for task in self.tasks if task.type == kind]
                if len(found) >= n:
                    return found[n - 1]
                if not self.changed.wait(until - time.monotonic()):
                    raise federation.Failed(f"{self.client_id}: no task {n} in {seconds} s")

    def download(self, model_id):
        content, end = b"", None
        for part in self.models.Download(self.pb.ModelRequest(sender=self.sender, id=model_id),
                                         metadata=self.metadata):
            content, end = content + part.data, part.status
        return content if end == self.pb.OK else None

    def upload(self, content, update_id=None, terminate=True):
        update_id = str(uuid.uuid4()) if update_id is None else update_id

        def parts():
            for at in range(0, len(content), 1 << 20):
                yield self.pb.ModelRequest(data=content[at:at + (1 << 20)], id=update_id,
                                           status=self.pb.IN_PROGRESS)
            if terminate:
                yield self.pb.ModelRequest(id=update_id)
        self.models.Upload(parts(), metadata=self.metadata)
        return update_id

    def announce(self, task, update_id, examples=1, meta=None, sender=None, model_id=None,
                 config=None):
        """SendModelUpdate as FEDn's client does it; each part can be another."""
        if meta is None:
            meta = json.dumps({"training_metadata": {"num_examples": examples},
                               "config": task.data if config is None else config})
        return self.combiner.SendModelUpdate(
            self.pb.ModelUpdate(sender=self.sender if sender is None else sender,
                                receiver=self.pb.Client(role=self.pb.COMBINER),
                                model_id=task.model_id if model_id is None else model_id,
                                model_update_id=update_id, meta=meta),
            metadata=self.metadata, timeout=30)

    def answer(self, task, change=0.0, examples=1):
        """An honest answer: the base with `change` added."""
        arrays = load(self.download(task.model_id))
        update_id = self.upload(save([array + numpy.float32(change) for array in arrays]))
        self.announce(task, update_id, examples)
        return update_id


def load(content):
    with numpy.load(io.BytesIO(content)) as archive:
        return [archive[str(i)] for i in range(len(archive.files))]


def save(arrays, compressed=False):
    out = io.BytesIO()
    (numpy.savez_compressed if compressed else numpy.savez)(
        out, **{str(i): array for i, array in enumerate(arrays)})
    return out.getvalue()
