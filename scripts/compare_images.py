"""Write a page that shows images side by side where two folders differ.

    python3 scripts/compare_images.py BEFORE AFTER PAGE

Prints one line that says how many images differ. The page contains the images, so that one file is
enough. It needs only the standard library.
"""

import base64
import html
import sys
from pathlib import Path

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Images before and after</title>
<style>
  body {{ font-family: sans-serif; margin: 2em }}
  td, th {{ padding: 1em; vertical-align: top; text-align: left }}
  img {{ max-width: 45vw }}
</style>
<h1>Images before and after</h1>
<p>{summary}</p>
<table>{rows}</table>
"""


def main() -> None:
    """Compare the images of two folders and write the page."""
    before, after, page = (Path(argument) for argument in sys.argv[1:])
    earlier, later = _images(before), _images(after)
    names = sorted(earlier.keys() | later.keys())
    different = [name for name in names if earlier.get(name) != later.get(name)]
    summary = f"{len(different)} of {len(names)} images differ"
    if not earlier:  # such as the first run of CI
        summary = f"{len(later)} images, and none to compare with"
    rows = [_row(name, earlier.get(name), later.get(name)) for name in different]
    page.write_text(PAGE.format(summary=summary, rows="".join(rows)), encoding="utf-8")
    print(summary)


def _images(folder: Path) -> dict[str, bytes]:
    """Return the contents of all PNG files below a folder by their relative paths."""
    paths = folder.rglob("*.png")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _row(name: str, before: bytes | None, after: bytes | None) -> str:
    cells = f"<td>{_cell(before)}</td><td>{_cell(after)}</td>"
    return f"<tr><th colspan='2'>{html.escape(name)}</th></tr><tr>{cells}</tr>\n"


def _cell(image: bytes | None) -> str:
    if image is None:
        return "no image"
    return f"<img src='data:image/png;base64,{base64.b64encode(image).decode()}'>"


if __name__ == "__main__":
    main()
