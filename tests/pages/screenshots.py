"""`python -m tests.pages.screenshots --home var/demo`: pictures of a home's lookbook for the README and docs.

Only pages of the embedded catalogue are pictured: other data is not ours to show.
"""

import argparse
import sys
from pathlib import Path

from PIL import Image

from tests.pages.browser import CHROMIUM, chromium, served

# name of the picture: page, width, height, dark
SHOTS = {
    "lookbook": ("index.html", 1280, 1130, False),
    "lookbook-people": ("people.html", 1280, 1330, False),
    "lookbook-map": ("recommender.html#alike", 1280, 900, True),
}
COLOURS = 128  # a palette halves the file


def shoot(page, address: str, width: int, height: int, dark: bool, path: Path, whole: bool = False) -> None:
    """One page as a PNG; `whole` for all of it, with every picture loaded."""
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")
    page.goto(address)
    page.evaluate("document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
    page.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
    page.evaluate("document.getElementById(location.hash.slice(1))?.scrollIntoView()")
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, full_page=whole)
    picture = Image.open(path).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.pages.screenshots", description=__doc__)
    parser.add_argument("--home", type=Path, default=Path("var/demo"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--all", action="store_true", help="every page whole, at 390 and 1440 px, light and dark")
    options = parser.parse_args(argv)
    lookbook = options.home / "lookbook"
    if CHROMIUM is None:
        print("error: there is no Chromium here: apt-get install chromium", file=sys.stderr)
        return 1
    if not (lookbook / "index.html").is_file():
        print(f"error: {lookbook} holds no lookbook: run make demo first.", file=sys.stderr)
        return 2
    if "embedded catalogue" not in (lookbook / "index.html").read_text():
        print(
            f"error: {lookbook} is not of the embedded catalogue; its pictures are not ours to show.", file=sys.stderr
        )
        return 2
    with served(lookbook) as address, chromium() as browser:
        page = browser.new_page()
        if options.all:
            for file in sorted(lookbook.glob("*.html")):
                for width, dark in ((390, False), (390, True), (1440, False), (1440, True)):
                    name = f"{file.stem}-{width}-{'dark' if dark else 'light'}.png"
                    shoot(page, f"{address}/{file.name}", width, 900, dark, options.out / name, whole=True)
        else:
            for name, (leaf, width, height, dark) in SHOTS.items():
                shoot(page, f"{address}/{leaf}", width, height, dark, options.out / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
