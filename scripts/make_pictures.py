"""Make the README's pictures: train two models on Python source, plot them, open their pages.

    python scripts/make_pictures.py                      into data/pictures/, in some minutes
    python scripts/make_pictures.py --all --out pictures light and dark, wide and narrow, to look at

It needs the extras plot and browser, and Chromium. Models that were trained before are kept.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

import charlstm
from charlstm.report.model_page import write_model_page

ROOT = Path(__file__).resolve().parents[1]
TEXT = ROOT / "charlstm" / "cli" / "console.py"  # Python that no model here was trained on
SIZES = (64, 256)  # hidden units of the models that are compared
CAP = 4_000_000  # bytes of the corpus
WIDE, NARROW = (1000, 640), (390, 800)


@click.command()
@click.option("--out", default=ROOT / "data" / "pictures", type=click.Path(path_type=Path))
@click.option("--work", default=ROOT / "runs" / "pictures", type=click.Path(path_type=Path),
              help="Where corpus, runs and pages are kept.")  # fmt: skip
@click.option("--steps", default=3000, show_default=True, help="Of training.")
@click.option("--threads", type=int, help="Of training.")
@click.option("--all", "all_windows", is_flag=True, help="Each page in four windows.")
def main(out: Path, work: Path, steps: int, threads: int | None, all_windows: bool) -> None:
    """Make the README's pictures."""
    out.mkdir(parents=True, exist_ok=True)
    runs = [_train(work, size, steps, threads) for size in SIZES]
    charlstm_("plot", *runs, "-o", out / "loss.png")
    inspector, model = work / "inspector.html", work / "model.html"
    charlstm_("inspect", runs[-1], TEXT, "-o", inspector, "--unknown", "skip")
    write_model_page(charlstm.load(runs[-1]), model, "a model of Python's standard library")
    windows = {"": (WIDE, "light")}
    if all_windows:
        windows = {
            f"-{theme}-{size[0]}": (size, theme)
            for theme in ("light", "dark")
            for size in (WIDE, NARROW)
        }
    with _browser() as browser:
        for name, (size, theme) in windows.items():
            with _page(browser, inspector, size, theme) as page:
                page.click("button[data-cell='0']")
                page.hover("#text span[data-n='250']")
                page.screenshot(path=out / f"inspector{name}.png")
            with _page(browser, model, size, theme) as page:
                page.fill("#beginning", "def read_file(path):\n")
                page.fill("#length", "600")
                page.click("#write")
                page.get_by_text("done").wait_for()
                page.screenshot(path=out / f"model{name}.png")


def charlstm_(*arguments: str | Path) -> None:
    """Run a command of charlstm's."""
    subprocess.run([sys.executable, "-m", "charlstm", *map(str, arguments)], check=True)


def _train(work: Path, size: int, steps: int, threads: int | None) -> Path:
    """Return the run of a model of so many units; it is trained if it is not there."""
    corpus, run = work / "python-stdlib.txt", work / f"{size}-units"
    if not corpus.exists():
        script = str(ROOT / "scripts" / "get_corpus.py")
        options = ["--cap", str(CAP), "--out", str(work)]
        subprocess.run([sys.executable, script, "python-stdlib", *options], check=True)
    if not (run / "last.safetensors").exists():
        limit = ["--threads", str(threads)] if threads else []
        charlstm_(
            "train", corpus, "--out", run, "--hidden-size", str(size), "--steps", str(steps),
            "--sample-every", "0", *limit,
        )  # fmt: skip
    return run


@contextmanager
def _browser() -> Iterator[Any]:
    """Start a headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@contextmanager
def _page(browser: Any, path: Path, size: tuple[int, int], theme: str) -> Iterator[Any]:
    """Open a page in a window of its own."""
    viewport = {"width": size[0], "height": size[1]}
    context = browser.new_context(viewport=viewport, color_scheme=theme, offline=True)
    page = context.new_page()
    page.goto(path.resolve().as_uri())
    yield page
    context.close()


if __name__ == "__main__":
    main()
