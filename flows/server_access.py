"""Who may ask the servers that `rebert up` starts: nobody unasked, where the environment has passwords.

Prefect's server comes open, for every origin, so that any web page could make deployments; MLflow's comes without
passwords. Both are closed here by the names that Prefect and MLflow have for it, from the same variables that their
clients read, so that one pair of secrets serves both sides.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from components.errors import ConfigError, OrchestrationError
from components.settings import Settings
from components.step_store import storage_errors, write_whole

SERVER_AUTH, CLIENT_AUTH = "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"
CSRF = "PREFECT_SERVER_CSRF_PROTECTION_ENABLED"
ORIGINS = "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"
USER, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
SESSIONS = "MLFLOW_FLASK_SERVER_SECRET_KEY"
SHORTEST_PASSWORD = 12  # characters; MLflow refuses shorter ones at its first start


@dataclass(frozen=True, slots=True)
class Access:
    """What closes a server: more words of its command, which hold no secret, and more variables."""

    words: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


def prefect_access(environment: Mapping[str, str], host: str, port: int) -> Access:
    """Prefect's server: requests of its own page alone, and with a password where one is set.

    Raises:
        ConfigError: the password is not USER:PASSWORD.
    """
    closed = {
        CSRF: environment.get(CSRF, "true"),
        ORIGINS: environment.get(ORIGINS, f"http://{host}:{port},http://localhost:{port}"),
    }
    return Access(environment={**closed, **prefect_password(environment)})


def prefect_password(environment: Mapping[str, str]) -> dict[str, str]:
    """The password of Prefect's server, for the server and its clients; nothing where none is set.

    Raises:
        ConfigError: it is not USER:PASSWORD.
    """
    found = environment.get(SERVER_AUTH) or environment.get(CLIENT_AUTH)
    if not found:
        return {}
    user, _, password = found.partition(":")
    if not (user and password):
        raise ConfigError(f"{SERVER_AUTH} is not of the form USER:PASSWORD.", "write it so.")
    return {SERVER_AUTH: found, CLIENT_AUTH: environment.get(CLIENT_AUTH) or found}


def mlflow_access(settings: Settings, environment: Mapping[str, str]) -> Access:
    """MLflow's server: with the user and password of its clients, where they are set.

    The first start makes that user, an administrator; MLflow keeps its password in a database of its own.

    Raises:
        ConfigError: only one of the two is set, the password is short, or what checks it is not installed.
        StorageError: the home folder cannot be written.
    """
    user, password = environment.get(USER), environment.get(PASSWORD)
    if not (user or password):
        return Access()
    if not (user and password):
        raise ConfigError(f"Of {USER} and {PASSWORD} only one is set.", "set both, or none for a server without.")
    if len(password) < SHORTEST_PASSWORD:
        raise ConfigError(f"{PASSWORD} has fewer than {SHORTEST_PASSWORD} characters.", "take a longer one.")
    _require_auth_app()
    place = settings.home / "mlflow"
    config = place / "auth.ini"
    database = f"sqlite:///{place / 'auth.db'}"
    with storage_errors(config):
        write_whole(
            config,
            f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = {database}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
        )
    return Access(
        ("--app-name", "basic-auth"),
        {
            "MLFLOW_AUTH_CONFIG_PATH": str(config),
            "MLFLOW_AUTH_ADMIN_USERNAME": user,
            "MLFLOW_AUTH_ADMIN_PASSWORD": password,
            SESSIONS: environment.get(SESSIONS) or _session_key(settings),
        },
    )


def require_closed(host: str, environment: Mapping[str, str]) -> None:
    """Servers that listen beyond this machine must ask for passwords.

    Raises:
        OrchestrationError: they would answer everybody.
    """
    if _is_loopback(host):
        return
    open_ones = [name for name, found in (("Prefect", SERVER_AUTH), ("MLflow", PASSWORD)) if not environment.get(found)]
    if open_ones:
        raise OrchestrationError(
            f"{' and '.join(open_ones)} would answer everybody who reaches {host}.",
            f"set {SERVER_AUTH}=USER:PASSWORD, {USER} and {PASSWORD}, or files that hold them by the same names with "
            "_FILE behind; or listen on 127.0.0.1.",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _require_auth_app() -> None:
    from importlib.util import find_spec

    if find_spec("flask_wtf") is None:
        raise ConfigError(
            "MLflow's server cannot ask for passwords: Flask-WTF is not installed.", "run 'pip install rebert[auth]'."
        )


def _session_key(settings: Settings) -> str:
    """What signs MLflow's sessions: made once, readable by this user alone."""
    place = settings.home / "mlflow" / "session.key"
    with storage_errors(place):
        if not (place.exists() and place.stat().st_size):
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, secrets.token_hex(32), mode=0o600)
        return place.read_text(encoding="utf-8")
