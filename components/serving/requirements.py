"""The distributions that a bundle needs, in the versions that are installed here."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, distribution

from components.errors import BundleError
from components.models.engines import find_engine

# What is imported on purpose while serving, beside what the engine needs; what these ask for is pinned with them.
REQUIRED = ("bentoml", "httptools", "numpy", "prometheus-client", "pydantic", "scipy", "uvloop")


@cache
def pinned_requirements(engine: str = "torch") -> tuple[str, ...]:
    """`name==version` of every distribution that serving needs, with all that they need, from this environment.

    Args:
        engine: what computes the network.

    Raises:
        BundleError: one of them is not installed.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name
    from packaging.version import Version

    pinned: dict[str, str] = {}
    waiting = [*REQUIRED, *find_engine(engine).packages]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in pinned:
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError as error:
            raise BundleError(f"The package {name} is not installed.", "install it, then build again.") from error
        # An index knows 2.13.0, not 2.13.0+cpu; which build of torch is fetched is the image's choice.
        pinned[name] = Version(found.version).public
        needs = (Requirement(text) for text in found.requires or ())
        waiting.extend(need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""}))
    return tuple(f"{name}=={pinned[name]}" for name in sorted(pinned))
