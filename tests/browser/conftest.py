from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.reports.html import find_browser

sys.path.insert(0, str(Path(__file__).parent))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks these tests, and skips them with the reason where there is no browser."""
    here = Path(__file__).parent
    for item in items:
        if here in Path(item.fspath).parents:
            item.add_marker(pytest.mark.browser)
            if find_browser() is None:
                item.add_marker(pytest.mark.skip(reason="needs Chromium or Chrome: apt-get install chromium"))


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """One headless tab for all tests."""
    from chromium import Page

    opened = Page(tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()
