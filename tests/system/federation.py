"""A federation of real daemons for the tests: start, stop, kill, ask.

Every process listens on a free port of the loopback interface, lives in one temporary folder and
ends with the test. The live state comes by the REST API's long poll; a daemon's ready file is
looked for until the process ends or the time is over.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("CONFED_BIN", ROOT / "build/dev/bin"))
RELEASE_BIN = pathlib.Path(os.environ.get("CONFED_RELEASE_BIN", ROOT / "build/release/bin"))
COMPLAINTS = ("AddressSanitizer", "ThreadSanitizer", "LeakSanitizer", "runtime error:", "Assertion")
SANITIZER_STATUS = (66, 23)  # the sanitizers' own exit statuses: TSan, LSan
SKIPPED = 77  # ctest's SKIP_RETURN_CODE


class Failed(AssertionError):
    """Something did not happen in time; the text carries the ends of the logs."""


class Away(OSError):
    """The reducer is up, and waits for its store."""


class Process:
    """One daemon. Its standard error is kept; `ready` is its ready file's object."""

    def __init__(self, federation, name, argv, fault=None, pass_fds=()):
        self.name = name
        self.argv = [str(word) for word in argv]
        self.ready_path = federation.folder / f"{name}.{time.monotonic_ns()}.ready"
        self.log_path = federation.folder / f"{name}.log"
        environment = dict(os.environ, GRPC_DNS_RESOLVER="native")
        environment.pop("CONFED_FAULT", None)
        if fault:
            environment["CONFED_FAULT"] = fault
        self.log = open(self.log_path, "ab")
        self.popen = subprocess.Popen(
            self.argv + ["--ready-file", str(self.ready_path)],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            env=environment, cwd=federation.folder, pass_fds=pass_fds)
        self.ended = threading.Event()
        threading.Thread(target=self._reap, daemon=True).start()

    def _reap(self):
        self.popen.wait()
        self.ended.set()

    def wait_ready(self, seconds=30):
        """The ready file's object. Fails when the process ends first, or the time is over."""
        until = time.monotonic() + seconds
        while not self.ready_path.exists():
            if self.ended.wait(0.02):
                raise Failed(f"{self.name} ended with {self.popen.returncode}:\n{self.tail()}")
            if time.monotonic() > until:
                raise Failed(f"{self.name} was not ready in {seconds} s:\n{self.tail()}")
        return json.loads(self.ready_path.read_text())

    def wait_end(self, seconds=30):
        """The exit status (negative: the signal)."""
        if not self.ended.wait(seconds):
            raise Failed(f"{self.name} did not end in {seconds} s:\n{self.tail()}")
        return self.popen.returncode

    def kill(self):
        """kill -9."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.popen.pid, signal.SIGKILL)
        self.wait_end()

    def stop(self, seconds=30):
        """SIGTERM, and the exit status."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.popen.pid, signal.SIGTERM)
        return self.wait_end(seconds)

    def wait_stopped(self, seconds=30):
        """Until it stands at its fault point (":stop")."""
        until = time.monotonic() + seconds
        stat = pathlib.Path(f"/proc/{self.popen.pid}/stat")
        while not self.ended.is_set() and stat.read_text().rpartition(")")[2].split()[0] != "T":
            if time.monotonic() > until:
                raise Failed(f"{self.name} did not stop in {seconds} s:\n{self.tail()}")
            time.sleep(0.01)

    def go_on(self):
        os.kill(self.popen.pid, signal.SIGCONT)

    def is_running(self):
        return not self.ended.is_set()

    def text(self):
        return self.log_path.read_text(errors="replace")

    def wait_log(self, pattern, seconds=40):
        """Until a line of it matches."""
        until = time.monotonic() + seconds
        while not re.search(pattern, self.text()):
            if time.monotonic() > until:
                raise Failed(f"{self.name} does not say '{pattern}':\n{self.tail()}")
            time.sleep(0.1)

    def tail(self, lines=40):
        return "\n".join(self.text().splitlines()[-lines:])

    def rss_bytes(self):
        """Resident memory, and its peak."""
        found = {}
        for line in pathlib.Path(f"/proc/{self.popen.pid}/status").read_text().splitlines():
            key, _, value = line.partition(":")
            if key in ("VmRSS", "VmHWM"):
                found[key] = int(value.split()[0]) * 1024
        return found["VmRSS"], found["VmHWM"]


