"""The identity of code that a user brings by dotted name: what its source files hold.

Nothing is imported: files are found as an import would find them, and their imports are read out of
their syntax. What is imported in other ways (``importlib``), and files that are no modules, are not
seen. Nothing here needs torch.
"""

import ast
import hashlib
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CodeIdentity = tuple[str, ...]
"""``"MODULE DIGEST"`` for each module, the named one first; of an installed library its version."""

_PRODUCT = Path(__file__).resolve().parents[1]
_PRODUCTS = {"trainables", "search_spaces", "study", "analysis"}
_SUFFIXES = (".py", *EXTENSION_SUFFIXES, ".pyc")
_DOTTED = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")

_BY_RAY = "py_modules_files"

_named_in: dict[str, str] = {}


TIMM = "timm:"
"""What the names of timm's models begin with."""


def is_own(name: str) -> bool:
    """Whether a classifier, an optimizer … is a user's own, ``package.module:function``."""
    return ":" in name and not name.startswith(TIMM)


def remember_named(path: object, content: Any) -> None:
    """Remember that a file names code, for the message that refuses to run it."""
    if isinstance(content, str):
        if _DOTTED.fullmatch(content):
            _named_in[content] = str(path)
    elif isinstance(content, Mapping):
        for value in content.values():
            remember_named(path, value)
    elif isinstance(content, list):
        for value in content:
            remember_named(path, value)


def named_in(name: str) -> str | None:
    """The file that was last read to name this code; None if none did."""
    return _named_in.get(name)


def search_path() -> list[str]:
    """Where imports look; the working folder first, as with ``python -m``."""
    folder = os.getcwd()
    return sys.path if folder in sys.path or "" in sys.path else [folder, *sys.path]


def code_identity(name: str) -> CodeIdentity:
    """The identity of the code that ``package.module:function`` names; empty if it is not there.

    That is the named module, and what it imports, directly or not, from the folder that holds its
    top-level package. It says nothing of the folder, of line ends, and of installed libraries.
    """
    module = name.partition(":")[0]
    top = module.partition(".")[0]
    roots = _Roots()
    root = _root_of(module, roots)
    if root is None:
        return ()
    if _is_installed(root):
        return (f"{top} {_version(top)}",)
    files = _closure(module, root, roots)
    named = [key for key in files if key == module]
    others = sorted(key for key in files if key != module)
    return tuple(f"{key} {_digest(files[key])}" for key in (*named, *others))


def source_files(name: str) -> dict[Path, Path]:
    """The files that ``code_identity`` reads: their place below the root → where they are.

    None of a library that is installed.
    """
    module = name.partition(":")[0]
    roots = _Roots()
    root = _root_of(module, roots)
    if root is None or _is_installed(root):
        return {}
    return {path.relative_to(root): path for path in _closure(module, root, roots).values()}


def _root_of(module: str, roots: "_Roots") -> Path | None:
    parts = module.split(".")
    return roots.of(parts[0]) if all(part.isidentifier() for part in parts) else None


def joined(identities: Iterable[Sequence[str]]) -> CodeIdentity:
    """The identity of several names together: each module once.

    It is the same whatever the names' order: a run's settings and what is recorded of it differ
    in that.
    """
    ordered = sorted(tuple(identity) for identity in identities)
    return tuple(dict.fromkeys(entry for identity in ordered for entry in identity))


def identity_digest(identity: Sequence[str]) -> str:
    """16 hexadecimal digits."""
    return hashlib.sha256("\n".join(identity).encode()).hexdigest()[:16]


def changed_modules(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """The modules in which two identities differ, in order of their names."""
    # A file may hold anything as an identity, also entries without a digest.
    parts = ([entry.partition(" ") for entry in entries] for entries in (before, now))
    old, new = ({module: digest for module, _, digest in entries} for entries in parts)
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


class _Roots:
    """The folder that holds each top-level module."""

    def __init__(self) -> None:
        self._known: dict[str, Path | None] = {}

    def of(self, top: str) -> Path | None:
        """None: there is no such module, or it is built into Python without a file."""
        if top not in self._known:
            self._known[top] = _root(top)
        return self._known[top]


def _root(top: str) -> Path | None:
    spec = _spec(top)
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve().parent
    if spec.has_location and spec.origin:
        return Path(spec.origin).resolve().parent
    # Built in or frozen.
    return Path(sysconfig.get_path("stdlib")).resolve()


def _spec(top: str) -> ModuleSpec | None:
    loaded = getattr(sys.modules.get(top), "__spec__", None)
    if loaded is not None:
        return loaded
    found = PathFinder.find_spec(top, search_path())
    if found is not None:
        return found
    try:
        # Without a dot in its name nothing is imported. Editable installs are found so.
        return find_spec(top)
    except (ImportError, ValueError):
        return None


def _is_installed(root: Path) -> bool:
    paths = {Path(p).resolve() for n, p in sysconfig.get_paths().items() if n.endswith("lib")}
    return root in paths or bool({"site-packages", "dist-packages"} & set(root.parts[-1:]))


def _version(top: str) -> str:
    if top in sys.stdlib_module_names:
        return "python"
    names = metadata.packages_distributions().get(top) or ["?"]
    try:
        return metadata.version(names[0])
    except metadata.PackageNotFoundError:
        return "?"


def _closure(module: str, root: Path, roots: _Roots) -> dict[str, Path]:
    """Module → file, of the named one and of what it imports from the same root."""
    files: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        wanted = waiting.pop()
        place = roots.of(wanted.partition(".")[0])
        if place is None or not _together(place, root) or _is_ours(wanted, root):
            continue
        for key, file in _located(place, wanted):
            if key not in files:
                files[key] = file
                waiting += _imports(key, file)
    return files


def _together(one: Path, other: Path) -> bool:
    """Whether modules of these roots belong together: of one folder, or brought by Ray.

    Ray puts each module that travels to a node into a folder of its own.
    """
    return one == other or (one.parent == other.parent and one.parent.name == _BY_RAY)


def _is_ours(module: str, root: Path) -> bool:
    """Whether a module is this project's, which has versions."""
    return root == _PRODUCT and module.partition(".")[0] in _PRODUCTS


def _located(root: Path, module: str) -> Iterator[tuple[str, Path]]:
    """A module and the packages that it lies in, as far as they have files."""
    folder, parts = root, module.split(".")
    for number, part in enumerate(parts, start=1):
        key = ".".join(parts[:number])
        package = _first_file(folder / part / "__init__")
        file = package or _first_file(folder / part)
        if file is not None:
            yield key, file
        if package is None and (file or not os.path.isdir(folder / part)):
            return
        folder = folder / part


def _first_file(stem: Path) -> Path | None:
    # os.path answers where a name is too long for the file system, too.
    paths = (f"{stem}{suffix}" for suffix in _SUFFIXES)
    return next((Path(path) for path in paths if os.path.isfile(path)), None)


def _imports(module: str, file: Path) -> list[str]:
    """What a module imports, wherever in it that stands; names that may be modules included."""
    if file.suffix != ".py":
        return []
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return []
    found: list[str] = []
    package = module if file.stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - (node.level - 1)]
                base = ".".join(filter(None, (*above, base)))
            named = [alias.name for alias in node.names if alias.name != "*"]
            found += [base, *(".".join(filter(None, (base, name))) for name in named)]
    return [name for name in found if name]


def _digest(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError:
        return "unreadable"
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()[:16]
