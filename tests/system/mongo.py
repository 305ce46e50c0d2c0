"""FerretDB, a server of MongoDB's protocol, for the tests: started by them, killed, started again."""

import socket
import subprocess

from server import Server

# Short times, so that an outage of some seconds shows what a long one does.
HASTY = "serverSelectionTimeoutMS=1000&connectTimeoutMS=1000&socketTimeoutMS=1500"


class MongoServer(Server):
    def __init__(self):
        super().__init__("ferretdb")

    def start(self):
        """Until it serves."""
        with open(self.folder / "ferretdb.log", "ab") as log:
            self.popen = subprocess.Popen(
                [self.program, "--handler=sqlite", f"--sqlite-url=file:{self.folder}/",
                 f"--state-dir={self.folder}", f"--listen-addr=127.0.0.1:{self.port}",
                 "--telemetry=disable", "--debug-addr=-", "--log-level=error"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait_until(self.is_listening)

    def is_listening(self):
        with socket.create_connection(("127.0.0.1", self.port), 1):
            return True

    def url(self, options=f"?{HASTY}"):
        """Of a new, empty database."""
        return f"mongodb://127.0.0.1:{self.port}/confed_{self.new_place()}{options}"
