"""Opens every page of the rendered guide in a wide window, where rustdoc gives the text its full width of 960 pixels. No table and
no block of code may be wider than that, and each image must be shown. In a narrow window, no column of a table may be hidden.
Then it searches for words of readers.

usage: guide.py FOLDER_OF_THE_DOCUMENTATION
"""

import pathlib
import sys
import time
import urllib.parse

from webdriver import browser

WINDOW = 1400
NARROW = 960
TEXT = 960  # rustdoc's max-width, with its padding
FEWEST_PAGES = 15
LONGEST_SEARCH = 10  # seconds

# Returns the elements that are not visible as a whole, each with the number of hidden pixels.
HIDDEN = """
const page = document.documentElement;
const right = page.clientWidth;
const hidden = [];
for (const element of document.querySelectorAll("main table, main pre, main p, main li, main h1, main h2, main h3")) {
    let box = element;
    let pixels = Math.ceil(element.getBoundingClientRect().right) - right;
    for (; box && box !== page; box = box.parentElement) {
        if (getComputedStyle(box).overflowX !== "visible") pixels = Math.max(pixels, box.scrollWidth - box.clientWidth);
        if (box.tagName === "MAIN") break;
    }
    if (pixels > 1) hidden.push([element.tagName.toLowerCase(), pixels, element.innerText.trim().slice(0, 60)]);
}
if (page.scrollWidth > right) hidden.push(["page", page.scrollWidth - right, document.title]);
return [hidden, document.querySelectorAll("main table, main pre").length,
    document.querySelector("#main-content").parentElement.clientWidth];
"""


# Words of readers, each with the page that the search must list.
WORDS = {
    "audit log": "recipes",
    "auth0": "servers",
    "cognito": "servers",
    "cors spa": "cors",
    "docker": "deployment",
    "entra": "servers",
    "express": "migration",
    "grafana": "observability",
    "keycloak": "servers",
    "kubernetes": "deployment",
    "laptop": "local_development",
    "logout": "revocation",
    "nginx": "proxies",
    "okta": "servers",
    "openapi": "scopes_and_groups",
    "prometheus": "observability",
    "rate limit": "recipes",
    "readiness": "observability",
    "replicas": "redis",
    "revocation": "revocation",
    "runbook": "on_call",
    "swagger": "recipes",
    "tracing": "observability",
    "websocket": "cors",
}

# Whether the search lists this page.
LISTED = """
const links = document.querySelectorAll(".search-results a");
return Array.from(links).some(link => link.href.includes(arguments[0]));
"""

# Returns the images that are not shown.
BROKEN = """
return Array.from(document.querySelectorAll("main img")).filter(image => !image.naturalWidth).map(image => image.alt);
"""


def search(opened, guide):
    """Searches for each word. Returns the number of words whose page is not found."""
    failures = 0
    for word, page in WORDS.items():
        opened.open((guide / "index.html").as_uri() + "?search=" + urllib.parse.quote(word))
        end = time.monotonic() + LONGEST_SEARCH
        while not (is_found := opened.run(LISTED, f"/guide/{page}/")) and time.monotonic() < end:
            time.sleep(0.05)
        failures += not is_found
        print("ok  " if is_found else "FAIL", f"search for {word!r}: {'' if is_found else 'no '}{page}")
    return failures


def main():
    guide = pathlib.Path(sys.argv[1]).resolve() / "actix_protect_api"
    pages = [guide / "index.html", guide / "guide/index.html", *sorted(guide.glob("guide/*/index.html"))]
    if len(pages) < FEWEST_PAGES or not all(page.is_file() for page in pages):
        raise SystemExit(f"the guide is not at {guide}: cargo doc --no-deps --all-features")

    failures = 0
    with browser() as opened:
        opened.width(WINDOW)
        for page in pages:
            opened.open(page.as_uri())
            opened.wait("return document.readyState === 'complete' && document.fonts.status === 'loaded'")
            hidden, count, width = opened.run(HIDDEN)
            if width > TEXT:
                raise SystemExit(f"the text is {width} pixels wide, more than {TEXT}")
            failures += bool(hidden)
            name = page.parent.relative_to(guide.parent)
            broken = opened.run(BROKEN)
            failures += bool(broken)
            for text in broken:
                print(f"FAIL {name}: an image is not shown: {text}")
            print("FAIL" if hidden else "ok  ", f"{name}: {count} tables and blocks of code")
            for tag, pixels, text in hidden:
                print(f"       {tag}: {pixels} pixels are hidden: {' '.join(text.split())}")
            opened.width(NARROW)
            for tag, pixels, text in opened.run(HIDDEN)[0]:
                if tag == "table":
                    failures += 1
                    print(f"FAIL {name}: {pixels} pixels of a table are hidden in a narrow window: {' '.join(text.split())}")
            opened.width(WINDOW)
        failures += search(opened, guide)
    print(f"{len(pages)} pages, {len(WORDS)} words, {failures} failures")
    sys.exit(1 if failures else 0)


main()
