"""Opens every page of the rendered guide in a wide window, where rustdoc gives the text its full width of 960 pixels. No table and
no block of code may be wider than that.

usage: guide.py FOLDER_OF_THE_DOCUMENTATION
"""

import pathlib
import sys

from webdriver import browser

WINDOW = 1400
TEXT = 960  # rustdoc's max-width, with its padding
FEWEST_PAGES = 15

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
            print("FAIL" if hidden else "ok  ", f"{name}: {count} tables and blocks of code")
            for tag, pixels, text in hidden:
                print(f"       {tag}: {pixels} pixels are hidden: {' '.join(text.split())}")
    print(f"{len(pages)} pages, {failures} are not fully visible")
    sys.exit(1 if failures else 0)


main()
