"""Clicks through the page of the example cors_spa and compares what it shows. Standard library only.

usage: cors_spa.py PATH_OF_THE_EXAMPLE
"""

import base64
import contextlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

PICTURE = pathlib.Path("target/browser/cors_spa.png")
PATIENCE = 30  # seconds that anything may take
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

# Button, title, status, parts of the challenge (none: there is none), part of the body.
STEPS = [
    ("without", "without a token", "401", ['Bearer realm="cors_spa"'], "unauthorized"),
    ("get", "get a token", "200", [], ""),
    ("claims", "with the token", "200", [], '"sub": "app"'),
    ("admin", "what needs more", "403", ['error="insufficient_scope"', 'scope="admin"'], "forbidden"),
    ("revoke", "revoke the token", "200", [], ""),
    ("claims", "with the token", "401", ['error="invalid_token"'], "unauthorized"),
]


@contextlib.contextmanager
def running(command, pattern):
    """Starts a program, waits for a line that matches, gives the match, ends the program."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
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
    """As much of WebDriver as is needed."""

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

    def click(self, name):
        locator = {"using": "css selector", "value": f"#{name}"}
        (element,) = self.send("POST", "/element", locator).values()
        self.send("POST", f"/element/{element}/click", {})

    def picture(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.send("GET", "/screenshot")))

    def close(self):
        self.send("DELETE", "")


def click_through(browser, url):
    browser.open(url)
    browser.wait("return document.body.dataset.ready === 'yes'")
    failures = 0
    for number, (button, *expected) in enumerate(STEPS, start=1):
        browser.click(button)
        browser.wait("return document.querySelectorAll('#calls tr').length >= arguments[0]", number)
        seen = browser.run("return [...document.querySelectorAll('#calls tr')].at(-1).innerText.split('\\t')")
        seen = [cell.strip() for cell in seen]
        title, status, challenge, body = expected
        holds = (
            seen[:2] == [title, status]
            and all(part in seen[2] for part in challenge)
            and bool(challenge) == bool(seen[2])
            and body in seen[3]
        )
        failures += not holds
        print("ok  " if holds else "FAIL", f"{title:<20} {status:<4}", " ".join(" ".join(seen[1:]).split())[:120])
    browser.picture(PICTURE)
    print(f"{len(STEPS)} clicks, {failures} differ; picture at {PICTURE}")
    return failures


def main():
    with (
        running([sys.argv[1]], r"Open (\S+)/ in a browser") as page,
        running(["chromedriver", "--port=0"], r"successfully on port (\d+)") as port,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        browser = Browser(f"http://127.0.0.1:{port}", profile)
        try:
            failures = click_through(browser, page + "/")
        finally:
            browser.close()
    sys.exit(1 if failures else 0)


main()
