"""Writing the page of the explorer: one file without references to others."""

from pathlib import Path
from typing import Any

from latentlab.common.files import write_text

ExplorerContent = dict[str, Any]
"""What `load_content` returns: values that JSON can hold."""

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = [
    "runtime.js",
    "page.js",
    "state.js",
    "space.js",
    "map.js",
    "map-panel.js",
    "point-panel.js",
    "gif.js",
    "interpolation-panel.js",
    "drawing-pad.js",
    "own-image-panel.js",
    "lists-panel.js",
    "generator-panel.js",
    "app.js",
]
"""Scripts in the order in which they run, after `weights.js` and `network.js`."""


def write_explorer(path: Path, content: ExplorerContent) -> None:
    """Write the explorer with this content as a self-contained HTML file."""
    import json

    from jinja2 import Environment, FileSystemLoader

    # in a script element, only the character "<" can end or change the script
    data = json.dumps(content, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    environment = Environment(
        loader=FileSystemLoader(ASSETS), autoescape=True, keep_trailing_newline=True
    )
    page = environment.get_template("explorer.html")
    write_text(path, page.render(data=data, dataset=content["dataset"]["name"], scripts=SCRIPTS))
