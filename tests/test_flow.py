"""The whole flow on a tiny model: what is promoted, refused, rejected, reused, and what is left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from components import registry
from components.errors import ConfigError, RegistryError, RejectedData, ReplayError
from components.records import as_json
from components.run_files import read_run_file
from components.serving.releases import read_bundle_release, read_release
from components.settings import environment_of, read_settings
from flows.approving import approve_version
from flows.job import open_job
from flows.label_value import show_label_value
from flows.labelling import write_label_queue
from flows.progress import RunLog, current_log
from flows.receivers import Undelivered, deliver
from flows.replay import replay_version
from tests.deliveries import rows, write_csv, write_run_file
from tests.receivers import Receiver, listening

PLANTED = "me:planted-secret"  # also in the address of the webhook


@pytest.fixture(scope="module")
def told() -> Iterator[Receiver]:
    """Who is told what becomes of the runs."""
    with listening() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, empty_database: Path, told: Receiver):
    """A folder with a run file, a home of its own and Prefect's test server."""
    import shutil

    from prefect.testing.utilities import prefect_test_harness

    folder = tmp_path_factory.mktemp("reviews")
    settings = read_settings({"REBERT_HOME": str(folder / "home")}, folder)
    (settings.home / "mlflow").mkdir(parents=True)
    shutil.copyfile(empty_database, settings.home / "mlflow" / "mlflow.db")
    write_csv(folder / "test.csv", rows(200, seed=1))
    write_run_file(folder, tiny_base)
    # As `rebert` does at its edge; mlflow has put the address of another test's database into the environment.
    with pytest.MonkeyPatch.context() as patch, prefect_test_harness(server_startup_timeout=120):
        for name in ("REBERT_HOME", "MLFLOW_TRACKING_URI", "BENTOML_HOME"):
            patch.setenv(name, environment_of(settings)[name])
        patch.setenv("REBERT_WEBHOOK", told.address)
        for name in ("PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "SHOP_TOKEN"):
            patch.setenv(name, PLANTED)
        yield folder, settings


def run(folder: Path) -> tuple[dict, RunLog]:
    from flows.retrain import retrain

    log = RunLog()
    current_log.set(log)
    return retrain(str(folder / "reviews.yaml")), log


def ran(log: RunLog) -> dict[str, str]:
    return {step.name: step.outcome for step in log.steps}


def test_week_1_the_first_model_goes_live(place):
    folder, settings = place
    write_csv(folder / "week-1.csv", rows(120, seed=2, noise=0.2))
    result, log = run(folder)
    assert result["outcome"] == "promoted"
    assert list(ran(log)) == [
        "validate", "label_noise", "tokenize", "fine_tune", "evaluate", "register", "decide", "optimise", "bundle",
        "prove", "promote",
    ]  # fmt: skip
    champion = registry.champion(settings, "reviews")
    release = read_release(settings, "reviews")
    assert (champion.version, champion.run_id) == (1, result["run_id"]) == (release.version, result["run_id"])
    assert release.tag == result["bundle"]
    assert result["metrics"]["accuracy"] == pytest.approx(result["decision"]["candidate_score"])


def test_week_1_again_has_nothing_to_do(place):
    folder, settings = place
    before = registry.versions(settings, "reviews")
    result, log = run(folder)
    assert result["outcome"] == "unchanged"
    assert "champion version 1" in result["reason"]
    assert log.steps == []
    live = read_release(settings, "reviews")
    assert result["bundle"] == live.tag
    assert result["metrics"] == read_bundle_release(live.path / "src").metrics
    assert "accuracy" in result["metrics"]
    assert {(step["outcome"], step["seconds"]) for step in result["steps"]} == {("reused", 0.0)}
    assert [step["name"] for step in result["steps"]][::10] == ["validate", "promote"]
    assert registry.versions(settings, "reviews") == before


def test_another_gate_does_not_train_again(place, tiny_base):
    folder, settings = place
    write_run_file(folder, tiny_base, gate={"floor": 0.45})
    plan = open_job(read_run_file(folder / "reviews.yaml"), settings, RunLog()).plan()
    assert [step.action for step in plan.steps[:4]] == ["reuse"] * 4
    write_run_file(folder, tiny_base)


def test_texts_longer_than_the_models_positions_are_refused_before_anything_is_done(place, tiny_base):
    folder, settings = place
    write_run_file(folder, tiny_base, model={"base": str(tiny_base), "max_length": 129})
    with pytest.raises(ConfigError, match="positions for 128 tokens only"):
        open_job(read_run_file(folder / "reviews.yaml"), settings, RunLog())
    write_run_file(folder, tiny_base)


def test_week_2_a_better_model_waits_for_a_person_where_the_run_file_says_so(place, tiny_base):
    folder, settings = place
    write_csv(folder / "week-2.csv", rows(600, seed=3))
    write_run_file(folder, tiny_base, gate={"floor": 0.4, "approval": True})
    result, log = run(folder)
    assert result["outcome"] == "waiting", result["reason"]
    assert result["decision"]["champion_version"] == 1
    assert result["decision"]["p_value"] < 0.05
    assert "evaluate champion" in ran(log)
    assert ran(log)["prove"] == "ran"
    assert (aliases(settings), read_release(settings, "reviews").version) == ({"champion": 1, "challenger": 2}, 1)
    behaviour = json.loads(Path(result["decision"]["folder"], "decision.json").read_text())["behaviour"]
    assert [(each["capability"], each["cases"]) for each in behaviour] == [("casing", 20)]
    again, _ = run(folder)
    assert (again["outcome"], "that waits for approval until" in again["reason"]) == ("unchanged", True)
    write_run_file(folder, tiny_base)


def aliases(settings) -> dict[str, int]:
    return {alias: version.version for version in registry.versions(settings, "reviews") for alias in version.aliases}


def test_week_2_what_a_person_approves_replaces_the_champion(place, capsys):
    _, settings = place
    approve_version("reviews", settings, 2, "read ten answers", False)
    assert "Version 2 is the champion of 'reviews', instead of 1." in capsys.readouterr().out
    assert (aliases(settings), read_release(settings, "reviews").version) == ({"champion": 2, "previous": 1}, 2)
    last = registry.read_ledger(settings, "reviews")[-1]
    assert "read ten answers" in last.why
    assert last.numbers["p_value"] < 0.05
    assert registry.examine_ledger(settings, "reviews") == []


def test_the_champion_can_be_made_again_to_the_bit(place, capsys):
    _, settings = place
    before = registry.versions(settings, "reviews")
    assert replay_version("reviews", 2, settings, 0.01, anyway=False, as_json_object=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["outcome"], found["digest"], found["gap"]) == ("identical", before[0].digest, 0.0)
    assert registry.versions(settings, "reviews") == before
    assert list((settings.home / "scratch").glob("replay-*")) == []


def test_a_version_whose_data_and_rows_are_gone_is_not_made_again(place):
    folder, settings = place
    text = (folder / "week-1.csv").read_text()
    (folder / "week-1.csv").write_text(text + "one more row,pos\n")
    steps = settings.steps / "reviews" / "validate"
    steps.rename(settings.home / "aside")
    with pytest.raises(ReplayError, match=r"week-1\.csv holds something else than then\.") as caught:
        replay_version("reviews", 2, settings, 0.01, anyway=False, as_json_object=False)
    assert "recipe.json" in caught.value.hint
    (settings.home / "aside").rename(steps)
    (folder / "week-1.csv").write_text(text)


def test_week_3_a_bad_delivery_is_rejected_and_nothing_moves(place):
    folder, settings = place
    before = as_json(registry.champion(settings, "reviews"))
    write_csv(folder / "week-3.csv", [*rows(50, seed=4), ("a text nobody expected", "neutral")])
    with pytest.raises(RejectedData, match="neutral") as caught:
        run(folder)
    assert Path(caught.value.report, "validation.md").exists()
    kept = registry.open_store(settings).get_run(caught.value.run_id)
    assert (kept.data.tags["decision"], kept.info.status) == ("rejected", "FAILED")
    assert as_json(registry.champion(settings, "reviews")) == before


def test_week_3_a_worse_model_is_refused_and_the_champion_stays(place, monkeypatch):
    folder, settings = place
    write_csv(folder / "week-3.csv", rows(700, seed=5, noise=0.5))

    def away(*_: object) -> None:
        raise RegistryError("MLflow does not let you in.", "set a password.")

    with monkeypatch.context() as patch:
        patch.setattr(registry, "retire_challenger", away)
        with pytest.raises(RegistryError):
            run(folder)
    assert registry.with_alias(settings, "reviews", "challenger").version == 3
    result, _ = run(folder)  # what a run that failed behind the decision has left undone is done by the next one
    assert result["outcome"] == "refused"
    assert registry.champion(settings, "reviews").version == 2
    assert read_release(settings, "reviews").version == 2
    assert registry.with_alias(settings, "reviews", "challenger") is None
    decision = json.loads(Path(result["decision"]["folder"], "decision.json").read_text())
    assert decision["promote"] is False
    assert decision["reason"] == result["reason"]
    begun, refused = registry.read_moves(settings, "reviews")[-2:]
    assert [(each.action, each.alias, each.after) for each in (begun, refused)] == [
        ("challenge", "challenger", 3), ("refuse", "challenger", None),
    ]  # fmt: skip
    assert (refused.why, refused.numbers["gate"]["floor"]) == (result["reason"], 0.4)
    assert registry.examine_ledger(settings, "reviews") == []


def test_the_same_refused_candidate_is_not_judged_twice(place):
    result, _ = run(place[0])
    assert result["outcome"] == "unchanged"
    assert "Refused by" in result["reason"]


def test_a_model_that_was_rolled_back_does_not_come_back(place):
    folder, settings = place
    (folder / "week-3.csv").unlink()
    registry.rollback(settings, "reviews", reason="it insulted a customer")
    result, _ = run(folder)
    assert result["outcome"] == "unchanged"
    assert "it insulted a customer" in result["reason"]
    assert registry.champion(settings, "reviews").version == 1


def test_what_people_corrected_makes_a_run_that_has_something_to_do(place, tiny_base):
    folder, settings = place
    data = {"train": "week-*.csv", "test": "test.csv", "split": {"validation": 0.2}, "feedback": True}
    write_run_file(folder, tiny_base, data=data)
    assert open_job(read_run_file(folder / "reviews.yaml"), settings, RunLog()).plan().unchanged
    line = {"text": "so happy with this oven 77", "label": "pos", "version": 1, "time": "2026-11-20T10:00:00+00:00"}
    settings.feedback.mkdir(exist_ok=True)
    (settings.feedback / "reviews.jsonl").write_text(json.dumps(line) + "\n")
    plan = open_job(read_run_file(folder / "reviews.yaml"), settings, RunLog()).plan()
    assert plan.unchanged is None
    assert (plan.steps[0].reason, plan.feedback) == (
        "changed: data.feedback", "Feedback to validate: feedback/reviews.jsonl.",
    )  # fmt: skip
    (settings.feedback / "reviews.jsonl").unlink()
    write_run_file(folder, tiny_base)


def test_the_queue_is_made_by_the_champion_of_rows_that_are_not_known_yet(place, capsys):
    folder, settings = place
    known = [*rows(120, seed=2, noise=0.2)[:10], *rows(200, seed=1)[:5]]
    pool = write_csv(folder / "pool" / "pool.csv", [*known, *rows(40, seed=8)])
    target = folder / "queue.csv"
    write_label_queue(
        "reviews", settings, pool, target, rows=12, kind="csv", columns=[], version=None, as_json_object=True
    )
    told = json.loads(capsys.readouterr().out)
    assert (told["version"], told["rows"], told["pool"]) == (1, 12, 55)
    assert sum(told["left_out"].values()) >= 15
    texts = [row.split(",")[0] for row in target.read_text().splitlines()[1:]]
    assert len(set(texts)) == 12
    assert set(texts) <= {text for text, _ in rows(40, seed=8)}


def test_what_more_labels_would_buy_is_in_mlflow_and_registers_nothing(place, capsys):
    folder, settings = place
    before = registry.versions(settings, "reviews")
    show_label_value(
        str(folder / "reviews.yaml"),
        settings,
        method="embeddings",
        more=None,
        seeds=2,
        output=None,
        as_json_object=True,
    )
    told = json.loads(capsys.readouterr().out)
    client = registry.open_store(settings)
    run_ = client.get_run(told["run_id"])
    assert run_.info.status == "FINISHED"
    assert run_.data.tags["mlflow.note.content"] == told["sentence"]
    assert run_.data.metrics["label_value/gain"] == told["forecasts"][-1]["gain"]
    assert "label_value/label_value.png" in {file.path for file in client.list_artifacts(told["run_id"], "label_value")}
    assert registry.versions(settings, "reviews") == before
    assert list((settings.home / "scratch").glob("label-value-*")) == []


def test_every_step_left_an_artifact_to_read(place):
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = client.read_artifacts(limit=200)
        tasks = client.read_task_runs(limit=200)
    done = [task for task in tasks if task.state_name == "Completed"]
    assert {task.name.rpartition("-")[0] for task in done} >= {"tokenize", "evaluate champion", "check bundle"}
    shown = {artifact.task_run_id for artifact in found}
    assert [task.name for task in done if task.id not in shown] == []
    assert any("exact McNemar test" in each.data for each in found if each.key == "reviews-decision")


def test_no_run_stays_open_in_mlflow(place):
    _, settings = place
    client = registry.open_store(settings)
    experiment = client.get_experiment_by_name("reviews")
    states = {run.info.status for run in client.search_runs([experiment.experiment_id])}
    assert states <= {"FINISHED", "FAILED"}


def test_a_planted_secret_is_in_no_parameter_log_artifact_or_file(place):
    from prefect.client.orchestration import get_client

    folder, _ = place
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(limit=100)
        found = [*runs, *client.read_artifacts(limit=200), *client.read_flows(limit=10)]
        shown = "".join(each.model_dump_json() for each in found)
    assert runs
    assert all(set(run.parameters) == {"run_file", "as_of", "cause"} for run in runs)
    assert "planted-secret" not in shown
    stored = [path for path in [*folder.rglob("*"), *prefect_files()] if path.is_file()]
    assert any(path.name == "training.log" for path in stored)
    assert [path for path in stored if b"planted-secret" in path.read_bytes()] == []


def prefect_files() -> list[Path]:
    """What Prefect's test server and its clients have written: the database with all logs, and stored results."""
    from prefect.settings import get_current_settings

    found = get_current_settings()
    database = Path(found.server.database.connection_url.get_secret_value().partition("///")[2])
    assert database.exists()
    return [*database.parent.rglob("*"), *(Path(found.home) / "storage").rglob("*")]


def test_somebody_was_told_once_of_each_thing_that_needed_a_person(place, told):
    assert [text.split("*")[1].removeprefix("reviews: ") for text in told.texts] == [
        "the new version waits for approval",
        "the data was rejected",
        "the run failed",
        "the run works again",
        "the new version was refused",
    ]
    assert "neutral" in told.texts[1]
    assert Path(told.texts[1].partition("cat ")[2].split("\n")[0]).exists()


def test_a_prefect_notification_block_tells_as_well(place, told):
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    block = CustomWebhookNotificationBlock(name="ops", url=told.address, json_data={"text": "{{subject}} | {{body}}"})
    block.save("ops")
    deliver("custom-webhook/ops", "reviews: a test", "Look further.")
    assert told.texts[-1] == "reviews: a test | Look further."
    with pytest.raises(Undelivered, match="did not take it"):
        deliver("custom-webhook/nobody", "reviews: a test", "Look further.")


@pytest.fixture
def ask(place):
    """Ask the live version of the endpoint about these texts."""
    from starlette.testclient import TestClient

    from components.serving.places import places_of
    from service.application import Application

    _, settings = place

    def asked(texts: list[str]) -> None:
        source = read_release(settings, "reviews").path / "src"
        with TestClient(Application(source, places_of(settings, "reviews"))) as client:
            for start in range(0, len(texts), 50):
                assert client.post("/predict", json={"texts": texts[start : start + 50]}).status_code == 200

    return asked


def watch(folder: Path) -> dict:
    from flows.monitor import monitor

    return monitor(str(folder / "reviews.yaml"))


def chinese(count: int) -> list[str]:
    return [f"酒店的房间很好{number}" for number in range(count)]


def test_what_is_asked_is_watched_against_what_was_bundled(place, ask, tiny_base, told):
    from components.registry import open_store

    folder, settings = place
    write_run_file(folder, tiny_base, monitor={"min_rows": 100})
    kept = read_release(settings, "reviews").path / "src" / "reference"
    assert json.loads((kept / "reference.json").read_text())["rows"] == 200
    assert watch(folder)["reason"].startswith("There is no request log")
    ask([text for text, _ in rows(300, seed=31)])
    found = watch(folder)
    assert found["verdict"] in ("ok", "watch"), found["reason"]
    assert {each["against"] for each in found["findings"]} == {"training reference", "no errors"}
    assert watch(folder)["verdict"] is None
    client = open_store(settings)
    [run] = client.search_runs(
        [client.get_experiment_by_name("reviews").experiment_id], "tags.`rebert.kind` = 'monitoring'"
    )
    assert run.data.tags["rebert.version"] == "1"
    assert run.data.metrics["monitor/texts"] == 300
    [window] = client.list_artifacts(run.info.run_id, "windows")
    names = {Path(each.path).name for each in client.list_artifacts(run.info.run_id, window.path)}
    assert names == {"report.md", "report.json", "effects.png", "distributions.png", "labels.png"}


def test_an_alarm_is_told_once_while_it_goes_on(place, ask, told):
    folder, _ = place
    before = len(told.texts)
    for _ in range(2):
        ask(chinese(120))
        assert watch(folder)["verdict"] == "alarm"
    assert len(told.texts) == before + 1
    assert "reviews: the monitor has an alarm" in told.texts[-1]
    assert "scripts (Han 100.0%, was 0.0%" in told.texts[-1]


def test_an_alarm_that_shall_retrain_says_why_it_cannot(place, ask, tiny_base, told):
    folder, settings = place
    write_run_file(folder, tiny_base, monitor={"min_rows": 100, "retrain_on": ["scripts"]})
    (settings.home / "monitor" / "reviews" / "state.json").unlink()
    ask(chinese(120))
    for number in range(2):
        found = watch(folder)
        assert found["verdict"] == "retrain"
        assert "There is no Prefect server" in found["action"]
        assert "There is no Prefect server" in told.texts[-1]
        if not number:
            ask(chinese(120))
    assert sum("There is no Prefect server" in text for text in told.texts) == 1


def test_a_window_can_be_looked_at_without_any_consequence(place, capsys):
    from flows.monitoring import monitor_model

    _, settings = place
    state = (settings.home / "monitor" / "reviews" / "state.json").read_text()
    monitor_model("reviews", settings, "150", True)
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["window"]["texts"], found["action"]) == ("alarm", 140, "")  # whole requests
    monitor_model("reviews", settings, "24h", False)
    assert "reviews version 1: alarm" in capsys.readouterr().out
    assert (settings.home / "monitor" / "reviews" / "state.json").read_text() == state
    with pytest.raises(ConfigError, match="'soon' is no window"):
        monitor_model("reviews", settings, "soon", True)


