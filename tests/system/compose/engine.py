"""A Docker engine of the tests' own: Debian's dockerd, started by hand, with its own folders, socket
and bridge; Docker Compose v2 built from its Go module; the base image by debootstrap.

Its images and build caches are kept in ~/.cache/confed/docker, so that only what has changed is
built again. One engine at a time uses that folder.
"""

import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "confed"
BASE = "debian:bookworm-slim"  # the name that the shipped Dockerfile starts from
BRIDGE = "confed-test0"
ADDRESS = "172.31.250.1"  # of this machine on the bridge: where the tests publish ports
# What Debian's own slim image leaves out.
LEFT_OUT = ("dev/*", "usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*", "usr/share/info/*",
            "var/cache/apt/*.bin", "var/cache/apt/archives/*.deb", "var/lib/apt/lists/*")


def skip(why):
    raise unittest.SkipTest(f"no containers here: {why}")


def output(*words, **options):
    """Standard output of a command; what it said on standard error comes with its failure."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True,
                          check=False, **options)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, words))}: {done.returncode}\n"
                             f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
    return done.stdout


def go_part(name):
    done = subprocess.run([ROOT / "scripts/go-part", name], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        skip(f"{name} cannot be had: {done.stderr.strip()[-300:]}")
    return pathlib.Path(done.stdout.strip())


def base_tar():
    """Debian 12, small, as a tar; made once."""
    tar = CACHE / "bookworm-slim.tar"
    if not tar.exists():
        folder = pathlib.Path(tempfile.mkdtemp(prefix="confed-debootstrap-"))
        try:
            done = subprocess.run(["debootstrap", "--variant=minbase", "bookworm", folder],
                                  capture_output=True, text=True, check=False)
            if done.returncode != 0:
                skip(f"debootstrap: {done.stdout.strip()[-300:]}")
            partial = CACHE / f"bookworm-slim.{os.getpid()}"
            output("tar", "-C", folder, *[f"--exclude=./{left}" for left in LEFT_OUT], "-cf",
                   partial, ".")
            partial.rename(tar)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return tar


class Engine:
    """Use as a context manager: the engine runs inside."""

    def __init__(self):
        if os.geteuid() != 0:
            skip("the engine needs root")
        done = subprocess.run([ROOT / "scripts/packages", "compose"], capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            skip(done.stderr.strip()[-300:])
        CACHE.mkdir(parents=True, exist_ok=True)
        self.compose = go_part("compose")
        self.base = base_tar()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="confed-docker-"))
        self.environment = dict(os.environ, DOCKER_HOST=f"unix://{self.folder}/sock",
                                DOCKER_CONFIG=str(self.folder / "config"), NO_COLOR="1")
        self.environment.pop("DOCKER_CONTEXT", None)
        self.daemon = None

    def __enter__(self):
        self.lock = open(CACHE / "docker.lock", "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)
        try:
            output("ip", "link", "add", BRIDGE, "type", "bridge")
            output("ip", "address", "add", f"{ADDRESS}/24", "dev", BRIDGE)
        except AssertionError as error:
            skip(f"no bridge can be made: {str(error)[-200:]}")
        self.log = open(self.folder / "log", "wb")
        self.daemon = subprocess.Popen(
            ["dockerd", "--data-root", CACHE / "docker", "--exec-root", self.folder / "exec",
             "-H", self.environment["DOCKER_HOST"], "-p", self.folder / "pid", "--bridge", BRIDGE,
             "--default-address-pool", "base=172.31.240.0/21,size=26"],
            stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        self._wait()
        if not self._has(BASE):
            output("docker", "import", self.base, BASE, env=self.environment)
        return self

    def __exit__(self, kind, value, trace):
        self.daemon.send_signal(signal.SIGTERM)
        try:
            self.daemon.wait(30)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
        self.log.close()
        subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.lock.close()

    def _wait(self):
        until = time.monotonic() + 60
        while subprocess.run(["docker", "version"], env=self.environment, capture_output=True,
                             check=False).returncode != 0:
            if self.daemon.poll() is not None or time.monotonic() > until:
                tail = (self.folder / "log").read_text()[-600:]
                self.__exit__(None, None, None)
                skip(f"dockerd does not serve: {tail}")
            time.sleep(0.1)

    def _has(self, image):
        return subprocess.run(["docker", "image", "inspect", image], env=self.environment,
                              capture_output=True, check=False).returncode == 0

    def docker(self, *words):
        return output("docker", *words, env=self.environment)

    def image(self, name):
        """What `docker image inspect` says of one."""
        return json.loads(self.docker("image", "inspect", name))[0]


class Machine:
    """One compose project: `files` of compose/ (or a test's own), and its variables."""

    def __init__(self, engine, name, files, **variables):
        self.engine = engine
        self.name = name
        self.files = [str(file) for file in files]
        self.environment = dict(engine.environment, **variables)

    def run(self, *words):
        files = [word for file in self.files for word in ("-f", file)]
        return output(self.engine.compose, "-p", self.name, *files, *words, cwd=ROOT / "compose",
                      env=self.environment)

    def up(self):
        self.run("up", "-d", "--wait")

    def down(self):
        self.run("down", "-v", "--timeout", "15")

    def logs(self):
        return self.run("logs", "--no-color", "--tail", "40")
