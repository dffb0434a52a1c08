"""One table: every fault between a user's files and a network, through every door it can come by.

What comes out is a refusal of one sentence that names the thing, or the float64 value of a plain forward.
"""

from __future__ import annotations

import doors_adapters
import doors_gguf  # noqa: F401
import doors_settings  # noqa: F401
import doors_tokenizers  # noqa: F401
import doors_weights  # noqa: F401
import pytest
from doors import ROWS, expected, opened, read

from workbench.errors import InputError

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """An adapter that fits a sound base."""
    folder = tmp_path_factory.mktemp("adapter")
    doors_adapters.tuned().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.door}-{row.name}")
def test_every_fault_by_every_door_is_refused_or_right(row, tmp_path, cache, adapter):
    """A base that is refused is refused under an adapter too."""
    place = tmp_path / "model"
    place.mkdir()
    if row.refused:
        source = None
        with pytest.raises(InputError, match=row.refused) as caught:
            source = row.make(place)
            read(opened(source, **row.options))
        sentence = str(caught.value)
        assert "\n" not in sentence and sentence.endswith((".", "?")) and len(sentence) < 600, sentence
        if row.door in ("folder", "gguf"):
            with pytest.raises(InputError, match=row.refused):
                read(opened(f"{source}#{adapter}", **row.options))
    else:
        source, network, tokenizer = row.make(place)
        assert read(opened(source, **row.options)) == pytest.approx(expected(network, tokenizer), abs=2e-5)


def test_the_table_has_each_fault_once():
    names = [(row.door, row.name) for row in ROWS]
    assert len(names) == len(set(names))
