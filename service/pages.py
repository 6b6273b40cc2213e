"""The pages for people: one to try the model on, and Swagger UI; from files on this machine and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

from service.guard import Reply
from service.problems import no_such_page

FOLDER = Path(__file__).parent / "page"
SWAGGER = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START = b"""const key = sessionStorage.getItem("rebert-key"); // as typed on the page at /
SwaggerUIBundle({
  url: "openapi.json", dom_id: "#page", validatorUrl: null,
  requestInterceptor: (request) => {
    if (key && !request.headers.Authorization) request.headers.Authorization = `Bearer ${key}`;
    return request;
  },
});
"""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
# Swagger UI writes styles and inline images into its page.
SWAGGER_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
HTML, STYLE, SCRIPT = "text/html; charset=utf-8", "text/css; charset=utf-8", "text/javascript; charset=utf-8"


def _page(body: bytes, policy: str) -> Reply:
    return Reply(body, HTML, headers={"content-security-policy": policy})


@cache
def _own(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


@cache
def _swagger(name: str) -> bytes:
    """A file of Swagger UI, from where BentoML keeps its own copy; BentoML's page around it loads a tracker."""
    bentoml = find_spec("bentoml")
    folders = (bentoml.submodule_search_locations or ()) if bentoml else ()
    for folder in folders:
        path = Path(folder) / "_internal" / "server" / "static_content" / name
        if path.is_file():
            return path.read_bytes()
    raise no_such_page()


PAGES: dict[str, Callable[[], Reply]] = {
    "/": lambda: _page(_own("index.html"), POLICY),
    "/page/app.js": lambda: Reply(_own("app.js"), SCRIPT),
    "/page/style.css": lambda: Reply(_own("style.css"), STYLE),
    "/docs": partial(_page, SWAGGER, SWAGGER_POLICY),
    "/docs/start.js": partial(Reply, START, SCRIPT),
    "/docs/swagger-ui-bundle.js": lambda: Reply(_swagger("swagger-ui-bundle.js"), SCRIPT),
    "/docs/swagger-ui.css": lambda: Reply(_swagger("swagger-ui.css"), STYLE),
}
