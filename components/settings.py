"""Where things are kept and which servers are used: read once from the environment, at the edge, and frozen.

With no address set everything lies below one folder, `.rebert/` (or `REBERT_HOME`). `MLFLOW_TRACKING_URI` and
`PREFECT_API_URL` name servers; there is no other switch between the embedded and the served way.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from components.secret_files import names_file_of_secret, secrets_from_files

SECRET_NAME = re.compile(
    r"(^PG|^|_)(TOKEN|KEY|SECRET|PASSWORD|PASSFILE|CREDENTIALS?|AUTH_STRING|WEBHOOK)(_|$)|_PWD$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Folders and addresses of one installation; `prefect_api_url` is None for the embedded server.

    `keys` is the file with the hashes of the API keys; while there is none, endpoints answer everybody.
    """

    home: Path
    tracking_uri: str
    prefect_api_url: str | None
    prefect_home: Path
    bento_home: Path
    keys: Path

    @property
    def steps(self) -> Path:
        return self.home / "steps"

    @property
    def locks(self) -> Path:
        return self.home / "locks"

    @property
    def models(self) -> Path:
        """Registered model directories as they were fetched, by digest."""
        return self.home / "models"

    @property
    def releases(self) -> Path:
        """One JSON file per model name that says which bundle its endpoint serves."""
        return self.home / "releases"

    @property
    def trials(self) -> Path:
        """One JSON file per model name that says which bundle is tried beside the live one."""
        return self.home / "trials"

    @property
    def feedback(self) -> Path:
        """One JSONL file per model name with the corrections that its endpoint was sent."""
        return self.home / "feedback"

    @property
    def artifacts(self) -> Path:
        """Artifacts of the embedded MLflow; a server keeps its own."""
        return self.home / "mlflow" / "artifacts"

    @property
    def embedded_tracking(self) -> bool:
        return self.tracking_uri.startswith("sqlite:")


def read_settings(environment: Mapping[str, str], folder: Path) -> Settings:
    """Settings from environment variables; relative folders are taken below `folder`.

    Raises:
        ConfigError: a file that holds a secret cannot be read.
    """
    environment = {**environment, **secrets_from_files(environment)}
    home = (folder / (environment.get("REBERT_HOME") or ".rebert")).resolve()
    return Settings(
        home=home,
        tracking_uri=_absolute(environment.get("MLFLOW_TRACKING_URI", ""), folder)
        or f"sqlite:///{home / 'mlflow' / 'mlflow.db'}",
        prefect_api_url=environment.get("PREFECT_API_URL") or None,
        prefect_home=(folder / (environment.get("PREFECT_HOME") or home / "prefect")).resolve(),
        bento_home=(folder / (environment.get("BENTOML_HOME") or home / "bentoml")).resolve(),
        keys=(folder / (environment.get("REBERT_KEYS_FILE") or home / "keys.json")).resolve(),
    )


def _absolute(uri: str, folder: Path) -> str:
    """A database address that names the same file in whatever folder a process runs."""
    scheme, separator, path = uri.partition("sqlite:///")
    return f"sqlite:///{(folder / path).resolve()}" if separator and not scheme else uri


def without_passwords(text: str) -> str:
    """A text in which no address shows a user, a password or a token; for everything that is printed or logged."""
    text = re.sub(r"(?<=://)[^/\s]+@", "", text)
    return re.sub(
        r"(?<=[?&])([^=&\s]*(?:password|token|secret|key)[^=&\s]*)=[^&\s]+", r"\1=…", text, flags=re.IGNORECASE
    )


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that name no password, token or key, hold no address with one and name no file of one: for children
    that ask nobody."""
    return {
        name: value
        for name, value in environment.items()
        if not (SECRET_NAME.search(name) or names_file_of_secret(name)) and without_passwords(value) == value
    }


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables that prefect, mlflow, bentoml and transformers must see before they are imported."""
    return {
        "REBERT_HOME": str(settings.home),
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "PREFECT_HOME": str(settings.prefect_home),
        "BENTOML_HOME": str(settings.bento_home),
        # Where the embedded MLflow would else make `mlruns/` in whatever folder a process runs.
        "_MLFLOW_SERVER_ARTIFACT_ROOT": str(settings.artifacts),
        **QUIET,
    }


# Each library has its own word for "send nothing home"; MLflow takes only "true", BentoML ignores DO_NOT_TRACK.
QUIET = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "BENTOML_DO_NOT_TRACK": "True",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # it would be in the middle of our JSON
    "MLFLOW_UV_AUTO_DETECT": "false",  # it would copy the lock file of whatever folder a run starts in
    "TOKENIZERS_PARALLELISM": "true",
}

OUR_LOG = "PREFECT_LOGGING_EXTRA_LOGGERS"  # loggers whose lines Prefect's server gets beside its own
RETRIED = "PREFECT_CLIENT_RETRY_EXTRA_CODES"  # answers of Prefect's server that are asked for again, beside 502 and 503
HEARTBEATS = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"  # seconds; a flow that sends none any more is crashed

# Defaults that a user's own value overrules. Unanswered, MLflow blocks each call for four minutes.
DEFAULTS = {
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # On a screen our own lines tell what happens; a Prefect server still gets every line.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    OUR_LOG: "rebert",
    RETRIED: "500",  # what it says while its database is away
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",  # else it tells of every head that is new, and of every layer that is ours
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    HEARTBEATS: "30",
    # The embedded server needs ten seconds in a new home, and on busy cores a minute.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
}


def apply_settings(settings: Settings, environment: MutableMapping[str, str] | None = None) -> None:
    """Set the variables of `settings` in this process, for the libraries that read them on import.

    Raises:
        ConfigError: a file that holds a secret cannot be read.
    """
    target = os.environ if environment is None else environment
    target.update(environment_of(settings))
    target.update(secrets_from_files(target))
    for name, value in DEFAULTS.items():
        target.setdefault(name, value)
