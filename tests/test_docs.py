"""README and the pages of docs/: their links and names exist, and their commands and programs run."""

import re
from pathlib import Path

import pytest
from jobs import ROOT, Done, needed, run

BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>.+?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the language and the text of each code block that the tests run."""
    matches = BLOCK.finditer(page.read_text())
    return [(m["language"], m["text"]) for m in matches if m["language"] in ("shell", "python") and not m["reason"]]


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name)
def test_code_blocks_run(page: Path, tmp_path: Path) -> None:
    """The blocks of a page run in order, in one directory. Each line of a shell block must succeed."""
    path = f"{needed('openmpi').directory / 'bin'}:/usr/bin:/bin"
    for language, text in blocks(page):
        program = ["bash", "-euo", "pipefail", "-c"] if language == "shell" else ["python", "-c"]
        done: Done = run(["env", *program, text], tmp_path, timeout=120, PATH=path)
        assert done.status == 0, f"{text}\n{done.out}\n{done.err}"


def test_no_block_is_skipped_without_a_reason() -> None:
    languages = {m["language"] for page in PAGES for m in BLOCK.finditer(page.read_text())}
    assert languages <= {"shell", "python", "text"}


def anchors(page: Path) -> set[str]:
    """Return the fragments that GitHub and Sphinx make for the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target, fragment in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text()):
        if "://" not in target:
            linked = page.parent / target if target else page
            assert linked.exists(), target
            assert not fragment or fragment in anchors(linked), f"{target}#{fragment}"


ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
ANSWERS = re.findall(r"^\| (.+\?) \| `(.+?)` \| (.+) \|$", ARCHITECTURE, re.MULTILINE)


def test_ten_questions_are_answered() -> None:
    assert len(ANSWERS) == 10


@pytest.mark.parametrize(("question", "path", "answer"), ANSWERS)
def test_answers_name_what_exists(question: str, path: str, answer: str) -> None:
    for module in re.findall(r"`(nnmpi/[\w/.]*)`", answer):
        assert (ROOT / module).exists()
    text = (ROOT / path).read_text()
    for symbol in re.findall(r"`([\w.]+)`", answer):
        assert symbol in text, f"{symbol} is not in {path}"


def test_the_house_lists_what_is_there() -> None:
    tree = ARCHITECTURE.split("```text\n")[1].split("```")[0]
    listed = set(re.findall(r"^  (\w+)", tree, re.MULTILINE))
    package = [path for path in (ROOT / "nnmpi").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    assert listed <= {path.stem for path in package}
    assert listed >= {path.stem for path in package if path.is_dir()}


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
