"""The private parts of libraries that are touched are there, and in one file a library."""

import ast
import importlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import ray

from study.tune.connect import NO_WORKERS, READY

ROOT = Path(__file__).parents[1]
PACKAGES = ("trainables", "search_spaces", "study", "analysis", "benchmarks")

PARTS = {
    "ray": "study/tune/ray_patches.py",
    "optuna": "study/search/optuna_parts.py",
    "tyro": "study/commands/tyro_parts.py",
    "torch": "trainables/torch_parts.py",
}
"""Library → the file that alone touches its private parts."""

TOUCHED = {
    "ray": (
        "ray._private.ray_constants:ENABLE_RAY_CLUSTER",
        "ray._private.ray_constants:ENABLE_RAY_CLUSTERS_ENV_VAR",
        "ray._private.ray_constants:GLOBAL_GRPC_OPTIONS",
        "ray._private.node:Node.start_monitor",
        "ray._private.node:Node.start_api_server",
        "ray._private.node:Node.start_log_monitor",
        "ray._private.state:GlobalState.get_node",
        "ray._private.state:GlobalState._connect_and_get_accessor",
        "ray._private.utils:get_dashboard_dependency_error",
        "ray._private.utils:read_ray_address",
        "ray._private.ray_constants:PROCESS_TYPE_GCS_SERVER",
        "ray._private.ray_constants:PROCESS_TYPE_RAYLET",
        "ray._private.worker:_global_node",
        "ray._private.worker:print_to_stdstream",
        "ray._private.worker:listen_error_messages",
        "ray._private.node:Node.all_processes",
        "ray._private.services:ProcessInfo.process",
        "ray._private.services:canonicalize_bootstrap_address",
        "ray._private.services:find_gcs_addresses.cache_clear",
        "ray.train._internal.storage:_get_ray_train_session_dir",
        "ray.tune.impl.tuner_internal:TunerInternal.fit",
        "ray.util.client:ray.is_connected",
        "ray.tune.experiment.trial:Trial.run_metadata",
        "ray.tune.experiment.trial:_TrainingRunMetadata.num_failures",
    ),
    "optuna": (
        "optuna.trial:FrozenTrial._trial_id",
        "optuna.distributions:BaseDistribution._contains",
        "optuna.distributions:BaseDistribution.to_internal_repr",
        "optuna.storages:BaseStorage.set_trial_state_values",
        "optuna.storages:BaseStorage.set_trial_intermediate_value",
    ),
    "tyro": tuple(
        f"tyro.conf._confstruct:_ArgConfig.{name}"
        for name in ("name", "aliases", "metavar", "help", "help_behavior_hint")
    ),
    "torch": (
        "torch:_foreach_norm",
        "torch:_foreach_copy_",
        "torch:_foreach_lerp_",
        "torch:_foreach_mul",
        "torch:_foreach_add_",
        "torch:_foreach_sub_",
        "torch:_foreach_addcmul_",
    ),
}

TAKES: Mapping[str, tuple[str, ...]] = {
    "ray.tune.impl.tuner_internal:TunerInternal.__init__": ("_tuner_kwargs",),
    "ray.tune.tune:run": ("_remote",),
    "optuna.trial:Trial.__init__": ("study", "trial_id"),
}
"""Function → parameters that it is given."""


def missing(dotted: str) -> str:
    """Which part of ``module:name.name`` is not there; empty if all is."""
    module, _, names = dotted.partition(":")
    try:
        thing = importlib.import_module(module)
    except ImportError as error:
        return f"{module}: {error}"
    for name in names.split("."):
        if not hasattr(thing, name) and name not in fields(thing):
            return f"{dotted}: no {name}"
        thing = getattr(thing, name, None)
    return ""


def fields(thing: object) -> set[str]:
    """The attributes of a class's instances: those declared, and those its constructor sets."""
    if not inspect.isclass(thing):
        return set()
    constructor = thing.__dict__.get("__init__", thing.__init__)
    names = getattr(getattr(constructor, "__code__", None), "co_names", ())
    return {*getattr(thing, "__annotations__", {}), *names}


@pytest.mark.parametrize("library", TOUCHED)
def test_a_version_has_the_private_parts(library: str) -> None:
    lacks = [line for dotted in TOUCHED[library] if (line := missing(dotted))]
    for dotted, parameters in TAKES.items():
        if dotted.startswith(library):
            module, _, names = dotted.partition(":")
            function = importlib.import_module(module)
            for name in names.split("."):
                function = getattr(function, name)
            there = inspect.signature(function).parameters
            lacks += [f"{dotted}: takes no {name}" for name in parameters if name not in there]
    version = importlib.import_module(library).__version__
    assert lacks == [], f"{library} {version} lacks what {PARTS[library]} touches"


def test_ray_knows_what_it_is_told_where_it_starts() -> None:
    raylet = Path(ray.__file__).parent / "core" / "src" / "ray" / "raylet" / "raylet"
    content = raylet.read_bytes()
    for name in (*READY, *NO_WORKERS):
        assert name.removeprefix("RAY_").encode() in content, name
    assert b"no_such_setting_of_ray" not in content


def test_what_is_missing_is_named() -> None:
    assert missing("torch:nn.no_such_thing") == "torch:nn.no_such_thing: no no_such_thing"
    assert "no_such_module" in missing("torch.no_such_module:anything")


def private_names(path: Path) -> Iterator[str]:
    """Private names of others that a file imports, or finds at objects other than its own."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    own = {
        *(node.name for node in nodes if isinstance(node, ast.FunctionDef)),
        *(node.attr for node in nodes if isinstance(node, ast.Attribute) and is_its_own(node)),
        *(node.id for node in nodes if isinstance(node, ast.Name)),
    }
    for node in nodes:
        words: list[str] = []
        if isinstance(node, ast.Import):
            words = [word for alias in node.names for word in alias.name.split(".")]
        elif isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] not in PACKAGES:
            words = [*str(node.module).split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Attribute) and node.attr not in own:
            words = [node.attr]
        yield from (
            f"{node.lineno}: {word}"
            for word in words
            if word.startswith("_") and not word.startswith("__")
        )


def is_its_own(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}


def test_nothing_else_touches_private_parts() -> None:
    product = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    touched = {
        str(path.relative_to(ROOT)): names
        for path in product
        if path.relative_to(ROOT).as_posix() not in PARTS.values()
        if (names := [name for name in private_names(path) if not name.endswith(" _exit")])
    }
    assert touched == {}


def test_a_private_part_would_be_found(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text(
        "import ray._private.x\nfrom a._b import c\nself._own = a._read\na._set = a._own\n"
    )
    assert sorted(private_names(file)) == ["1: _private", "2: _b", "3: _read", "4: _set"]
