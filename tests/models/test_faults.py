"""Every fault between a user's files and a network gives an error of one sentence, or the right numbers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import faults_adapters
import faults_gguf  # noqa: F401
import faults_settings  # noqa: F401
import faults_tokenizers  # noqa: F401
import faults_weights  # noqa: F401
import pytest
from faults import FAULTS, expected, opened, read

from workbench.errors import InputError
from workbench.models import proof

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """An adapter that fits a sound base."""
    folder = tmp_path_factory.mktemp("adapter")
    faults_adapters.tuned().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.source}-{fault.name}")
def test_every_fault_is_refused_or_gives_the_right_numbers(fault, tmp_path, cache, adapter):
    """A base that is refused is refused under an adapter too."""
    place = tmp_path / "model"
    place.mkdir()
    if fault.refused:
        source = None
        with pytest.raises(InputError, match=fault.refused) as caught:
            source = fault.make(place)
            read(opened(source, **fault.options))
        sentence = str(caught.value)
        assert "\n" not in sentence and sentence.endswith((".", "?")) and len(sentence) < 600, sentence
        if fault.source in ("folder", "gguf"):
            with pytest.raises(InputError, match=fault.refused):
                read(opened(f"{source}#{adapter}", **fault.options))
    else:
        source, *right = fault.make(place)
        assert read(opened(source, **fault.options)) == pytest.approx(expected(*right), abs=2e-5)


def test_the_table_has_each_fault_once():
    names = [(fault.source, fault.name) for fault in FAULTS]
    assert len(names) == len(set(names))


def test_a_fault_names_the_file_with_the_weight():
    stored = {"head": SimpleNamespace(file=Path("one")), "model.body": SimpleNamespace(file=Path("two"))}
    assert [proof._file_of(key, stored) for key in ("head", "body", "model.body", "tail")] == [
        "one",
        "two",
        "two",
        "one",
    ]
    assert proof._file_of("head", {}) == "the files"
