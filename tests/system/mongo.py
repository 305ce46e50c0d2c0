"""FerretDB, a server of MongoDB's protocol, for the tests: started by them, killed, started again."""

import subprocess

from server import Server

# Short times, so that an outage of some seconds shows what a long one does.
HASTY = "serverSelectionTimeoutMS=1000&connectTimeoutMS=1000&socketTimeoutMS=1500"


class MongoServer(Server):
    def __init__(self):
        super().__init__("ferretdb")

    def start(self):
        """It serves some tenths of a second later: the store waits for it."""
        with open(self.folder / "ferretdb.log", "ab") as log:
            self.popen = subprocess.Popen(
                [self.program, "--handler=sqlite", f"--sqlite-url=file:{self.folder}/",
                 f"--state-dir={self.folder}", f"--listen-addr=127.0.0.1:{self.port}",
                 "--telemetry=disable", "--debug-addr=-", "--log-level=error"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def url(self, options=HASTY):
        """Of a new, empty database."""
        return f"mongodb://127.0.0.1:{self.port}/confed_{self.new_place()}?{options}"
