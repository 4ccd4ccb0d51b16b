"""The versions of what a report's figures were made with."""

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("noise-study", "torch", "ray", "optuna", "mlflow", "numpy", "scipy")


def versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
