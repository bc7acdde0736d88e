"""The pages in headless Chromium: they load, tint, answer keys and write, offline."""

import re
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import extras
import numpy as np
import pytest
from problems import sharpen

import charlstm
from charlstm.report.activations import read_activations
from charlstm.report.inspector import write_inspector_page
from charlstm.report.model_page import write_model_page

MARKUP = '</script><img src=x onerror="document.title=1"><!--&lt;'
HOSTILE = MARKUP + "\u202e\u200f\u05d0\u2028\0\t\ud800"
TEXT = 'def f(x):\n    return "x"  # of it\n' * 3 + HOSTILE + "\n"
TITLE = "<b>&amp;</b></script>"
ROOT = Path(charlstm.__file__).parents[1]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return a browser for all tests here."""
    with extras.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def model() -> charlstm.CharLSTM:
    """Return a model whose predictions are decided."""
    vocabulary = charlstm.Vocabulary.from_text(TEXT)
    model = charlstm.CharLSTM(vocabulary, 12, 2, dtype="float32", seed=1, threads=1)
    sharpen(model, 4)
    return model


@pytest.fixture(scope="module")
def inspector(model: charlstm.CharLSTM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of a text that tries to be markup."""
    path = tmp_path_factory.mktemp("inspector") / "page.html"
    write_inspector_page(model, model.vocabulary.encode(TEXT), path, TITLE)
    return path


