"""The page for people: Swagger UI over /openapi.json, from files on this machine and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from service.guard import Reply
from service.problems import no_such_page

HTML = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Endpoint</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START = b'SwaggerUIBundle({url: "openapi.json", dom_id: "#page", validatorUrl: null});\n'
POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"


def _index() -> Reply:
    return Reply(HTML, "text/html; charset=utf-8", headers={"content-security-policy": POLICY})


def _start() -> Reply:
    return Reply(START, "text/javascript")


def _bundle() -> Reply:
    return Reply(_asset("swagger-ui-bundle.js"), "text/javascript")


def _style() -> Reply:
    return Reply(_asset("swagger-ui.css"), "text/css")


@cache
def _asset(name: str) -> bytes:
    """A file of Swagger UI, from where BentoML keeps its own copy; BentoML's page around it loads a tracker."""
    bentoml = find_spec("bentoml")
    folders = (bentoml.submodule_search_locations or ()) if bentoml else ()
    for folder in folders:
        path = Path(folder) / "_internal" / "server" / "static_content" / name
        if path.is_file():
            return path.read_bytes()
    raise no_such_page()


PAGES: dict[str, Callable[[], Reply]] = {
    "/docs": _index,
    "/docs/start.js": _start,
    "/docs/swagger-ui-bundle.js": _bundle,
    "/docs/swagger-ui.css": _style,
}
