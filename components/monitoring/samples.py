"""Samples: what was measured of many answered texts, as a table; of a window of the traffic, and of the reference.

A table has the columns that `measuring.py` names, a projection as p0, p1, …; a window has its requests beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.monitoring.request_lines import Request

if TYPE_CHECKING:
    import pandas as pd

ROWS, REQUESTS = "rows.parquet", "requests.parquet"


@dataclass(frozen=True)
class Window:
    """The answered texts of some time, the oldest first, and the requests of that time with `ms` and `status`.

    `lost` counts requests that the endpoint could not write down.
    """

    version: int
    began: str
    ended: str
    rows: pd.DataFrame
    requests: pd.DataFrame
    lost: int = 0


def table_of(measured: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Measured texts as a table."""
    import pandas as pd

    flat = []
    for each in measured:
        projection: Sequence[float] = each.get("projection", ())
        places = {f"p{place}": value for place, value in enumerate(projection)}
        flat.append({**{name: value for name, value in each.items() if name not in ("projection", "hash")}, **places})
    return pd.DataFrame(flat)


def projections_of(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of the projection; of rows that have all of them."""
    return table[[name for name in table if str(name)[0] == "p" and str(name)[1:].isdigit()]].dropna()


def window_of(requests: Sequence[Request], version: int, rows: int) -> Window:
    """The newest answered texts of a version, and the requests since the first of them.

    Args:
        requests: in the order of their times, of all versions and pages that count.
        rows: that the window has at most.
    """
    import pandas as pd

    own = [request for request in requests if request.version == version]
    taken: list[Request] = []
    count = 0
    for request in reversed(own):
        if count and count + len(request.rows) > rows:
            break
        taken.append(request)
        count += len(request.rows)
    taken.reverse()
    answers = table_of(row for request in taken for row in request.rows)
    facts = pd.DataFrame(
        [{"ms": request.ms, "status": request.status, "rows": len(request.rows)} for request in taken],
        columns=["ms", "status", "rows"],
    )
    began, ended = (taken[0].time, taken[-1].time) if taken else ("", "")
    return Window(version, began, ended, answers[:rows], facts, sum(request.lost for request in taken))


def write_window(window: Window, folder: Path) -> None:
    """Keep a window, to compare later ones with."""
    folder.mkdir(parents=True, exist_ok=True)
    window.rows.to_parquet(folder / ROWS, index=False)
    window.requests.to_parquet(folder / REQUESTS, index=False)


def read_window(folder: Path, version: int) -> Window | None:
    """A window that was kept; None where there is none."""
    import pandas as pd

    if not (folder / REQUESTS).exists():
        return None
    return Window(version, "", "", pd.read_parquet(folder / ROWS), pd.read_parquet(folder / REQUESTS))