def test_a_version_without_a_reference_gets_one_of_its_frozen_rows(place, capsys):
    import shutil

    from flows.references import find_reference

    _, settings = place
    live = registry.champion(settings, "reviews")
    bundled = read_release(settings, "reviews").path / "src" / "reference"
    usual = find_reference(settings, live)
    labels = usual.table()["label"].tolist()
    shutil.move(bundled, settings.home / "aside")
    fetched = find_reference(settings, live)  # as the run has left it in MLflow
    assert (fetched.rows, fetched.folder.parent) == (usual.rows, settings.models)
    shutil.rmtree(fetched.folder)
    client = registry.open_store(settings)
    left = Path(client.get_run(live.run_id).info.artifact_uri.removeprefix("file://")) / "monitoring"
    shutil.move(left, settings.home / "left")
    made = find_reference(settings, live)
    assert "it is made of its frozen rows now" in capsys.readouterr().err
    assert made.table()["label"].tolist() == labels
    assert made.right == usual.right
    shutil.rmtree(made.folder)
    shutil.move(settings.home / "left", left)
    shutil.move(settings.home / "aside", bundled)


def test_the_last_rejection_is_found_behind_many_windows(place):
    from components.tracking import last_rejection

    _, settings = place
    client = registry.open_store(settings)
    experiment = client.get_experiment_by_name("reviews").experiment_id
    made = [client.create_run(experiment, tags={"rebert.kind": "monitoring"}).info.run_id for _ in range(25)]
    judged = client.create_run(experiment, start_time=int(2e12), tags={"decision": "rejected", "reason": "bad rows"})
    assert last_rejection(settings, "reviews").reason == "bad rows"
    for run_id in (*made, judged.info.run_id):
        client.delete_run(run_id)


def test_a_monitor_of_a_model_that_is_not_live_says_what_is_there(place):
    from components.errors import RegistryError
    from flows.monitoring import monitor_model

    with pytest.raises(RegistryError, match="No version of 'shop' is live; models here: reviews"):
        monitor_model("shop", place[1], None, False)
