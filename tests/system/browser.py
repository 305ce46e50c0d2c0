"""A headless Chromium for the tests (Debian's, with its driver and Selenium)."""

import base64
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse

import federation

MISSING = None
try:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.common.exceptions import JavascriptException, StaleElementReferenceException
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        MISSING = "chromium and chromium-driver are not installed (scripts/packages browser)"
except ImportError:
    MISSING = "python3-selenium is not installed (scripts/packages browser)"

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage", "--hide-scrollbars", "--no-default-browser-check")


def alone():
    """Go on in a network of our own, with nothing but loopback: a browser drops what it does when
    some other test changes the machine's network, and reaches nobody else for certain. Where that
    is not allowed, stay."""
    if os.environ.get("CONFED_ALONE") != "1" and shutil.which("unshare"):
        way = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
        if subprocess.run([*way, "true"], stderr=subprocess.DEVNULL).returncode == 0:
            os.environ["CONFED_ALONE"] = "1"
            os.execvp(way[0], [*way, sys.executable, "-B", *sys.argv])
    if os.environ.get("CONFED_ALONE") == "1":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            SIOCSIFFLAGS, IFF_UP = 0x8914, 1
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


class Browser:
    """One browser with a new profile. `origin` is where it may go. Use as a context manager."""

    def __init__(self, origin, size=(1400, 1000)):
        self.origin = origin
        self.profile = tempfile.mkdtemp(prefix="confed-browser-")
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for flag in (*FLAGS, f"--user-data-dir={self.profile}", f"--window-size={size[0]},{size[1]}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        try:
            self.driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")),
                                           options=options)
        except Exception:
            shutil.rmtree(self.profile, ignore_errors=True)
            raise
        self.driver.set_page_load_timeout(60)
        self.driver.set_script_timeout(60)
        self.console, self.requests = [], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Exception):
            self.driver.quit()
        shutil.rmtree(self.profile, ignore_errors=True)

    def go(self, path):
        self.driver.get(self.origin + path)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def find(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector="main"):
        return self.run("return [...document.querySelectorAll(arguments[0])]"
                        ".map((n) => n.innerText).join('\\n')", selector)

    def wait(self, condition, seconds=30, what="the page"):
        """The first true value of condition()."""
        until = time.monotonic() + seconds
        while True:
            with contextlib.suppress(JavascriptException, StaleElementReferenceException):
                value = condition()
                if value:
                    return value
            if time.monotonic() > until:
                self.collect()
                raise federation.Failed(f"{what} did not come in {seconds} s; the page says:\n"
                                        f"{self.text('body')[:2500]}\n{self.console}")
            time.sleep(0.05)

    def wait_text(self, text, selector="main", seconds=30):
        self.wait(lambda: text in self.text(selector), seconds, repr(text))

    def device(self, width, height, scale=1, mobile=False):
        """The window's inside as on another device."""
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile})

    def scheme(self, name):
        """prefers-color-scheme: "light" or "dark"."""
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": name}]})

    def shoot(self, path):
        """The whole page as a picture."""
        width, height, whole = self.run(
            "return [innerWidth, innerHeight, document.documentElement.scrollHeight]")
        self.device(width, max(height, whole))
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {})
        self.device(width, height)
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def collect(self):
        """What the console said, and which addresses were asked, since the last time; both are
        added to `console` and `requests`."""
        for entry in self.driver.get_log("browser"):
            if entry["level"] in ("SEVERE", "WARNING"):
                self.console.append(f"{entry['level']} {entry['message']}")
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])

    def strangers(self):
        """Addresses asked that are not the server's."""
        self.collect()
        home = urllib.parse.urlsplit(self.origin).netloc
        return sorted({url for url in self.requests
                       if urllib.parse.urlsplit(url).scheme not in ("data", "blob", "about")
                       and urllib.parse.urlsplit(url).netloc != home
                       and not url.startswith("chrome")})
