"""Every public function and class of the package is used: by a notebook, a command, or a documented example."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.S)
ORDERED = {
    "peer review": ("peer_matrix",),
    "Bradley-Terry and cycles": ("bradley_terry", "general_preference"),
    "outcome rates and abstention F": ("outcome_rates", "abstention_prf"),
    "parsed probabilities": ("parsed_probability",),
    "calibration by split points": ("spc_correct",),
    "valid outputs and expected yield": ("valid_outputs", "expected_yield"),
    "faithfulness to a persona": ("apc",),
    "properties behind preferences": ("preference_regression",),
    "D2O": ("d2o_loss",),
    "f-DPG": ("f_dpg_gradient",),
    "AlignDistil": ("align_distil",),
    "resampling": ("resampling_acceptance",),
    "attribute decoding": ("drift_logits",),
    "best of n": ("best_of_n", "best_of_n_gain"),
    "watermarks": ("green_list_probabilities", "green_list_z", "n_to_recover"),
    "several preferences at once": ("min_norm_weights",),
    "IPIP": ("load_ipip",),
}
"""Methods that wait for their notebook: the work that orders each takes it off this list."""


class Package:
    """Definitions of the package at the top of its modules, and what the code of each of them names."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[str, str], ast.stmt] = {}
        self.by_name: dict[str, set[tuple[str, str]]] = {}
        self.imports: dict[str, dict[str, str]] = {}
        paths = {p: ".".join(p.relative_to(ROOT).with_suffix("").parts) for p in (ROOT / "workbench").rglob("*.py")}
        self.modules = {path: name.removesuffix(".__init__") for path, name in paths.items()}
        self.roots: set[tuple[str, str]] = set()
        for path, module in self.modules.items():
            tree = ast.parse(path.read_text("utf-8"))
            self.imports[module] = imports(tree)
            for node in tree.body:
                targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
                names = [target.id for target in targets if isinstance(target, ast.Name)]
                for name in [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else names:
                    self.nodes[module, name] = node
                    self.by_name.setdefault(name, set()).add((module, name))
        for path, module in self.modules.items():
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(
                    node, ast.Expr
                ):  # what a module does when it is imported: an engine registered by its name
                    self.roots |= self.named(node, module, self.imports[module])
        for (module, name), node in self.nodes.items():
            decorators = map(ast.unparse, getattr(node, "decorator_list", []))
            if name == "main" or any(".command(" in text or ".callback(" in text for text in decorators):
                self.roots.add((module, name))

    def resolve(self, module: str, name: str, depth: int = 5) -> set[tuple[str, str]]:
        """What a name stands for in a module: its own definition, or the one it is imported from."""
        if (module, name) in self.nodes:
            return {(module, name)}
        source = self.imports.get(module, {}).get(name, "").rpartition(".")
        return self.resolve(source[0], source[2], depth - 1) if source[0] and depth else set()

    def named(self, tree: ast.AST, module: str, known: dict[str, str]) -> set[tuple[str, str]]:
        """Definitions that a piece of code names: as names, as attributes of a module, or in strings that hold code."""
        found: set[tuple[str, str]] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                home, _, name = known.get(node.id, "").rpartition(".")
                found |= self.resolve(module, node.id) | (self.resolve(home, name) if home else set())
            elif isinstance(node, ast.Attribute):
                base = node.value
                while isinstance(base, ast.Attribute):
                    base = base.value
                if isinstance(base, ast.Name) and known.get(base.id, "").startswith("workbench"):
                    found |= self.by_name.get(node.attr, set())
            elif isinstance(node, ast.Constant) and re.search(r"workbench\.|^[\w.]+:\w+$", str(node.value)):
                found |= {each for word in re.findall(r"\w+", str(node.value)) for each in self.by_name.get(word, ())}
        return found


def imports(tree: ast.AST) -> dict[str, str]:
    """Names that imports bring, and what each is called in full."""
    found = {"wb": "workbench", "workbench": "workbench"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {each.asname or each.name.partition(".")[0]: each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    return found


def examples() -> list[str]:
    """The code of the notebooks, and of the examples in the documentation: fenced as Python, or indented."""
    found = []
    for path in (ROOT / "notebooks").rglob("*.ipynb"):
        cells = [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
        found.append("\n".join("".join(cell["source"]) for cell in cells))
    for path in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]:
        text = path.read_text("utf-8")
        blocks = [code for language, code in FENCE.findall(text) if language == "python"]
        blocks += map(textwrap.dedent, re.findall(r"(?:^    .*\n|^\n)+", FENCE.sub("", text), re.M))
        found.append("\n".join(block for block in blocks if is_python(block)))
    return found


def is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


@cache
def unused() -> set[tuple[str, str]]:
    package = Package()
    todo, live = set(package.roots), set()
    for code in examples():
        tree = ast.parse(code)
        todo |= package.named(tree, "", imports(tree))
    for path in (ROOT / "workbench").glob("*/sources.yaml"):  # adapters, as `room.module:function`
        for module, name in re.findall(r": ([\w.]+):(\w+)$", path.read_text("utf-8"), re.M):
            todo |= package.resolve(f"workbench.{module}", name)
    while todo:
        live.add(one := todo.pop())
        todo |= package.named(package.nodes[one], one[0], package.imports[one[0]]) - live
    named = {key for key, node in package.nodes.items() if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return {(module, name) for module, name in named - live if not name.startswith("_")}


def test_every_public_name_is_used_or_ordered() -> None:
    ordered = {name for names in ORDERED.values() for name in names}
    assert sorted(f"{module}.{name}" for module, name in unused() if name not in ordered) == []


def test_what_is_used_is_not_on_the_list_of_what_waits() -> None:
    waiting = {name for _, name in unused()}
    assert sorted(name for names in ORDERED.values() for name in names if name not in waiting) == []
