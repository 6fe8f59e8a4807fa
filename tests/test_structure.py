"""The order of the packages: imports point down, those for types included, and no two files import each other."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from functools import cache
from pathlib import Path

import dse

SOURCE = Path(dse.__file__).parent

# From the top down; a name may import those after it. Packages of one line do not import each other.
LAYERS = [
    ["__main__"],
    ["cli", "integrations"],
    ["bench", "quickstart"],
    ["serve"],
    ["pipeline", "ranking", "export", "scale"],
    ["recipe"],
    ["evaluation", "index"],
    ["teacher"],
    ["training"],
    ["model"],
    ["pair_scorer"],
    ["pair_encoder"],
    ["pair_inputs"],
    ["modules", "graph_encoder", "model_card"],
    ["saved"],
    ["encoding", "scoring"],
    ["data"],
    ["errors", "files", "loggers", "ranks", "runner"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def name_of(file: Path) -> str:
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports() -> dict[str, set[str]]:
    """Each file's imports of other files of the library, wherever they stand: at the top, in a function, for types."""
    files = {name_of(file): ast.parse(file.read_text(encoding="utf-8")) for file in SOURCE.rglob("*.py")}
    graph: dict[str, set[str]] = {}
    for name, tree in files.items():
        targets = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dse":
                module = str(node.module).removeprefix("dse").removeprefix(".")
                for alias in node.names:
                    inner = f"{module}.{alias.name}".removeprefix(".")
                    targets.add(inner if inner in files else module)
            elif isinstance(node, ast.Import):
                targets |= {a.name.removeprefix("dse.") for a in node.names if a.name.startswith("dse.")}
        graph[name] = targets - {name}
    return graph


def test_every_file_has_a_place() -> None:
    tops = {name.split(".")[0] for name in imports()} - {""}
    assert tops == set(RANK)


def test_imports_point_down() -> None:
    wrong = [
        f"{name} imports {target or 'dse'}"
        for name, targets in imports().items()
        for target in targets
        if name
        and name.split(".")[0] != target.split(".")[0]
        and RANK.get(target.split(".")[0], -1) <= RANK[name.split(".")[0]]
        and not (target == "" and name.split(".")[0] in ("cli", "bench", "quickstart", "__main__"))  # the public names
    ]
    assert not wrong


def test_no_circles() -> None:
    """Within a package too. `import dse` itself imports on demand and is left out."""
    graph = {name: targets - {""} for name, targets in imports().items() if name}
    for name, targets in graph.items():  # a package's own list of names stands for its files, not for itself
        graph[name] = {target for target in targets if not name.startswith(f"{target}.")}
    while free := [name for name, targets in graph.items() if not targets & graph.keys()]:
        for name in free:
            del graph[name]
    assert not graph


def test_each_package_can_be_imported_first() -> None:
    """Each in a process of its own, forked from one that has imported what they build upon."""
    code = """
import os, sys
import sentence_transformers.cross_encoder
for package in sys.argv[1:]:
    if not os.fork():
        __import__(f"dse.{package}")
        os._exit(0)
    if os.wait()[1]:
        sys.exit(f"dse.{package} cannot be imported first")
"""
    packages = sorted(path.parent.name for path in Path(dse.__file__).parent.glob("*/__init__.py"))
    subprocess.run([sys.executable, "-c", code, *packages], check=True, timeout=300)


def test_a_name_exported_by_a_package_is_no_file_of_it() -> None:
    """Such a name would hide the file: `import dse.x.y` would give a function."""
    for init in SOURCE.rglob("__init__.py"):
        names = {file.stem for file in init.parent.glob("*.py")}
        exported = {
            alias.asname or alias.name
            for node in ast.walk(ast.parse(init.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        package = name_of(init)
        assert not exported & names or package in ("", "cli"), f"{package}: {exported & names}"


def test_the_version_is_that_of_the_installed_package() -> None:
    assert dse.__version__ == importlib.metadata.version("dse")
