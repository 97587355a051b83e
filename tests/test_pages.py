"""Reports in a browser: an empty console, no request, no horizontal scrolling, and no label runs as a script."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from jobs import CommandServer, Run

pytestmark = pytest.mark.slow

SECONDS = 120
LABELS = ["</script><script>window.hacked=1</script>", "<img src=x onerror='window.hacked=1'>", "long " * 60]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(train: Callable[..., Run], nnmpi: CommandServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages of a run with images and a timeline, of a regression, of hostile labels, and of several runs."""
    directory = tmp_path_factory.mktemp("pages")
    y = np.repeat(LABELS, 50)
    np.savez(directory / "<b>.npz", X=np.random.default_rng(0).normal(size=(150, 3)), y=y)
    timeline = directory / "timeline.json"
    runs = {
        "images": train("--data", "digits", "--epochs", "2", "--timeline", str(timeline)),
        "numbers": train("--data", "diabetes", "--epochs", "3"),
        "hostile": train("--data", str(directory / "<b>.npz"), "--epochs", "2"),
    }
    for name, run in runs.items():
        nnmpi("report", str(run.directory), "--out", str(directory / f"{name}.html"), timeout=SECONDS).succeeded()
    several = [str(run.directory) for run in runs.values()]
    nnmpi("report", *several, "--out", str(directory / "several.html"), timeout=SECONDS).succeeded()
    return {name: directory / f"{name}.html" for name in (*runs, "several")}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["images", "numbers", "hostile", "several"])
def test_a_page_is_quiet_and_fits(browser: Browser, pages: dict[str, Path], name: str, width: int, dark: bool) -> None:
    browser.open(pages[name], width, dark)
    assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.run("return window.hacked === undefined && document.images.length < 50")
    background = browser.run("return getComputedStyle(document.body).backgroundColor")
    lightness = sum(int(part) for part in background.strip("rgb()").split(",")[:3])
    assert (lightness < 150) == dark
    assert browser.requests() == [pages[name].resolve().as_uri()]
    assert browser.messages() == []


def test_the_timeline_zooms(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["images"], 1280)
    frame = "await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));"
    picture = "return document.getElementById('timeline').toDataURL()"
    before = browser.run(f"return (async () => {{ {frame} {picture} }})()")
    press = "document.querySelector('[data-timeline={}]').click();"
    zoomed = browser.run(f"return (async () => {{ {press.format('in')} {frame} {picture} }})()")
    whole = browser.run(f"return (async () => {{ {press.format('all')} {frame} {picture} }})()")
    assert zoomed != before
    assert whole == before
    assert browser.messages() == []


def test_a_table_of_runs_is_sorted_by_its_heads(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["several"], 1280)
    names = "return [...document.querySelectorAll('tbody tr')].map(row => row.cells[0].textContent)"
    press = "document.querySelector('thead button').click();"
    ascending, descending = browser.run(press + names), browser.run(press + names)
    assert ascending == sorted(ascending, key=lambda name: int(re.search(r"\d+", name)[0]))  # run9 before run10
    assert descending == ascending[::-1]
