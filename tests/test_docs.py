from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.files import CHECKOUT
from workbench.runs.record import Run, load_run

PAGES = [CHECKOUT / "README.md", CHECKOUT / "CHANGELOG.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
CODE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def anchors(page: Path) -> set[str]:
    """Anchors of headings, as a code host and the site name them."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_and_code_is_code(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for language, code in CODE.findall(text):
        if language == "python":
            ast.parse(code)
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", CODE.sub("", text))):
        if re.match(r"https?:|mailto:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_contents_of_the_site_and_in_the_readme() -> None:
    contents = (CHECKOUT / "docs/conf.py").read_text(encoding="utf-8")
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    names = [path for path in (CHECKOUT / "docs").iterdir() if path.suffix in (".md", ".ipynb")]
    assert [path.name for path in names if f"(docs/{path.name})" not in readme] == []
    assert [path.stem for path in names if not re.search(rf'["/]{path.stem}"', contents)] == []


def test_examples_are_complete_and_have_findings_only() -> None:
    """Written by `python -m benchmarks.examples`; texts of questions stay out."""
    folder = CHECKOUT / "docs/examples"
    contents = (folder / "README.md").read_text(encoding="utf-8")
    pages = sorted(path for path in folder.glob("*.md") if path.name != "README.md")
    assert len(pages) >= 8 and all(f"({page.name})" in contents for page in pages)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert re.search(r"\*\*(holds|cannot tell|does not hold)\*\*", text) and "workbench run " in text
        assert "Question:" not in text
        assert all((folder / name).stat().st_size < 150_000 for name in re.findall(r"\(([\w.-]+\.svg)\)", text))


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("sphinx"), reason="needs the extra `docs`")
def test_the_site_builds_without_warnings_and_fetches_nothing(tmp_path: Path) -> None:
    for name in ("README.md", "CHANGELOG.md", "docs", "studies", "LICENSE"):
        copy = shutil.copytree if (CHECKOUT / name).is_dir() else shutil.copy
        copy(CHECKOUT / name, tmp_path / name)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-c", "docs", ".", "site"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 50 and (tmp_path / "site/index.html") in pages
    assert (tmp_path / "site/searchindex.js").stat().st_size > 100_000
    fetched = re.compile(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"']?(?:https?:)?//")
    assert [page.name for page in pages if fetched.search(page.read_text(encoding="utf-8"))] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "site/_static").rglob("*.css"))
    assert not re.search(r"url\([\"']?(?:https?:)?//|@import", styles)


@pytest.mark.slow
@pytest.mark.notebook
def test_the_five_minutes_end_in_a_report_with_a_verdict(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("workbench")
    command = [program, "run", "docs/five_minutes.ipynb", "--outputs", str(tmp_path)]
    ran = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = next(tmp_path.glob("docs/five_minutes/*/report.html"))
    run = load_run(report.parent)
    assert len(run.findings) == 1 and {each.name for each in run.tables} >= {"summary", "items", "what_holds"}


def test_the_five_minutes_are_stored_clean_and_compile() -> None:
    cells = json.loads((CHECKOUT / "docs/five_minutes.ipynb").read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert [ast.parse("".join(cell["source"])) for cell in code]


def test_every_test_the_comparison_names_is_there() -> None:
    text = (CHECKOUT / "docs/comparison.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests/)?[\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 15
    for file, test in named:
        path = CHECKOUT / file if file.startswith("tests/") else CHECKOUT / "tests/runs" / file
        assert path.is_file(), file
        assert not test or f"def {test}(" in path.read_text(encoding="utf-8"), test
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(row.split("|")[-2].strip() == "-" or ".py" in row.split("|")[-2] for row in rows[1:])


def test_every_field_of_the_record_is_described() -> None:
    text = (CHECKOUT / "docs/runs.md").read_text(encoding="utf-8")
    table = text.partition("## The record")[2]
    missing = [name for name in Run.model_fields if f"`{name}`" not in table and name not in ("folder", "reused")]
    assert missing == []
