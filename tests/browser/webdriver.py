"""A browser for the tests in this folder, by WebDriver. Standard library only."""

import base64
import contextlib
import json
import re
import subprocess
import tempfile
import threading
import time
import urllib.request

PATIENCE = 30  # seconds for each step
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1100,1100",
]


@contextlib.contextmanager
def running(command, pattern, env=None):
    """Starts a program, waits for a line that matches, yields the match, ends the program."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    watchdog = threading.Timer(PATIENCE, child.kill)
    watchdog.start()
    try:
        found = next((m for m in (re.search(pattern, line) for line in child.stdout) if m), None)
        if not found:
            raise SystemExit(f"{command[0]} ended, or was silent for {PATIENCE} s")
        watchdog.cancel()
        yield found.group(1)
    finally:
        watchdog.cancel()
        child.terminate()
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()


class Browser:
    """The commands of WebDriver that these tests need."""

    def __init__(self, driver, profile):
        self.base = driver
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        options = {"args": [*FLAGS, f"--user-data-dir={profile}"]}
        capabilities = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
        session = self.send("POST", "/session", {"capabilities": capabilities})
        self.base = f"{driver}/session/{session['sessionId']}"

    def send(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, method=method)
        with self.opener.open(request, timeout=PATIENCE) as answer:
            return json.load(answer)["value"]

    def width(self, pixels):
        """Sets the width of the page, whatever the window's is."""
        metrics = {"width": pixels, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        command = {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics}
        self.send("POST", "/goog/cdp/execute", command)

    def open(self, url):
        self.send("POST", "/url", {"url": url})

    def run(self, script, *arguments):
        return self.send("POST", "/execute/sync", {"script": script, "args": arguments})

    def wait(self, script, *arguments):
        end = time.monotonic() + PATIENCE
        while not self.run(script, *arguments):
            if time.monotonic() > end:
                raise SystemExit(f"waited in vain for: {script}")
            time.sleep(0.05)

    def find(self, selector):
        locator = {"using": "css selector", "value": selector}
        (element,) = self.send("POST", "/element", locator).values()
        return element

    def click(self, name):
        self.click_on(f"#{name}")

    def click_on(self, selector):
        self.send("POST", f"/element/{self.find(selector)}/click", {})

    def fill(self, name, text):
        """Replaces the text of a field."""
        element = self.find(f"#{name}")
        self.send("POST", f"/element/{element}/clear", {})
        self.send("POST", f"/element/{element}/value", {"text": text})

    def new_window(self):
        """Opens a window, and returns the name of the one before."""
        before = self.send("GET", "/window")
        self.switch(self.send("POST", "/window/new", {"type": "tab"})["handle"])
        return before

    def switch(self, window):
        self.send("POST", "/window", {"handle": window})

    def picture(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.send("GET", "/screenshot")))

    def close(self):
        self.send("DELETE", "")


@contextlib.contextmanager
def browser():
    """Starts chromedriver and a browser with an empty profile, and ends both."""
    with (
        running(["chromedriver", "--port=0"], r"successfully on port (\d+)") as port,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        opened = Browser(f"http://127.0.0.1:{port}", profile)
        try:
            yield opened
        finally:
            opened.close()
