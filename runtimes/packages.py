"""Which packages are installed, and in which version; importlib.metadata alone takes 60 ms to be imported."""

import os
import sys
from importlib.util import find_spec

__all__ = ["package_version"]


def package_version(package: str) -> str | None:
    """The package's name and installed version, or None."""
    version = _recorded(package)
    if version is None and find_spec(package.replace("-", "_")) is not None:  # recorded in another way
        from importlib.metadata import PackageNotFoundError
        from importlib.metadata import version as told

        try:
            version = told(package)
        except PackageNotFoundError:
            return None
    return None if version is None else f"{package} {version}"


def _recorded(package: str) -> str | None:
    """The version in the name of the folder NAME-VERSION.dist-info that installers write beside a package."""
    wanted = package.replace("-", "_").lower()
    for folder in sys.path:
        try:
            entries = os.listdir(folder or ".")
        except OSError:  # no folder: a zip file, or nothing
            continue
        for entry in entries:
            name, dash, version = entry.removesuffix(".dist-info").partition("-")
            if dash and entry.endswith(".dist-info") and name.lower() == wanted:
                return version
    return None
