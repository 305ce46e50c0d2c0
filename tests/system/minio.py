"""MinIO, an S3 server, for the tests: started by them, killed, started again."""

import os
import subprocess
import urllib.request

from server import Server

ACCESS_KEY = "confed-test"
SECRET_KEY = "a secret of the tests"


class MinioServer(Server):
    def __init__(self):
        super().__init__("minio")

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        """Until it serves."""
        with open(self.folder.parent / f"{self.folder.name}.log", "ab") as log:
            self.popen = subprocess.Popen(
                [self.program, "server", "--quiet", "--address", f"127.0.0.1:{self.port}",
                 self.folder], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={"HOME": str(self.folder), "MINIO_ROOT_USER": ACCESS_KEY,
                     "MINIO_ROOT_PASSWORD": SECRET_KEY, "MINIO_UPDATE": "off",
                     "MINIO_BROWSER": "off"})
        os.unlink(log.name)
        self.wait_until(self.is_ready)

    def is_ready(self):
        with urllib.request.urlopen(f"{self.endpoint}/minio/health/ready", timeout=2):
            return True

    def url(self):
        """A new, empty place for blobs, in a bucket that the first writer makes."""
        return f"s3://confed-test/run-{self.new_place()}"

    def put(self, url, key, data):
        """An object beside the reducer's, by curl."""
        subprocess.run(["curl", "--silent", "--show-error", "--fail", "--aws-sigv4",
                        "aws:amz:us-east-1:s3", "--user", f"{ACCESS_KEY}:{SECRET_KEY}",
                        "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "--request",
                        "PUT", "--data-binary", "@-",
                        f"{self.endpoint}/{url.removeprefix('s3://')}/{key}"],
                       input=data, check=True, stdout=subprocess.DEVNULL)

    def environment(self):
        """The reducer's settings that go with it."""
        return {"FED_REDUCER_BLOB_ENDPOINT": self.endpoint,
                "FED_REDUCER_BLOB_ACCESS_KEY": ACCESS_KEY,
                "FED_REDUCER_BLOB_SECRET_KEY": SECRET_KEY}
