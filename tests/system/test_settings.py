"""The example settings: each file is loaded by its daemon and names every setting there is."""
import os
import subprocess
import tempfile
import unittest

BIN = os.environ["CONFED_BIN"]
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def keys(text):
    return [line.split(":")[0] for line in text.splitlines() if line and line[0] not in "# "]


def dump(daemon, *arguments):
    return subprocess.run([f"{BIN}/confed-{daemon}", *arguments, "--dump-config"],
                          capture_output=True, text=True, timeout=30, check=False)


class Settings(unittest.TestCase):
    def check(self, daemon):
        path = f"{ROOT}/settings/{daemon}.yaml"
        loaded = dump(daemon, "--config", path)
        self.assertEqual((loaded.returncode, loaded.stderr), (0, ""))
        with open(path, encoding="utf-8") as file:
            text = file.read()
        self.assertEqual(keys(text), keys(dump(daemon).stdout))
        again = dump(daemon, "--config", "/dev/null")
        self.assertNotEqual(loaded.stdout, again.stdout, "the file has no effect")

    def test_reducer(self):
        self.check("reducer")

    def test_combiner(self):
        self.check("combiner")

    def test_client(self):
        self.check("client")

    def test_compose(self):
        """The containers' files: complete too, with their secrets where compose puts them."""
        with tempfile.TemporaryDirectory(prefix="confed-test-settings-") as folder:
            for name in ("mongo_password", "s3_secret_key"):
                with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
                    file.write("secret")
            for daemon in ("reducer", "combiner", "client"):
                with open(f"{ROOT}/compose/settings/{daemon}.yaml", encoding="utf-8") as file:
                    text = file.read()
                with open(f"{folder}/{daemon}.yaml", "w", encoding="utf-8") as file:
                    file.write(text.replace("/run/secrets", folder))
                loaded = dump(daemon, "--config", f"{folder}/{daemon}.yaml")
                self.assertEqual((loaded.returncode, loaded.stderr), (0, ""))
                secrets = ("store_password_file", "blob_secret_key_file")
                self.assertEqual([key for key in keys(text) if key not in secrets],
                                 keys(dump(daemon).stdout))

    def test_bad_values_are_usage(self):
        folder = tempfile.mkdtemp(prefix="confed-test-settings-")
        self.addCleanup(os.rmdir, folder)  # and it is still empty
        for daemon, arguments in (("reducer", ["--http", "nowhere"]),
                                  ("combiner", ["--listen", "nowhere"]),
                                  ("client", ["--shard", "3/2", "--data", "/nowhere"])):
            ended = subprocess.run([f"{BIN}/confed-{daemon}", *arguments], cwd=folder,
                                   capture_output=True, text=True, timeout=30, check=False)
            self.assertEqual(ended.returncode, 2, ended.stderr)


if __name__ == "__main__":
    unittest.main()
