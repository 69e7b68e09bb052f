"""Take the screenshots of MLflow, the report and the explorer in docs/images.

Run it with `make screenshots` after the pipeline on the digits. It needs Chromium (`apt install
chromium` on Debian). Report and explorer are those of Fashion-MNIST in docs/example. `python
scripts/screenshots.py report explorer` takes only these two.
"""

import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from urllib.parse import quote

from playwright.sync_api import Page, sync_playwright

from latentlab.common.project import Project, find_project
from latentlab.params.load import load_params
from latentlab.tracking.queries import search_runs
from latentlab.tracking.store import connect
from latentlab.tracking.view import runs_page

PORT = 5055
ADDRESS = f"http://127.0.0.1:{PORT}"
SIZE = {"width": 1500, "height": 860}
SECONDS = 90
SETTLED_MS = 2500
"""Milliseconds after which charts and images are drawn."""

HIDE_ASSISTANT = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"


def table(page: Page, project: Project, experiment: str) -> None:
    """Open the table of runs."""
    page.goto(runs_page(ADDRESS, experiment))
    page.get_by_text("train latent").first.wait_for()


def comparison(page: Page, project: Project, experiment: str) -> None:
    """Open the comparison of the two best values of the latent dimension."""
    best = search_runs(
        project,
        "digits",
        "tags.kind = 'compared value' and tags.stage = 'compare@latent_dim'",
        "metrics.`validation/mse` ASC",
        2,
    )
    ids = quote(str([run.id for run in best]).replace("'", '"'))
    page.goto(f'{ADDRESS}/#/compare-runs?runs={ids}&experiments=["{experiment}"]')
    page.get_by_text("Show diff only").first.click()
    page.get_by_text("Show diff only").first.scroll_into_view_if_needed()


def images(page: Page, project: Project, experiment: str) -> None:
    """Open the pictures of two trainings, with the slider at an early epoch."""
    ids = [search_runs(project, "digits", f"tags.stage = '{s}'")[0].id for s in ("train", "vae")]
    page.goto(f"{runs_page(ADDRESS, experiment)}&compareRunsMode=CHART")
    # with a filter in the address, the shared view would be ignored
    search = page.get_by_placeholder("metrics.rmse")
    search.fill(f"attributes.run_id IN ('{ids[0]}', '{ids[1]}')")
    search.press("Enter")
    page.get_by_text("2 matching runs").wait_for()
    card = page.get_by_test_id("experiment-view-compare-runs-card")
    full_screen = "[data-component-id=fullscreen_button_chartcard]"
    card.filter(has_text="Image grid").locator(full_screen).click()


def model(page: Page, project: Project, experiment: str) -> None:
    """Open the page of the classifier."""
    page.goto(f"{ADDRESS}/#/experiments/{experiment}/models?workflowType=machine_learning")
    page.get_by_text("classifier", exact=True).first.click()
    page.get_by_text("About this logged model").wait_for()


def report(page: Page, project: Project, experiment: str) -> None:
    """Open the report."""
    page.goto((project.root / "docs" / "example" / "index.html").as_uri())


def explorer(page: Page, project: Project, experiment: str) -> None:
    """Open the explorer with the pointer over a point between two classes."""
    page.goto((project.root / "docs" / "example" / "explorer.html").as_uri() + "#map=tsne")
    page.wait_for_selector("html[data-ready]", state="attached")
    page.hover("#map")


PAGES: dict[str, Callable[[Page, Project, str], None]] = {
    "mlflow_runs": table,
    "mlflow_comparison": comparison,
    "mlflow_images": images,
    "mlflow_model": model,
    "report": report,
    "explorer": explorer,
}


@contextmanager
def server(project: Project) -> Iterator[None]:
    """Run MLflow's UI and wait until it answers."""
    process = subprocess.Popen(
        ["latentlab", "ui", "--port", str(PORT)], cwd=project.root, stdout=subprocess.DEVNULL
    )
    try:
        wait_for_server()
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def wait_for_server() -> None:
    """Wait until the UI answers."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{ADDRESS}/health", timeout=1):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
    sys.exit(f"mlflow ui did not start within {SECONDS} seconds")


def main() -> None:
    """Write one PNG file for each of `PAGES`, or of those named on the command line."""
    names = sys.argv[1:] or list(PAGES)
    if unknown := set(names) - set(PAGES):
        sys.exit(f"there is no page {', '.join(unknown)}; pages are {', '.join(PAGES)}")
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None:
        sys.exit("Chromium is not installed")
    project = find_project()
    experiment = connect(project, f"latentlab/{load_params(project.params).data.name}")
    uses_mlflow = any(name.startswith("mlflow_") for name in names)
    with server(project) if uses_mlflow else nullcontext(), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"]
        )
        for name in names:
            page = browser.new_page(viewport=SIZE)
            page.add_init_script(HIDE_ASSISTANT)
            page.set_default_timeout(SECONDS * 1000)
            PAGES[name](page, project, experiment)
            page.wait_for_timeout(SETTLED_MS)
            path = project.root / "docs" / "images" / f"{name}.png"
            page.screenshot(path=path)
            print(path)
        browser.close()


if __name__ == "__main__":
    main()
