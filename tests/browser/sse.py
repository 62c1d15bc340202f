"""Opens the page of the example sse, signs out, and compares how its stream ends. Standard library only.

usage: sse.py PATH_OF_THE_EXAMPLE
"""

import pathlib
import re
import sys

from webdriver import browser, running

PICTURE = pathlib.Path("target/browser/sse.png")
# The end must be seen within this time after the click, in milliseconds.
LONGEST = 1000


def sign_out(browser, url):
    state = "document.getElementById('state').innerText"
    events = "[...document.querySelectorAll('#events li')].map(event => event.innerText)"
    browser.open(url)
    browser.wait(f"return {state} === 'open 200' && {events}.length >= 2")
    browser.click("sign-out")
    browser.wait(f"return {state} !== 'open 200'")
    browser.picture(PICTURE)
    ended, seen = browser.run(f"return {state}"), browser.run(f"return {events}")
    found = re.fullmatch(r"ended (\d+) ms after signing out", ended)
    holds = {
        f"the stream ends within {LONGEST} ms: {ended}": bool(found) and int(found[1]) <= LONGEST,
        f"the first event: {seen[0]!r}": seen[0] == "event: news\ndata: something new for paula",
        f"the last event: {seen[-1]!r}": seen[-1] == "event: token_revoked\ndata: the token is revoked",
    }
    for title, is_so in holds.items():
        print("ok  " if is_so else "FAIL", title)
    return list(holds.values()).count(False)


def main():
    with running([sys.argv[1]], r"Open (\S+)/ in a browser") as page, browser() as opened:
        failures = sign_out(opened, page + "/")
    sys.exit(1 if failures else 0)


main()
