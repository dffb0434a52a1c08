"""`python -m benchmarks.examples OUTPUTS...`: the findings of the newest runs of several models, side by side.

The pages of `docs/examples/` have the findings of each run and the leading figure of the last, and no text of a
question.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

from workbench.runs.listing import readable
from workbench.runs.record import Finding, Run

TARGET = Path("docs/examples")
HEAD = """# Examples

The findings of `quick` on two packaged models, as reports state them: an estimate, its 95% interval, and the verdict.
`quick` asks few questions, so that many claims cannot be decided; `--profile default` asks more.

"""


def main() -> None:
    """Write one page a notebook that ran in every folder, and the table of contents."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.examples", description=__doc__)
    parser.add_argument("outputs", nargs="+", type=Path, help="folders of results, one a model")
    TARGET.mkdir(exist_ok=True)
    newest = [
        {
            run.name: run
            for place in sorted(folder.glob("*/*"))
            for run in [*readable(place)][::-1]
            if run.status == "ok"
        }
        for folder in parser.parse_args().outputs
    ]
    names = [name for name in newest[-1] if all(name in runs for runs in newest)]
    lines = defaultdict[str, list[str]](list)
    for name in sorted(names):
        runs = [each[name] for each in newest]
        file = write(name, runs)
        lines[runs[0].study].append(f"- [{runs[0].title}]({file}): {runs[0].question}")
    contents = [f"## {study.replace('_', ' ').capitalize()}\n\n" + "\n".join(each) for study, each in lines.items()]
    (TARGET / "README.md").write_text(HEAD + "\n\n".join(contents) + "\n", encoding="utf-8")


def write(name: str, runs: list[Run]) -> str:
    """Write the page of a notebook and the leading figure of its last run; return its name."""
    stem = name.replace("/", "-")
    models = [str(run.values["model"]) for run in runs]
    rows = ["| claim | compared with | " + " | ".join(models) + " |", "| --- " * (2 + len(runs)) + "|"]
    claims = [{each.claim: each for each in run.findings} for run in runs]
    for claim, last in claims[-1].items():
        rows.append("| " + " | ".join([claim, last.against, *(cell(each.get(claim)) for each in claims)]) + " |")
    pictures, run = [], runs[-1]
    if run.folder is not None and run.figures:
        figure = run.figures[0]
        drawn = (run.folder / f"figures/{figure.name}.svg").read_text(encoding="utf-8")
        (TARGET / f"{stem}.svg").write_text("\n".join(map(str.rstrip, drawn.splitlines())) + "\n", encoding="utf-8")
        pictures.append(f"![{figure.alt}]({stem}.svg)\n\n*{models[-1]}: {figure.alt}*")
    command = "\n".join(f"    workbench run {name} --profile {runs[0].profile} -p model={model}" for model in models)
    parts = [f"# {runs[-1].title}", f"*{runs[-1].question}*", "\n".join(rows), *pictures, command]
    (TARGET / f"{stem}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return f"{stem}.md"


def cell(finding: Finding | None) -> str:
    """Estimate, interval, n and verdict of a finding in one cell."""
    if finding is None or finding.estimate is None:
        return "not tested"
    return f"{' '.join(finding.numbers)}, n = {finding.counted}: **{finding.verdict}**"


if __name__ == "__main__":
    main()
