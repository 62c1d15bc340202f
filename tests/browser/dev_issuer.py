"""Logs in to the example cors_spa at the example dev_issuer, calls the API, and revokes the tokens on the page of dev_issuer.
Standard library only.

usage: dev_issuer.py PATH_OF_DEV_ISSUER PATH_OF_CORS_SPA
"""

import json
import os
import pathlib
import shlex
import socket
import subprocess
import sys
import tempfile
import urllib.request

from webdriver import PATIENCE, browser, running

PICTURES = pathlib.Path("target/browser")
WIDTH = 960  # pixels of the pictures

# Format of the token, button of the page, part of its result.
LOGINS = [
    ("opaque", "revoke", "The token is revoked"),
    ("jwt", "event", "/events responded with 202"),
]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def variables(command):
    """Returns the variables that the issuer prints for `eval`."""
    printed = subprocess.run([*command, "--print-env"], capture_output=True, text=True, check=True, timeout=PATIENCE)
    words = shlex.split(printed.stdout)
    return dict(word.split("=", 1) for word in words if word != "export")


def get(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=PATIENCE) as answer:
        return json.load(answer)


class Report:
    def __init__(self):
        self.failures = 0

    def row(self, title, holds, seen):
        self.failures += not holds
        print("ok  " if holds else "FAIL", f"{title:<44}", " ".join(str(seen).split())[:110])


def last_call(opened, count):
    """Waits for this many rows of the page, and returns the last one."""
    opened.wait("return document.querySelectorAll('#calls tr').length >= arguments[0]", count)
    return opened.run("return document.querySelector('#calls tr:last-child').innerText")


def log_in(opened, report, page, issuer, token_format):
    opened.open(page + "/")
    opened.wait("return document.body.dataset.ready === 'yes'")
    opened.click("get")
    opened.wait("return document.getElementById('grant') !== null")
    report.row("the login is a page of the issuer", opened.run("return location.href").startswith(issuer), issuer)
    scripts = opened.run("return document.scripts.length")
    report.row("without scripts", scripts == 0, scripts)
    opened.fill("subject", "dora")
    opened.fill("groups", "engineering, Domain Users")
    opened.fill("more_scopes", "posts:read")
    opened.click_on(f"input[name=format][value={token_format}]")
    opened.picture(PICTURES / "dev_issuer.png")
    opened.click("grant")
    opened.wait("return document.body.dataset.ready === 'yes'")
    seen = last_call(opened, 1)
    report.row("the page has a token", "200" in seen, seen)


def call(opened, report, title, count, expected):
    opened.click("claims")
    seen = last_call(opened, count)
    report.row(title, all(part in seen for part in expected), seen)


def click_through(opened, report, page, issuer):
    for token_format, button, result in LOGINS:
        log_in(opened, report, page, issuer, token_format)
        groups = ['"engineering"', '"Domain Users"']
        call(opened, report, f"the API accepts the {token_format} token", 2, ["200", '"sub": "dora"', *groups])
        spa = opened.new_window()
        opened.width(WIDTH)
        opened.open(issuer + "/")
        tokens = opened.run("return document.querySelectorAll('.token.active').length")
        report.row("the page of the issuer has the token", tokens == 1, tokens)
        opened.picture(PICTURES / "dev_issuer_tokens.png")
        opened.click_on(f".token.active button.{button}")
        opened.wait("return document.getElementById('notice') !== null")
        seen = opened.run("return document.getElementById('notice').innerText")
        report.row(f"the button {button}", result in seen, seen)
        tokens = opened.run("return document.querySelectorAll('.token.active').length")
        report.row("the token is not active any more", tokens == 0, tokens)
        opened.picture(PICTURES / f"dev_issuer_{button}.png")
        opened.switch(spa)
        call(opened, report, "the API rejects it", 3, ["401", 'error="invalid_token"'])
    log_in_cancelled(opened, report, page)


def log_in_cancelled(opened, report, page):
    opened.open(page + "/")
    opened.wait("return document.body.dataset.ready === 'yes'")
    opened.click("get")
    opened.wait("return document.getElementById('cancel') !== null")
    opened.click("cancel")
    opened.wait("return document.body.dataset.ready === 'yes'")
    seen = last_call(opened, 1)
    report.row("a cancelled login", "access_denied" in seen, seen)


def main():
    dev_issuer, cors_spa = sys.argv[1:]
    report = Report()
    with tempfile.TemporaryDirectory() as directory:
        command = [dev_issuer, "--port", str(free_port()), "--directory", directory]
        settings = variables(command)
        issuer = settings["MONOCLOUD_BACKEND_TENANT_DOMAIN"]
        spa = running([cors_spa, "--env"], r"Open (\S+)/ in a browser", {**os.environ, **settings})
        with spa as page, browser() as opened:
            api = get(page + "/settings.json")["api"]
            command += ["--event-receiver", api + "/events"]
            with running(command, r"export MONOCLOUD_BACKEND_(CLIENT_SECRET)="):
                opened.width(WIDTH)
                click_through(opened, report, page, issuer)
    print(f"{report.failures} differ; pictures in {PICTURES}")
    sys.exit(1 if report.failures else 0)


main()
