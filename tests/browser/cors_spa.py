"""Clicks through the page of the example cors_spa and compares what it shows. Standard library only.

usage: cors_spa.py PATH_OF_THE_EXAMPLE
"""

import pathlib
import sys

from webdriver import browser, running

PICTURE = pathlib.Path("target/browser/cors_spa.png")

# Button, title, status, parts of the challenge (none: there is none), part of the body.
STEPS = [
    ("without", "without a token", "401", ['Bearer realm="cors_spa"'], "unauthorized"),
    ("get", "get a token", "200", [], ""),
    ("claims", "with the token", "200", [], '"sub": "app"'),
    ("admin", "what needs more", "403", ['error="insufficient_scope"', 'scope="admin"'], "forbidden"),
    ("revoke", "revoke the token", "200", [], ""),
    ("claims", "with the token", "401", ['error="invalid_token"'], "unauthorized"),
]


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
    with running([sys.argv[1]], r"Open (\S+)/ in a browser") as page, browser() as opened:
        failures = click_through(opened, page + "/")
    sys.exit(1 if failures else 0)


main()
