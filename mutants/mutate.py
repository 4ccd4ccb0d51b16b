"""The mutants of a source text: one comparison, sign, constant, operator or condition changed."""

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
}
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
_LEFT_OUT = (ast.Assert, ast.Import, ast.ImportFrom)


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        name: where and what, for people and for the list of equivalent ones: function, line of
            source, change, and a number if that is there more than once.
        line: its number.
        node: which node, in the order of ``ast.walk``.
        choice: which of the node's changes.
    """

    name: str
    line: int
    node: int
    choice: int


def mutants_of(source: str) -> list[Mutant]:
    """Every mutant of a module, in the order of the lines."""
    tree = ast.parse(source)
    lines = source.splitlines()
    places = dict(_places(tree, "module"))
    found: list[tuple[str, int, int, int]] = []
    for number, node in enumerate(ast.walk(tree)):
        if id(node) not in places:
            continue
        for choice, change in enumerate(_changes(node)):
            line = node.lineno  # type: ignore[attr-defined]
            before = ast.unparse(node).partition("\n")[0]
            change()
            after = ast.unparse(node).partition("\n")[0]
            change()
            name = f"{places[id(node)]} | {lines[line - 1].strip()} | {before} -> {after}"
            found.append((name, line, number, choice))
    found.sort(key=lambda item: item[1:])
    count: Counter[str] = Counter()
    result = []
    for name, line, number, choice in found:
        count[name] += 1
        shown = name if count[name] == 1 else f"{name} | {count[name]}"
        result.append(Mutant(shown, line, number, choice))
    return result


def mutated(source: str, mutant: Mutant) -> ast.Module:
    """The module with that change."""
    tree = ast.parse(source)
    node = next(node for number, node in enumerate(ast.walk(tree)) if number == mutant.node)
    list(_changes(node))[mutant.choice]()
    return ast.fix_missing_locations(tree)


def _places(node: ast.AST, where: str) -> Iterator[tuple[int, str]]:
    """The nodes that may be changed, and the function or class that each stands in."""
    if isinstance(node, _LEFT_OUT):
        return
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        where = node.name if where == "module" else f"{where}.{node.name}"
    if isinstance(node, ast.expr | ast.stmt):
        yield id(node), where
    for name, value in ast.iter_fields(node):
        if name in {"decorator_list", "annotation", "returns"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            # Whether lengths are checked is no decision, and a message's text is none.
            strict = isinstance(child, ast.keyword) and child.arg == "strict"
            if isinstance(child, ast.AST) and not strict and not isinstance(node, ast.Raise):
                yield from _places(child, where)


def _changes(node: ast.AST) -> Iterator[Callable[[], None]]:
    """Changes of a node in place; each undoes itself when it is called again."""
    match node:
        case ast.Compare():
            for index, operator in enumerate(node.ops):
                yield _swap(node.ops, index, _COMPARISONS[type(operator)]())
        case ast.BinOp() if type(node.op) in _OPERATORS and not _is_text(node):
            yield _swap(node.__dict__, "op", _OPERATORS[type(node.op)]())
        case ast.AugAssign() if type(node.op) in _OPERATORS:
            yield _swap(node.__dict__, "op", _OPERATORS[type(node.op)]())
        case ast.BoolOp():
            yield _swap(
                node.__dict__, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And()
            )
        case ast.UnaryOp(op=ast.USub()):
            yield _swap(node.__dict__, "op", ast.UAdd())
        case ast.Constant(value=bool() | int() | float()):
            yield _swap(node.__dict__, "value", _other(node.value))
        case ast.Call(func=ast.Name(id=name)) if name in _CALLS:
            yield _swap(node.func.__dict__, "id", _CALLS[name])
    if isinstance(node, ast.If | ast.IfExp | ast.While) and _is_plain(node.test):
        yield _swap(node.__dict__, "test", ast.UnaryOp(ast.Not(), node.test))
    for part in getattr(node, "generators", ()):
        for index, test in enumerate(part.ifs):
            if _is_plain(test):
                yield _swap(part.ifs, index, ast.UnaryOp(ast.Not(), test))


def _is_plain(test: ast.expr) -> bool:
    """Whether a condition has no operator of its own that is changed, and is one at run time."""
    return not isinstance(test, ast.Compare | ast.BoolOp) and ast.unparse(test) != "TYPE_CHECKING"


def _is_text(node: ast.BinOp) -> bool:
    sides = (node.left, node.right)
    return any(isinstance(s, ast.JoinedStr) or _is_string(s) for s in sides)


def _is_string(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def _other(value: bool | int | float) -> bool | int | float:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else 2 * value or 1.0


def _swap(where: dict | list, key: str | int, new: object) -> Callable[[], None]:  # type: ignore[type-arg]
    other = [new]

    def swap() -> None:
        where[key], other[0] = other[0], where[key]  # type: ignore[index, call-overload]

    return swap
