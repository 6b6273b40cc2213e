"""The registry: one version for each content, the ledger, promotion and rollback, downloads that are verified."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from components import registry
from components.errors import BundleError, RegistryAway, RegistryError
from components.models.model_directory import model_digest, verify_model
from components.records import PromotionDecision
from components.registry import LedgerEvent, aliases, ledger, registration, store
from components.settings import Settings, read_settings
from tests.model_folders import LABELS, another_model


@pytest.fixture
def run_id(settings: Settings) -> str:
    client = registry.open_store(settings)
    experiment = client.create_experiment("shop", (settings.artifacts / "shop").as_uri())
    return client.create_run(experiment).info.run_id


@pytest.fixture
def three_versions(settings: Settings, run_id: str, tiny_model: Path, tmp_path: Path) -> Settings:
    """Versions 1 to 3 of 'shop'; their weights are not looked at, so one upload serves all."""
    first = registry.register_model(settings, run_id, tiny_model)
    client = registry.open_store(settings)
    for number in (2, 3):
        tags = dict(first.tags) | {"rebert.model_digest": str(number) * 64}
        client.create_model_version("shop", client.get_model_version("shop", "1").source, run_id, tags)
    return settings


def decision(promote: bool = True, reason: str = "better", champion: int | None = None) -> PromotionDecision:
    return PromotionDecision(
        folder=Path("decision"),
        promote=promote,
        reason=reason,
        metric="accuracy",
        candidate_score=0.9,
        champion_version=champion,
        champion_score=0.8,
        difference=0.1,
        interval=(0.05, 0.15),
        test="exact McNemar",
        p_value=0.001,
        margin=0.0,
        confidence=0.95,
        rows=100,
        rules=(),
    )


def promote(settings: Settings, version: int, reason: str = "better", *, after_rollback: bool = False) -> LedgerEvent:
    """Promote a version that was compared with the one that is live."""
    live = registry.champion(settings, "shop")
    decided = decision(reason=reason, champion=live.version if live else None)
    return registry.promote(settings, "shop", version, decided, after_rollback=after_rollback)


def states(settings: Settings) -> dict[str, int | None]:
    found = {alias: registry.with_alias(settings, "shop", alias) for alias in ("champion", "previous", "challenger")}
    return {alias: version.version if version else None for alias, version in found.items()}


def test_the_same_content_is_registered_once(settings: Settings, run_id: str, tiny_model: Path) -> None:
    first = registry.register_model(settings, run_id, tiny_model, card="---\nlicense: unknown\n---\n# shop\n\n很好")
    second = registry.register_model(settings, run_id, tiny_model)
    assert (first.version, first.created, second.version, second.created) == (1, True, 1, False)
    assert first.labels == LABELS
    assert first.digest == model_digest(tiny_model)
    assert registry.find_version(settings, "shop", first.digest) == second
    assert registry.open_store(settings).get_model_version("shop", "1").description == "很好"
    assert registry.list_models(settings) == ["shop"]


def test_other_content_is_another_version(settings: Settings, run_id: str, tiny_model: Path, tmp_path: Path) -> None:
    registry.register_model(settings, run_id, tiny_model)
    changed = another_model(tmp_path / "model", tiny_model, train_rows=101)
    assert registry.register_model(settings, run_id, changed).version == 2
    assert [version.version for version in registry.versions(settings, "shop")] == [2, 1]


def test_a_damaged_directory_is_not_registered(
    settings: Settings, run_id: str, tiny_model: Path, tmp_path: Path
) -> None:
    changed = another_model(tmp_path / "model", tiny_model, train_rows=101)
    (changed / "config.json").write_text("{}")
    with pytest.raises(BundleError, match=r"config\.json changed"):
        registry.register_model(settings, run_id, changed)


def test_what_an_interrupted_registration_left_is_completed(
    settings: Settings, run_id: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    client = registry.open_store(settings)
    with monkeypatch.context() as patch:
        patch.setattr(registration, "upload_model", die)
        with pytest.raises(KeyboardInterrupt):
            registry.register_model(settings, run_id, tiny_model)
    left = client.search_logged_models([client.get_run(run_id).info.experiment_id])
    assert [str(model.status) for model in left] == ["PENDING"]

    with monkeypatch.context() as patch:
        patch.setattr(type(client), "create_model_version", die)
        with pytest.raises(KeyboardInterrupt):
            registry.register_model(settings, run_id, tiny_model)
    monkeypatch.setattr(registration, "upload_model", die)  # the upload is whole: it is not made again
    assert registry.register_model(settings, run_id, tiny_model).version == 1
    models = client.search_logged_models([client.get_run(run_id).info.experiment_id])
    assert [str(model.status) for model in models] == ["READY"]


def test_what_a_killed_upload_of_other_content_left_goes_with_the_next_registration(
    settings: Settings, run_id: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registration, "upload_model", die)
        with pytest.raises(KeyboardInterrupt):
            registry.register_model(settings, run_id, tiny_model)
    other = another_model(tmp_path / "other", tiny_model, train_rows=7)
    assert registry.register_model(settings, run_id, other).version == 1
    client = registry.open_store(settings)
    models = client.search_logged_models([client.get_run(run_id).info.experiment_id])
    assert [(str(model.status), model.tags["rebert.model_digest"]) for model in models] == [
        ("READY", model_digest(other))
    ]


def test_where_another_machine_was_faster_the_lower_version_stays(three_versions: Settings) -> None:
    client = registry.open_store(three_versions)
    client.set_model_version_tag("shop", "3", "rebert.model_digest", "2" * 64)
    assert registration._without_doubles(client, "shop", "2" * 64).version in ("2", 2)
    assert [version.version for version in registry.versions(three_versions, "shop")] == [2, 1]


def test_the_registered_model_holds_no_pickle_and_only_pinned_requirements(
    settings: Settings, run_id: str, tiny_model: Path
) -> None:
    registry.register_model(settings, run_id, tiny_model)
    files = [path for path in settings.artifacts.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".bin", ".pt", ".pth")]
    requirements = next(path for path in files if path.name == "requirements.txt").read_text().split()
    assert all("==" in line and "+" not in line for line in requirements)
    assert not {"prefect", "bentoml", "great-expectations"} & {line.split("==")[0] for line in requirements}
    code = {path.name for path in files if "code" in path.parts}
    assert {"pyfunc.py", "inference.py", "text_classification.py"} <= code
    assert not {"evaluation.py", "settings.py", "training.py"} & code


def test_a_download_is_the_registered_directory(settings: Settings, run_id: str, tiny_model: Path) -> None:
    registry.register_model(settings, run_id, tiny_model)
    version = registry.get_version(settings, "shop", 1)
    fetched = registry.fetch_model(settings, version)
    verify_model(fetched)
    assert model_digest(fetched) == model_digest(tiny_model)
    (fetched / "config.json").write_text("{}")  # a damaged copy is fetched again
    verify_model(registry.fetch_model(settings, version))
    assert list(settings.models.iterdir()) == [fetched]


def test_a_damaged_artifact_is_refused(settings: Settings, run_id: str, tiny_model: Path) -> None:
    version = registry.register_model(settings, run_id, tiny_model)
    weights = next(settings.artifacts.rglob("model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0\0")
    with pytest.raises(RegistryError, match="version 1 of 'shop' is not what was registered"):
        registry.fetch_model(settings, version)
    assert not list(settings.models.iterdir())


def test_an_unknown_version_is_named_with_those_that_exist(three_versions: Settings) -> None:
    with pytest.raises(RegistryError, match="'shop' has no version 9") as caught:
        registry.get_version(three_versions, "shop", 9)
    assert caught.value.hint == "name one of: 1, 2, 3."
    assert registry.versions(three_versions, "nothing") == []
    assert registry.champion(three_versions, "nothing") is None


def test_promotion_moves_the_aliases_and_writes_the_ledger(three_versions: Settings) -> None:
    promote(three_versions, 1, "first")
    registry.set_challenger(three_versions, "shop", 2)
    assert states(three_versions) == {"champion": 1, "previous": None, "challenger": 2}
    done = promote(three_versions, 2)
    assert promote(three_versions, 2, "again") == done
    assert states(three_versions) == {"champion": 2, "previous": 1, "challenger": None}
    events = registry.read_ledger(three_versions, "shop")
    assert [(event.before, event.after, event.why) for event in events] == [(None, 1, "first"), (1, 2, "better")]
    assert events[1].numbers["p_value"] == 0.001
    assert events[1].who
    story = registry.open_store(three_versions).get_registered_model("shop").description
    assert story.startswith("**Live: version 2**")
    assert "| promote | none → 1 | first |" in story


def test_a_champion_that_another_process_made_meanwhile_is_not_replaced(three_versions: Settings) -> None:
    promote(three_versions, 1)
    judged_against_1 = decision(champion=1)
    promote(three_versions, 2)
    with pytest.raises(RegistryError, match="champion of 'shop' changed to version 2 while this run") as caught:
        registry.promote(three_versions, "shop", 3, judged_against_1)
    assert caught.value.hint == "run again; the finished steps are reused."
    assert not isinstance(caught.value, RegistryAway)
    assert states(three_versions)["champion"] == 2
    assert registry.promote(three_versions, "shop", 2, judged_against_1).after == 2  # a task that is tried again


@pytest.mark.parametrize("moved", [True, False])
def test_a_move_that_was_killed_is_settled_before_anybody_looks(three_versions: Settings, moved: bool) -> None:
    promote(three_versions, 1)
    client = registry.open_store(three_versions)
    events = ledger.events_of(client, "shop")
    ledger.write_event(client, "shop", ledger.new_event(events, "promote", before=1, after=2, why="better", run_id=""))
    if moved:
        client.set_registered_model_alias("shop", "champion", "2")
    registry.settle(three_versions, "shop")
    assert [event.state for event in ledger.events_of(client, "shop")] == ["done", "done" if moved else "abandoned"]
    assert states(three_versions)["previous"] == (1 if moved else None)
    registry.settle(three_versions, "nothing")


def test_a_refused_version_is_no_challenger_any_more(three_versions: Settings) -> None:
    registry.set_challenger(three_versions, "shop", 2)
    registry.retire_challenger(three_versions, "shop", 1)  # another run's
    assert states(three_versions)["challenger"] == 2
    registry.retire_challenger(three_versions, "shop", 2)
    assert states(three_versions)["challenger"] is None


def test_where_a_rollback_would_go_is_known_before_it_moves_anything(three_versions: Settings) -> None:
    for version in (1, 2):
        promote(three_versions, version)
    assert registry.rollback_target(three_versions, "shop").version == 1
    with pytest.raises(RegistryError, match="Version 3 of 'shop' has never been live"):
        registry.rollback_target(three_versions, "shop", 3)
    assert states(three_versions)["champion"] == 2


def test_rollback_goes_back_and_then_further_back(three_versions: Settings) -> None:
    for version in (1, 2, 3):
        promote(three_versions, version)
    registry.rollback(three_versions, "shop", reason="wrong on 退款")
    assert states(three_versions) == {"champion": 2, "previous": 1, "challenger": None}
    assert registry.rolled_back(three_versions, "shop") == {"3" * 64: "wrong on 退款"}
    registry.rollback(three_versions, "shop", reason="also wrong")
    assert states(three_versions)["champion"] == 1
    with pytest.raises(RegistryError, match="no version of 'shop' to go back to from version 1"):
        registry.rollback(three_versions, "shop", reason="all wrong")


def test_a_version_that_was_taken_back_is_not_promoted_by_a_schedule(three_versions: Settings) -> None:
    promote(three_versions, 1)
    promote(three_versions, 2)
    registry.rollback(three_versions, "shop", reason="complaints")
    with pytest.raises(RegistryError, match=r"was rolled back by .* complaints"):
        promote(three_versions, 2)
    promote(three_versions, 2, after_rollback=True)
    assert states(three_versions) == {"champion": 2, "previous": 1, "challenger": None}
    assert registry.rolled_back(three_versions, "shop") == {}


def test_rollback_names_a_version_that_was_live(three_versions: Settings) -> None:
    with pytest.raises(RegistryError, match="'shop' has no champion"):
        registry.rollback(three_versions, "shop", reason="x")
    for version in (1, 2):
        promote(three_versions, version)
    with pytest.raises(RegistryError, match="Version 3 of 'shop' has never been live") as caught:
        registry.rollback(three_versions, "shop", 3, reason="x")
    assert caught.value.hint == "name one that has: 1."
    with pytest.raises(RegistryError, match="Version 2 of 'shop' is live now"):
        registry.rollback(three_versions, "shop", 2, reason="x")


class FailsAtCall:
    """An MlflowClient whose k-th change raises, as if the process were killed there."""

    def __init__(self, client: object, k: int) -> None:
        self.client, self.left = client, k

    def __getattr__(self, name: str) -> object:
        if name.startswith(("set_", "delete_")):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return getattr(self.client, name)


@pytest.mark.parametrize("action", ["promote", "rollback"])
def test_a_crash_at_any_point_leaves_the_old_state_or_the_new(
    three_versions: Settings, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    settings = three_versions
    for version in (1, 2):
        promote(settings, version)
    client = registry.open_store(settings)

    def act() -> None:
        if action == "promote":
            promote(settings, 3)
        else:
            registry.rollback(settings, "shop", 1, reason="x")

    old, new = {"promote": (2, 3), "rollback": (2, 1)}[action]
    for k in range(1, 20):
        with monkeypatch.context() as patch:
            patch.setattr(aliases, "open_store", lambda _, k=k: FailsAtCall(client, k))
            try:
                act()
                break
            except KeyboardInterrupt:
                pass
        live = states(settings)["champion"]
        assert live in (old, new)
        if live == new:  # the next call completes it
            with pytest.raises(RegistryError, match="never been live"):
                registry.rollback(settings, "shop", 99, reason="x")
            assert registry.read_ledger(settings, "shop")[-1].after == new
            promote(settings, old, after_rollback=True)
    assert k > 4
    assert states(settings)["champion"] == new
    numbers = [event.number for event in ledger.events_of(client, "shop")]
    assert numbers == sorted(set(numbers))


def test_the_ledger_says_what_was_live_on_a_day() -> None:
    begin = datetime(2026, 11, 1, tzinfo=UTC)
    events = [
        LedgerEvent((begin + timedelta(days=n)).isoformat(), "promote", n - 1 or None, n, "x", "me", n, state="done")
        for n in (1, 2, 3)
    ]
    assert registry.live_at(events, begin) is None
    live = registry.live_at(events, begin + timedelta(days=2, hours=1))
    assert live is not None
    assert live.after == 2


def test_every_ledger_event_fits_into_a_tag() -> None:
    event = ledger.new_event([], "promote", before=1, after=2, why="太长" * 5000, run_id="r" * 32, numbers={})
    assert len(json.dumps(event.why, ensure_ascii=False)) < 5000 - 1000


def test_an_address_that_does_not_answer_is_an_error_at_once(tmp_path: Path) -> None:
    away = read_settings({"MLFLOW_TRACKING_URI": "http://user:secret@127.0.0.1:9"}, tmp_path)
    begun = datetime.now(UTC)
    with pytest.raises(RegistryAway, match=r"MLflow at http://127\.0\.0\.1:9 does not answer") as caught:
        registry.champion(away, "shop")
    assert datetime.now(UTC) - begun < timedelta(seconds=10)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("API request to endpoint /x failed with error code 503 != 200. Response body: '<html>'", RegistryAway),
        ("(sqlite3.OperationalError) database is locked", RegistryAway),
        ("could not connect to server: Connection refused", RegistryAway),
        ("API request to endpoint /x failed with error code 401 != 200", RegistryError),
        ("RESOURCE_DOES_NOT_EXIST: Run 'x' not found", RegistryError),
    ],
)
def test_only_what_may_pass_by_itself_is_told_apart_as_away(said: str, kind: type[RegistryError]) -> None:
    from mlflow.exceptions import MlflowException

    assert type(store.translate(MlflowException(said), "http://127.0.0.1")) is kind


def test_an_error_of_the_server_itself_is_worth_another_try() -> None:
    from mlflow.exceptions import RestException

    fault = RestException({"error_code": "INTERNAL_ERROR", "message": "x"})
    wrong = RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "x"})
    assert type(store.translate(fault, "http://127.0.0.1")) is RegistryAway
    assert type(store.translate(wrong, "http://127.0.0.1")) is RegistryError


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("no database " * 100)
    broken = read_settings({"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/x.db"}, tmp_path)
    with pytest.raises(RegistryError, match="is not a whole SQLite database"):
        registry.list_models(broken)


def test_a_relative_database_is_the_same_file_everywhere(tmp_path: Path) -> None:
    relative = read_settings({"MLFLOW_TRACKING_URI": "sqlite:///my.db"}, tmp_path)
    absolute = read_settings({"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/my.db"}, Path("/elsewhere"))
    assert relative.tracking_uri == absolute.tracking_uri == f"sqlite:///{tmp_path}/my.db"


def test_the_registry_is_imported_without_heavy_libraries() -> None:
    code = (
        "import sys, components.registry, components.tracking; print(*{'mlflow', 'torch', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_old_file_store_is_refused_with_a_way_out(tmp_path: Path) -> None:
    old = read_settings({"MLFLOW_TRACKING_URI": (tmp_path / "mlruns").as_uri()}, tmp_path)
    with pytest.raises(RegistryError, match="MLflow cannot use the address") as caught:
        registry.list_models(old)
    assert caught.value.hint.startswith("set MLFLOW_TRACKING_URI")