@pytest.fixture(scope="module")
def written(model: charlstm.CharLSTM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of the model."""
    path = tmp_path_factory.mktemp("model") / "model.html"
    write_model_page(model, path, TITLE)
    return path


def colours(page: Any) -> list[str]:
    """Return the tints of all characters."""
    return list(
        page.eval_on_selector_all("#text span", "all => all.map(s => s.style.backgroundColor)")
    )


def test_scripts() -> None:
    """The unit tests of the shared script, by node."""
    done = subprocess.run(
        [extras.node(), "--test", "tests/javascript"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"pass 1\d\b", done.stdout)


def test_picking_a_cell_changes_the_tint(browser: Any, inspector: Path) -> None:
    with extras.opened(browser, inspector) as page:
        assert page.text_content("#title") == TITLE
        assert len(set(colours(page))) > 3  # of surprise
        seen = [colours(page)]
        for place in ("0", "1"):
            page.click(f"button[data-cell='{place}']")
            seen.append(colours(page))
        for by in ("rank", "1", "3"):
            page.select_option("#tint", by)
            seen.append(colours(page))
        page.select_option("#tint", "state")
        page.select_option("#layer", "1")
        page.fill("#cell", "7")
        assert "Layer 1, cell 7" in page.text_content("#about")
        seen.append(colours(page))
        assert len({tuple(tints) for tints in seen}) == len(seen)


def test_predictions_are_the_models(
    browser: Any, inspector: Path, model: charlstm.CharLSTM
) -> None:
    """On hover, and where the keys go."""
    found = read_activations(model, model.vocabulary.encode(TEXT))

    def check(page: Any, n: int) -> None:
        shown = page.eval_on_selector_all(
            ".prediction .number", "all => all.map(s => parseFloat(s.textContent))"
        )
        np.testing.assert_allclose(shown, 100 * found.probabilities[n], atol=0.06)
        bits = f"{found.losses[n] / np.log(2):.1f}"
        assert abs(float(page.text_content("#surprise").split()[0]) - float(bits)) < 0.1

    with extras.opened(browser, inspector) as page:
        page.hover("#text span[data-n='12']")
        check(page, 12)
        page.focus("#text")
        page.keyboard.press("ArrowRight")
        check(page, 13)
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowLeft")
        check(page, 12)


def test_selections(browser: Any, inspector: Path) -> None:
    """By keys, by dragging, and by the button; each names cells, which can be picked."""
    with extras.opened(browser, inspector) as page:
        page.focus("#text")
        for _ in range(4):
            page.keyboard.press("Shift+ArrowRight")
        assert "5 characters." in page.text_content("#selection")
        page.keyboard.press("Escape")
        assert page.locator(".selected").count() == 0
        page.hover("#text span[data-n='2']")
        page.mouse.down()
        page.hover("#text span[data-n='8']")
        page.mouse.up()
        assert page.locator(".selected").count() == 7
        page.focus("#anchor")
        page.keyboard.press("Enter")
        page.click("#text span[data-n='4']")
        assert page.locator(".selected").count() == 3
        page.click("#selection table button >> nth=0")
        assert page.input_value("#tint") == "state"


def test_the_keyboard_reaches_everything(browser: Any, inspector: Path, written: Path) -> None:
    for path in (inspector, written):
        with extras.opened(browser, path) as page:
            wanted = page.locator("button:enabled, input, select, textarea, #text").count()
            reached = set()
            for _ in range(2 * wanted + 10):
                page.keyboard.press("Tab")
                reached.add(
                    page.evaluate(
                        """() => [...document.querySelectorAll(
                        "button:enabled, input, select, textarea, #text"
                        )].indexOf(document.activeElement)"""
                    )
                )
            assert len(reached - {-1}) == wanted


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_never_markup(browser: Any, inspector: Path, written: Path, theme: str) -> None:
    with extras.opened(browser, inspector, color_scheme=theme) as page:
        assert page.locator("#text span").count() == len(TEXT)
        assert page.locator("img").count() == 0
        text = page.text_content("#text")
        assert MARKUP in text
        numbers = "\u2039202E\u203a\u2039200F\u203a\u05d0\u20392028\u203a\u20390000\u203a\u21e5"
        assert numbers + "\u2039D800\u203a" in text
        assert page.title() == "charlstm inspect"
    with extras.opened(browser, written, color_scheme=theme) as page:
        page.fill("#beginning", '<img src=x onerror="document.title=1">\u0416')
        page.fill("#length", "300")
        page.click("#write")
        wait(page)
        assert "does not know \u0416" in page.text_content("#status")
        assert page.locator("img").count() == 0
        assert page.title() == "charlstm model"


def test_scripts_make_no_markup_of_text() -> None:
    """None of the ways to do it occurs in them."""
    for script in (ROOT / "charlstm" / "report" / "assets").glob("*.mjs"):
        ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function"
        assert not re.search(ways, script.read_text("utf-8")), script


def test_pages_are_one_file(inspector: Path, written: Path) -> None:
    """What comes from a corpus cannot end an element, and nothing is loaded."""
    for path in (inspector, written):
        page = path.read_text("utf-8")
        assert page.isascii() or not {*"\u202e\u200f\u2028\0"} & {*page}
        assert page.count("</script>") == 2
        assert "\\u003cb\\u003e" in page and "<img" not in page and "<!--" not in page
        assert not re.search(r'(src|href)="', page) and "{{" not in page
        assert "import {" not in page


@pytest.mark.parametrize("button, beginning", [("svg", b"<svg "), ("png", b"\x89PNG")])
def test_pictures(
    browser: Any, inspector: Path, tmp_path: Path, button: str, beginning: bytes
) -> None:
    with extras.opened(browser, inspector) as page:
        with page.expect_download() as download:
            page.click(f"#save-{button}")
        assert download.value.suggested_filename == f"charlstm.{button}"
        download.value.save_as(tmp_path / "picture")
    picture = (tmp_path / "picture").read_bytes()
    assert picture.startswith(beginning)
    if button == "svg":
        root = ElementTree.fromstring(picture)
        assert len(root.findall("{*}rect")) > len(TEXT)
        assert not root.findall("{*}script") and not root.findall("{*}image")


def wait(page: Any) -> str:
    """Return what the model wrote, once it is done."""
    for _ in range(600):
        if "done" in page.text_content("#status"):
            return str(page.text_content("#text"))
        time.sleep(0.05)
    raise AssertionError(page.text_content("#status"))


def test_the_same_seed_writes_the_same(browser: Any, written: Path) -> None:
    texts = []
    with extras.opened(browser, written) as page:
        page.fill("#length", "200")
        for seed, temperature, top_p in [(1, 1, 1), (1, 1, 1), (2, 1, 1), (1, 0, 1), (2, 0, 1),
                                         (1, 1, 0.5)]:  # fmt: skip
            page.fill("#seed", str(seed))
            page.fill("#temperature", str(temperature))
            page.fill("#top-p", str(top_p))
            page.click("#write")
            texts.append(wait(page))
            assert page.locator("#text span").count() == 200
            assert page.get_attribute("#trace", "points").count(",") == 200
    assert texts[0] == texts[1] != texts[2]
    assert texts[3] == texts[4] != texts[0]
    assert texts[5] != texts[0]


def test_stop(browser: Any, written: Path) -> None:
    with extras.opened(browser, written) as page:
        page.fill("#length", "20000")
        page.click("#write")
        page.click("#stop")
        assert "stopped" in page.text_content("#status")
        count = page.locator("#text span").count()
        time.sleep(0.2)
        assert page.locator("#text span").count() == count < 20000


def test_logits_are_the_models(browser: Any, written: Path, model: charlstm.CharLSTM) -> None:
    text = TEXT.replace("\ud800", "")
    expected = model.forward(model.vocabulary.encode(text)[:, None])[0][:, 0]
    with extras.opened(browser, written) as page:
        found = page.evaluate("text => charlstm.logits(text)", text)
    assert np.abs(np.array(found) - expected).max() <= 1e-3
    assert np.abs(expected).max() > 1


def test_bytes(browser: Any, tmp_path: Path) -> None:
    """A character of several bytes is shown whole, when the last of them is written."""
    vocabulary = charlstm.Corpus.from_bytes("\u00e9!".encode()).vocabulary
    model = charlstm.CharLSTM(vocabulary, 5, threads=1)
    write_model_page(model, tmp_path / "model.html")
    with extras.opened(browser, tmp_path / "model.html") as page:
        page.fill("#beginning", "\u00e9\u00e9!")
        page.fill("#length", "1")
        page.click("#write")
        assert wait(page).startswith("\u00e9\u00e9!")


def test_size_and_speed_of_a_usual_model(browser: Any, tmp_path: Path) -> None:
    """1 x 256 units and 100 symbols: under 1.5 MB, and at least 200 characters/s."""
    vocabulary = charlstm.Vocabulary([chr(code) for code in range(33, 133)])
    path = tmp_path / "model.html"
    write_model_page(charlstm.CharLSTM(vocabulary, 256, threads=1), path)
    assert path.stat().st_size < 1.5e6
    with extras.opened(browser, path) as page:
        page.fill("#length", "400")
        page.click("#write")
        wait(page)
        found = re.search(r"(\d+) a second", page.text_content("#status"))
    assert found and int(found[1]) >= 200
