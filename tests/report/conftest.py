"""A browser for the pages of the report; the tests are skipped if none is installed."""

import shutil

import pytest


@pytest.fixture(scope="module")
def browser():
    """Chromium without a network."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("Chromium is not installed (`apt install chromium`)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def errors():
    """Errors that the pages of a test have reported; the test fails if there are any."""
    reported = []
    yield reported
    assert reported == []


@pytest.fixture
def new_page(browser, errors):
    """Return a function that opens a page without a network and records its errors."""
    contexts = []

    def open_page(address, **options):
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
