"""What the tests of pictures and pages need: matplotlib, node, and Chromium without a network."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def missing(what: str) -> None:
    """Skip a test for what is not installed; where all must be there, as in CI, it fails."""
    reason = f"needs {what}"
    if os.environ.get("CHARLSTM_NEEDS_BROWSER"):
        pytest.fail(reason)
    pytest.skip(reason)


def node() -> str:
    """Return the path of node: the system's, or Playwright's own."""
    if found := shutil.which("node"):
        return found
    try:
        from playwright._impl._driver import compute_driver_executable
    except ImportError:
        missing("node, or pip install playwright")
    return str(compute_driver_executable()[0])


@contextmanager
def chromium() -> Iterator[Any]:
    """Start a headless Chromium."""
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("pip install playwright")
    if executable is None:
        missing("Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Any, path: Path, **options: Any) -> Iterator[Any]:
    """Open a page of the disk, offline; it must ask for nothing else, and complain of nothing."""
    context = browser.new_context(offline=True, **options)
    page = context.new_page()
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
    page.goto(path.as_uri())
    try:
        yield page
        assert complaints == []
        assert [url for url in requests if not url.startswith("blob:")] == [path.as_uri()]
    finally:
        context.close()
