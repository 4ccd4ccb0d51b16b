"""The house keeps its shape: sizes, no circles. ``lint-imports`` holds the layers."""

import ast
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

ROOT = Path(__file__).parents[1]
PACKAGES = ("trainables", "search_spaces", "study", "analysis")
FILES = sorted(path for name in (*PACKAGES, "benchmarks") for path in (ROOT / name).rglob("*.py"))
LONGEST_FILE = 350
LONGEST_FUNCTION = 50
README_BYTES = 16_384


def test_no_product_file_is_too_long() -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in FILES
    }
    assert {path: count for path, count in lines.items() if count > LONGEST_FILE} == {}


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    product = (path for path in FILES if path.relative_to(ROOT).parts[0] != "benchmarks")
    for path in product:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    doubles = {name: found for name, found in places.items() if len(found) > 1}
    # The same idea in two libraries, of which a program has one.
    callbacks = doubles.pop("NoiseCallback")
    assert {str(Path(path).parent) for path in callbacks} == {"trainables/callbacks"}
    assert doubles == {}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """The functions of a file, each with its length in lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def test_no_function_is_too_long() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {name}, {lines} lines"
        for path in FILES
        for name, lines in functions(path)
        if lines > LONGEST_FUNCTION
    ]
    assert long == []


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach one another."""
    names = sorted(imports)
    index = {name: number for number, name in enumerate(names)}
    arrows = [(index[a], index[b]) for a in names for b in imports[a]]
    rows, columns = zip(*arrows, strict=True)
    graph = coo_matrix(([1] * len(arrows), (rows, columns)), shape=(len(names), len(names)))
    _, labels = connected_components(graph, connection="strong")
    groups: dict[int, list[str]] = {}
    for name, label in zip(names, labels, strict=True):
        groups.setdefault(int(label), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def test_no_circle_of_imports() -> None:
    # Imports inside functions count; those for type checkers alone do not.
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    imports = {name: set(graph.find_modules_directly_imported_by(name)) for name in graph.modules}
    assert circles(imports) == []
    packages = {name: set() for name in PACKAGES}
    for name, targets in imports.items():
        own = name.split(".")[0]
        packages[own] |= {target.split(".")[0] for target in targets} - {own}
    assert circles(packages) == []


def test_a_circle_would_be_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


@pytest.mark.parametrize("lines", [LONGEST_FUNCTION, LONGEST_FUNCTION + 1])
def test_a_functions_length_is_counted(tmp_path: Path, lines: int) -> None:
    file = tmp_path / "long.py"
    file.write_text("def f():\n" + "    pass\n" * (lines - 1))
    assert dict(functions(file)) == {"f": lines}


def test_the_readme_is_read_in_ten_minutes() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= README_BYTES
