from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from toys import write_study

from workbench.files import CHECKOUT, root
from workbench.runs import execute, plan
from workbench.runs.kernel import before_saving, tidy, without_bars

BAR = "reading:  40%|████      | 4/10 [00:01<00:02,  2.10it/s]"


@pytest.mark.parametrize(
    ("printed", "kept"),
    [
        ("plain\ntext\n", "plain\ntext\n"),
        (f"\r{BAR}\r{BAR.replace('4', '5')}\n", ""),
        (f"before\n\r{BAR}\r{BAR}\nafter", "before\nafter"),
        ("one\rtwo\n", "two\n"),
        ("100% sure | really |\n", "100% sure | really |\n"),
        ("windows\r\nlines\r\n", "windows\nlines\n"),
    ],
)
def test_bars_go_and_other_text_stays(printed: str, kept: str) -> None:
    assert without_bars(printed) == kept


def test_widgets_bars_and_paths_of_this_machine_go() -> None:
    places = [str(root()), sys.prefix, str(Path.home())]
    outputs = [
        new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {"model_id": "x"}}),
        new_output("stream", name="stderr", text=f"\r{BAR}\n"),
        new_output("stream", name="stdout", text=f"saved {root()}/outputs and {Path.home()}/x"),
        new_output("error", ename="E", evalue="", traceback=[f"File {sys.prefix}/lib/a.py"]),
        new_output("display_data", data={"text/html": f"<b>{root()}/a</b>", "text/plain": "x"}),
    ]
    notebook = new_notebook(cells=[new_code_cell("1", outputs=outputs)], metadata={"widgets": {"state": {}}})
    model = {"type": "notebook", "content": dict(notebook)}
    before_saving(model)
    tidy(notebook)
    for tidied in (notebook, model["content"]):
        text = nbformat.writes(tidied)
        assert len(tidied.cells[0].outputs) == 3 and "widget" not in text and "it/s" not in text
        assert [place for place in places if len(place) > 3 and place in text] == []
        assert "./outputs and ~/x" in text


@pytest.mark.notebook
def test_an_executed_notebook_carries_no_debris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    cells = [
        "import sys, os, time\nfrom tqdm.auto import tqdm\nfor _ in tqdm(range(20)): time.sleep(0.01)",
        "from tqdm import tqdm as plain\nfor _ in plain(range(20)): time.sleep(0.01)\nprint('kept', os.getcwd())",
        "import json; json.loads('{')",
    ]
    write_study(tmp_path, {"bars": cells})
    monkeypatch.chdir(tmp_path)
    run = execute(plan("toy")[0])
    assert run.folder is not None and run.status == "failed"
    text = (run.folder / "notebook.ipynb").read_text(encoding="utf-8")
    assert "widget" not in text and "it/s" not in text and "kept ." in text
    assert str(tmp_path) not in text and sys.prefix not in text and str(CHECKOUT) not in text
