"""The identity of code: which files it covers, what changes it, and that nothing is imported."""

import sys
from pathlib import Path

import pytest

from trainables.code_identity import changed_modules, code_identity, identity_digest

LONE = {
    "lonely_net.py": "import torch\nimport lonely_parts\n\ndef net(n): pass\n",
    "lonely_parts.py": "def later():\n    from lonely_deep import x\n",
    "lonely_deep.py": "x = 1\n",
    "lonely_other.py": "y = 1\n",
}
PACKAGE = {
    "pack_net/__init__.py": "",
    "pack_net/models/__init__.py": "from .. import base\n",
    "pack_net/models/net.py": (
        "from ..parts import layer\nfrom . import blocks\nfrom .more import *\n"
    ),
    "pack_net/models/blocks.py": "import pack_net.parts.extra\n",
    "pack_net/models/more.py": "",
    "pack_net/base.py": "",
    "pack_net/parts/layer.py": "import pack_beside\n",
    "pack_net/parts/extra.py": "",
    "pack_net/unused.py": "",
    "pack_beside.py": "",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def identity(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.chdir(folder)
    return code_identity(name)


def modules(found: tuple[str, ...]) -> list[str]:
    return [entry.split(" ")[0] for entry in found]


def test_a_lone_file_has_what_it_imports_from_its_folder(tmp_path, monkeypatch):
    found = identity(write(tmp_path, LONE), "lonely_net:net", monkeypatch)
    assert modules(found) == ["lonely_net", "lonely_deep", "lonely_parts"]


def test_a_package_has_what_it_imports_of_itself_and_beside_it(tmp_path, monkeypatch):
    found = identity(write(tmp_path, PACKAGE), "pack_net.models.net:build", monkeypatch)
    assert modules(found) == [
        "pack_net.models.net",
        "pack_beside",
        "pack_net",
        "pack_net.base",
        "pack_net.models",
        "pack_net.models.blocks",
        "pack_net.models.more",
        "pack_net.parts.extra",
        "pack_net.parts.layer",
    ]


def test_the_folder_and_line_ends_do_not_matter(tmp_path, monkeypatch):
    one = identity(write(tmp_path / "a", LONE), "lonely_net:net", monkeypatch)
    windows = {name: text.replace("\n", "\r\n") for name, text in LONE.items()}
    (tmp_path / "b").mkdir()
    for name, text in windows.items():
        (tmp_path / "b" / name).write_bytes(text.encode())
    assert identity(tmp_path / "b", "lonely_net:net", monkeypatch) == one


@pytest.mark.parametrize("changed", ["lonely_net.py", "lonely_parts.py", "lonely_deep.py"])
def test_a_change_is_named(tmp_path, monkeypatch, changed):
    before = identity(write(tmp_path, LONE), "lonely_net:net", monkeypatch)
    (tmp_path / changed).write_text(LONE[changed] + "z = 2\n")
    now = code_identity("lonely_net:net")
    assert changed_modules(before, now) == [changed.removesuffix(".py")]
    assert identity_digest(before) != identity_digest(now)


def test_what_a_file_says_that_is_no_identity_is_another_one():
    assert changed_modules(["mine", ""], ["mine 0123"]) == ["", "mine"]


def test_what_is_not_imported_does_not_matter(tmp_path, monkeypatch):
    before = identity(write(tmp_path, LONE), "lonely_net:net", monkeypatch)
    (tmp_path / "lonely_other.py").write_text("y = 2\n")
    assert code_identity("lonely_net:net") == before


def test_nothing_is_imported_and_a_file_with_an_error_counts(tmp_path, monkeypatch):
    files = {f"unsafe_{n}/__init__.py": "raise SystemExit(9)\n" for n in ("a", "b")}
    files["unsafe_a/net.py"] = "import unsafe_b\nthis is no Python\n"
    found = identity(write(tmp_path, files), "unsafe_a.net:f", monkeypatch)
    assert modules(found) == ["unsafe_a.net", "unsafe_a"]
    assert not [name for name in sys.modules if name.startswith("unsafe_")]


def test_a_module_that_is_installed_counts_by_its_version():
    import torchvision

    assert code_identity("torchvision.models:resnet18") == (f"torchvision {torchvision_version()}",)
    assert torchvision.__name__ == "torchvision"
    assert code_identity("os:_exit") == ("os python",)


def torchvision_version() -> str:
    from importlib.metadata import version

    return version("torchvision")


@pytest.mark.parametrize("name", ["not_there_at_all:f", "not_there.b.c:f", "os.nothing-like:f"])
def test_what_is_not_there_has_none(name, tmp_path, monkeypatch):
    found = identity(tmp_path, name, monkeypatch)
    assert found in ((), ("os python",))


def test_this_projects_own_modules_are_none_of_it(tmp_path, monkeypatch):
    assert code_identity("trainables.models.control_networks:short_mlp") == ()


def test_modules_that_ray_brought_one_by_one_belong_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (tmp_path / "py_modules_files" / name for name in ("_ray_pkg_1", "_ray_pkg_2"))
    together = tmp_path / "together"
    for folder, name, text in (
        (one, "brought_net.py", "import brought_part\n"),
        (other, "brought_part.py", "x = 1\n"),
        (together, "brought_net.py", "import brought_part\n"),
        (together, "brought_part.py", "x = 1\n"),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(together)
        expected = code_identity("brought_net:f")
    monkeypatch.syspath_prepend(one)
    monkeypatch.syspath_prepend(other)
    assert len(expected) == 2
    assert code_identity("brought_net:f") == expected