class Federation:
    """Starts daemons in one folder. Use as a context manager."""

    def __init__(self, binaries=BIN, reducer_options=(), store=None, blob=None):
        """`store`, `blob`: the URLs of servers; without, files in the folder."""
        self.bin = pathlib.Path(binaries)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="confed-test-"))
        self.reducer_options = list(reducer_options)
        self.store = store or f"sqlite:{self.folder}/reducer.db"
        self.blob = blob or f"dir:{self.folder}/blobs"
        self.processes = []
        self.reducer = None
        self.combiners = {}
        self.clients = {}
        self.http = None
        self.rpc = None
        self.sockets = {}

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        bad = []
        for process in reversed(self.processes):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.popen.pid, signal.SIGTERM)
        for process in reversed(self.processes):
            if not process.ended.wait(20):
                bad.append(f"{process.name} did not end on SIGTERM:\n{process.tail(15)}")
                process.kill()
            elif process.popen.returncode in SANITIZER_STATUS:
                bad.append(f"{process.name} ended with {process.popen.returncode}")
            process.log.close()
        bad += self._complaints()
        for listener in self.sockets.values():
            listener.close()
        if kind is not None or bad:
            for process in self.processes:
                sys.stderr.write(f"--- {process.name}: {' '.join(process.argv)}\n{process.tail(25)}\n")
        shutil.rmtree(self.folder, ignore_errors=True)
        if bad and kind is None:
            raise Failed("\n".join(bad))

    def _complaints(self):
        """What the sanitizers and assertions said, in any log of the folder: those of our own
        processes and those of the daemons that `confed up` started."""
        found = []
        for path in sorted(self.folder.rglob("*.log")):
            text = path.read_text(errors="replace")
            for word in COMPLAINTS:
                if word in text:
                    found.append(f"{path.relative_to(self.folder)}: {word}\n"
                                 f"{text[max(0, text.index(word) - 200):][:6000]}")
                    break
        return found

    # -- processes ---------------------------------------------------------------------------

    def _start(self, name, argv, fault=None, pass_fds=()):
        process = Process(self, name, argv, fault, pass_fds)
        self.processes.append(process)
        return process

    def start_reducer(self, fault=None, options=(), wait=True):
        """The reducer on its former ports, if it had any."""
        argv = [self.bin / "confed-reducer", "--store", self.store, "--blob", self.blob,
                "--http", self.http or "127.0.0.1:0", "--rpc", self.rpc or "127.0.0.1:0",
                *self.reducer_options, *options]
        self.reducer = self._start("reducer", argv, fault)
        if wait:
            ready = self.reducer.wait_ready()
            self.http, self.rpc = ready["http"], ready["rpc"]
        return self.reducer

    def reducer_ended(self, status, seconds=60):
        """Wait for its end, with this status, as it should be: another one may be started."""
        found = self.reducer.wait_end(seconds)
        if found != status:
            raise Failed(f"the reducer ended with {found}, not {status}:\n{self.reducer.tail()}")
        self.processes.remove(self.reducer)

    def stop_reducer(self):
        self.reducer.stop()
        self.reducer_ended(0)

    def start_combiner(self, name="combiner", fault=None, options=(), wait=True, keep_socket=True):
        """A combiner. Its listening socket is ours and stays open over its crash."""
        argv = [self.bin / "confed-combiner", "--name", name, "--reducer", self.rpc,
                "--spool", self.folder / f"spool-{name}", *options]
        fds = ()
        if keep_socket:
            if name not in self.sockets:
                listener = socket.socket()
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("127.0.0.1", 0))
                listener.listen(128)
                self.sockets[name] = listener
            listener = self.sockets[name]
            port = listener.getsockname()[1]
            fds = (listener.fileno(),)
            argv += ["--listen", f"fd:{listener.fileno()}", "--advertise", f"127.0.0.1:{port}"]
        else:
            argv += ["--listen", "127.0.0.1:0"]
        process = self._start(name, argv, fault, fds)
        self.combiners[name] = process
        if wait:
            process.address = process.wait_ready()["advertise"]
        return process

    def start_client(self, name, fault=None, options=(), wait=True, trainer="echo"):
        argv = [self.bin / "confed-client", "--api-url", f"http://{self.http}", "--id", name,
                "--name", name, "--state", self.folder / f"state-{name}", "--trainer", trainer,
                *options]
        process = self._start(name, argv, fault)
        self.clients[name] = process
        if wait:
            process.wait_ready()
        return process

    def start_clients(self, n, options=(), trainer="echo", prefix="client"):
        started = [self.start_client(f"{prefix}-{i:02d}", options=options, wait=False,
                                     trainer=trainer) for i in range(n)]
        for process in started:
            process.wait_ready(60)
        return started

    # -- asking ------------------------------------------------------------------------------

    def rest(self, method, path, body=None, headers=None, timeout=40):
        """(status, object or bytes). An HTTP error is an answer, not an exception."""
        data = None
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            data = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        elif body is not None:
            data = body
        request = urllib.request.Request(f"http://{self.http}{path}", data=data, method=method,
                                         headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                status, content = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, content = error.code, error.read()
        try:
            return status, json.loads(content)
        except ValueError:
            return status, content

    def live(self, after=0, wait_ms=0):
        status, answer = self.rest("GET", f"/api/v1/live?after={after}&wait_ms={wait_ms}")
        if status == 503:
            raise Away(answer)
        if status != 200:
            raise Failed(f"live: {status} {answer}")
        return answer

    def wait_live(self, condition, seconds=60, what="the live state"):
        """The first live state that fulfils condition(live); by long poll. The reducer may be
        away meanwhile."""
        until = time.monotonic() + seconds
        seq, answer = 0, None
        while time.monotonic() < until:
            try:
                answer = self.live(seq, 2000)
            except OSError:
                time.sleep(0.05)  # the reducer is being restarted: nothing to wait on
                continue
            seq = answer["seq"]
            if condition(answer):
                return answer
        raise Failed(f"{what} did not come in {seconds} s; last: {json.dumps(answer)[:2000]}")

    def wait_live_status(self, wanted, seconds=30):
        """Until the live state is answered with this status; the reducer may not yet listen."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                if self.rest("GET", "/api/v1/live")[0] == wanted:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise Failed(f"live did not answer {wanted} in {seconds} s")

    def wait_clients(self, n, seconds=60):
        return self.wait_live(
            lambda live: sum(c["status"] == "online" for c in live["clients"]) >= n, seconds,
            f"{n} attached clients")

    def cli(self, *words, expect=0, timeout=120):
        """Run `confed`; its standard output. expect None: any exit status, (status, out, err)."""
        done = subprocess.run([str(self.bin / "confed"), *[str(word) for word in words]],
                              env=dict(os.environ, FED_API_URL=f"http://{self.http}", NO_COLOR="1"),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout, cwd=self.folder)
        if expect is None:
            return done.returncode, done.stdout, done.stderr
        if done.returncode != expect:
            raise Failed(f"confed {' '.join(map(str, words))}: {done.returncode}, not {expect}\n"
                         f"{done.stdout}\n{done.stderr}")
        return done.stdout

    def upload_model(self, path, name="seed"):
        return json.loads(self.cli("--json", "model", "upload", path, "--name", name))["model_id"]

    def ask_session(self, model_id, task_settings=None, name=None, **config):
        """Ask for a session by FEDn's path, not started yet; (status, row or answer)."""
        body = {"session_config": dict(session_config(model_id), **config)}
        if task_settings is not None:
            body["task_settings"] = task_settings
        if name is not None:
            body["name"] = name
        return self.rest("POST", "/api/v1/sessions/", body)

    def start_session(self, model_id, rounds=1, client_ids=None, **config):
        """Create and start a session by FEDn's paths; its id."""
        status, row = self.ask_session(model_id, **config)
        if status != 201:
            raise Failed(f"session: {status} {row}")
        body = {"session_id": row["session_id"], "rounds": rounds}
        if client_ids is not None:
            body["client_ids"] = client_ids
        status, answer = self.rest("POST", "/api/v1/sessions/start", body)
        if status != 200:
            raise Failed(f"start: {status} {answer}")
        return row["session_id"]

    def wait_session(self, session_id, seconds=120):
        """The session's row once it has ended."""
        def is_over(live):
            session = live["session"]
            return session and session["session_id"] == session_id and \
                session["status"] in ("Finished", "Terminated") and live["state"] == "idle"
        self.wait_live(is_over, seconds, f"the end of session {session_id}")
        return self.rest("GET", f"/api/v1/sessions/{session_id}")[1]

    def rounds(self, session_id):
        """Its rounds, oldest first."""
        status, answer = self.rest("GET", f"/api/v1/rounds/?session_id={session_id}",
                                   headers={"X-Sort-Order": "asc"})
        if status != 200:
            raise Failed(f"rounds: {status} {answer}")
        return answer["result"]


def session_config(model_id):
    """As FEDn's client library sends it, for a model."""
    return {"aggregator": "fedavg", "round_timeout": 60, "buffer_size": -1,
            "delete_models_storage": True, "clients_required": 1, "validate": True,
            "helper_type": "numpyhelper", "model_id": model_id}


def random_model(path, seed=1, shapes=((32, 16), (16,), (16, 4), (4,))):
    """A small model file for echo clients, by NumPy."""
    import numpy
    generator = numpy.random.default_rng(seed)
    numpy.savez(path, **{str(i): generator.normal(size=shape).astype(numpy.float32)
                         for i, shape in enumerate(shapes)})
    return path


def main():
    """unittest's main, with skips that ctest sees: all tests skipped is exit status 77."""
    program = unittest.main(module="__main__", exit=False, verbosity=2)
    result = program.result
    for test, why in result.skipped:
        print(f"SKIP {test}: {why}")
    if not result.wasSuccessful():
        sys.exit(1)
    if result.testsRun == 0 or len(result.skipped) == result.testsRun:
        sys.exit(SKIPPED)
