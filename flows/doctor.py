"""`rebert doctor`: what this machine has, and what would go wrong on it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from components.errors import ProjectError
from components.run_files import read_run_file
from components.settings import Settings, without_passwords
from flows import console
from flows.receivers import unset_address
from flows.running import prepare_prefect

LEAST_FREE_GIB = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination; `remedy` is empty where all is well."""

    subject: str
    state: Literal["good", "slow", "bad"]
    text: str
    remedy: str = ""


def examine(settings: Settings, as_json_object: bool) -> int:
    """Print what was found.

    Returns:
        0 when nothing is bad, else 2.
    """
    findings = [finding for look in LOOKS for finding in look(settings)]
    bad = any(finding.state == "bad" for finding in findings)
    if as_json_object:
        console.print_json({"healthy": not bad, "findings": [asdict(finding) for finding in findings]})
    else:
        rows = [(f.state, f.subject, f.text + (f" To fix: {f.remedy}" if f.remedy else "")) for f in findings]
        console.print_table("", ("", "what", "finding"), rows)
    return 2 if bad else 0


def _python(_: Settings) -> Iterator[Finding]:
    text = f"{platform.python_version()} in {sys.prefix}"
    if os.environ.get("PYTHONDONTWRITEBYTECODE") and not _is_compiled():
        yield Finding("python", "slow", text, "unset PYTHONDONTWRITEBYTECODE; every start compiles everything again.")
    else:
        yield Finding("python", "good", text)


def _is_compiled() -> bool:
    """Whether packages were compiled before, as those of our images are."""
    spec = find_spec("mlflow")
    return bool(spec and spec.cached and Path(spec.cached).exists())


def _packages(_: Settings) -> Iterator[Finding]:
    """Every direct dependency against its bounds: wrong ones break in ways that do not name them."""
    from packaging.requirements import Requirement

    wrong = []
    for line in requires("rebert") or []:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = _version(requirement.name)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found or 'missing'} (needs {requirement.specifier})")
    if wrong:
        yield Finding("packages", "bad", ", ".join(wrong), "run 'pip install -c constraints.txt -e .' in the project.")
    else:
        names = ("prefect", "mlflow", "torch", "transformers", "datasets", "great-expectations", "bentoml")
        yield Finding("packages", "good", ", ".join(f"{name} {version(name)}" for name in names))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _device(_: Settings) -> Iterator[Finding]:
    from components.config import Training
    from components.training.devices import choose_device

    choice = choose_device(Training())
    yield Finding("device", "good", f"{choice.device} in {choice.precision}: {choice.reason}")


def _folders(settings: Settings) -> Iterator[Finding]:
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        probe = settings.home / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        yield Finding("folder", "bad", f"{settings.home}: {error.strerror}", "set REBERT_HOME to a folder of yours.")
        return
    free = shutil.disk_usage(settings.home).free / 2**30
    state: Literal["good", "bad"] = "good" if free >= LEAST_FREE_GIB else "bad"
    remedy = "" if state == "good" else f"free some space; a run needs up to {LEAST_FREE_GIB} GiB."
    yield Finding("folder", state, f"{settings.home}, {free:.0f} GiB free", remedy)


def _mlflow(settings: Settings) -> Iterator[Finding]:
    from components.registry import list_models

    try:
        count = len(list_models(settings))
    except ProjectError as error:
        yield Finding("mlflow", "bad", error.problem, error.hint)
        return
    where = "embedded" if settings.embedded_tracking else "server"
    yield Finding("mlflow", "good", f"{where}, {without_passwords(settings.tracking_uri)}, {count} models")


def _prefect(settings: Settings) -> Iterator[Finding]:
    if settings.prefect_api_url is None:
        yield Finding("prefect", "good", f"embedded, {settings.prefect_home}")
        return
    try:
        prepare_prefect(settings)
    except ProjectError as error:
        yield Finding("prefect", "bad", error.problem, error.hint)
        return
    yield Finding("prefect", "good", f"server, {without_passwords(settings.prefect_api_url)}")


def _deployed(settings: Settings) -> Iterator[Finding]:
    """The run files of what is deployed, and whether their people can be told from here."""
    if settings.prefect_api_url is None:
        return
    import httpx

    from flows.due import deployed_run_files

    try:
        files = deployed_run_files(settings)
    except (ProjectError, httpx.HTTPError):
        return  # that Prefect is away was said
    for name, path in sorted(files.items()):
        try:
            config = read_run_file(path)
        except ProjectError as error:
            remedy = f"{error.hint} If it is gone for good: 'rebert deploy --remove {name}'."
            yield Finding(name, "bad", error.problem, remedy)
            continue
        if variable := unset_address(os.environ, config.notify.to):
            text = f"notify.to is '{config.notify.to}', and {variable} is not set here"
            yield Finding(name, "bad", text, f"set {variable} or {variable}_FILE where its worker runs.")
        else:
            yield Finding(name, "good", f"deployed from {path}")


LOOKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _python,
    _packages,
    _device,
    _folders,
    _mlflow,
    _prefect,
    _deployed,
)
