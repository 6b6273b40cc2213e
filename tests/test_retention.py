"""What is kept of many runs and what goes, and that nothing goes that is needed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from components import registry, retention
from components.errors import RegistryAway, StorageError
from components.records import Bundle
from components.serving.places import trial_file
from components.serving.releases import write_release
from components.serving.trials import begin_trial
from components.settings import Settings
from components.step_store import MARKER, Step, StepStore
from flows import pruning
from tests.model_folders import another_model
from tests.test_registry import promote

MODELS = 6


@pytest.fixture
def crowded(settings: Settings, tiny_model: Path, tmp_path: Path) -> Settings:
    """Six versions of 'shop', of which 1 and 3 were promoted; a bundle and a fetched copy of each."""
    client = registry.open_store(settings)
    experiment = client.create_experiment("shop", (settings.artifacts / "shop").as_uri())
    for number in range(1, MODELS + 1):
        run_id = client.create_run(experiment).info.run_id
        model = another_model(tmp_path / f"model-{number}", tiny_model, train_rows=100 + number)
        version = registry.register_model(settings, run_id, model)
        registry.fetch_model(settings, version)
        (settings.bento_home / "bentos" / "shop" / f"{number}-abc").mkdir(parents=True)
        if number in (1, 3):
            promote(settings, number)
    return settings


def kept(settings: Settings) -> tuple[list[int], list[str]]:
    bundles = (settings.bento_home / "bentos" / "shop").iterdir()
    return sorted(each.version for each in registry.versions(settings, "shop")), sorted(path.name for path in bundles)


def prune(settings: Settings, keep: int) -> list[retention.Removal]:
    found = retention.find_removable(settings, "shop", keep)
    retention.remove(settings, found)
    return found


def test_what_was_ever_live_stays_and_so_do_the_newest(crowded: Settings):
    found = prune(crowded, keep=2)
    assert kept(crowded) == ([1, 3, 5, 6], ["1-abc", "3-abc", "5-abc", "6-abc"])
    assert {each.kind for each in found} == {"version", "bundle", "copy"}
    for version in registry.versions(crowded, "shop"):
        assert registry.fetch_model(crowded, version).is_dir()
    assert prune(crowded, keep=2) == []


def test_a_base_model_that_another_model_was_made_from_stays(crowded: Settings, tiny_model: Path, tmp_path: Path):
    client = registry.open_store(crowded)
    run_id = client.create_run(client.create_experiment("tuned")).info.run_id
    model = another_model(tmp_path / "tuned", tiny_model, name="tuned", base_model="models:/shop/2")
    registry.register_model(crowded, run_id, model)
    prune(crowded, keep=1)
    assert kept(crowded)[0] == [1, 2, 3, 6]


def test_the_files_of_a_version_go_with_it(crowded: Settings):
    doomed = next(each for each in registry.versions(crowded, "shop") if each.version == 2)
    files = registry.version_files(crowded, doomed)
    assert files is not None
    assert files.is_dir()
    prune(crowded, keep=1)
    assert not files.exists()
    copies = {path.name for path in crowded.models.iterdir()}
    assert copies == {each.digest[:16] for each in registry.versions(crowded, "shop")}


def test_a_rollback_still_finds_where_to_go_back_to(crowded: Settings):
    prune(crowded, keep=1)
    registry.rollback(crowded, "shop", reason="a test")
    assert registry.champion(crowded, "shop").version == 1
    prune(crowded, keep=1)
    assert kept(crowded)[0] == [1, 3, 6]


def test_a_bundle_that_is_served_stays(crowded: Settings):
    served = crowded.bento_home / "bentos" / "shop" / "2-abc"
    write_release(crowded, "shop", Bundle("shop:2-abc", served, 2, "0" * 64))
    prune(crowded, keep=1)
    assert served.is_dir()


def test_a_version_on_trial_stays_with_its_bundle(crowded: Settings):
    tried = crowded.bento_home / "bentos" / "shop" / "2-abc"
    begin_trial(trial_file(crowded, "shop"), Bundle("shop:2-abc", tried, 2, "0" * 64), "shadow", 0.5)
    prune(crowded, keep=1)
    assert kept(crowded) == ([1, 2, 3, 6], ["1-abc", "2-abc", "3-abc", "6-abc"])


def test_a_kill_in_the_middle_leaves_nothing_that_is_not_found_again(crowded: Settings):
    found = retention.find_removable(crowded, "shop", 1)
    for number, removal in enumerate(found, 1):
        retention.remove(crowded, [removal])
        again = retention.find_removable(crowded, "shop", 1)
        assert [each.name for each in again] == [each.name for each in found[number:]]


def test_a_version_whose_files_are_gone_already_goes_all_the_same(crowded: Settings, monkeypatch: pytest.MonkeyPatch):
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    found = [each for each in retention.find_removable(crowded, "shop", 1) if each.kind == "version"]
    client = registry.open_store(crowded)
    with monkeypatch.context() as patch:
        patch.setattr(type(client), "delete_model_version", die)
        with pytest.raises(KeyboardInterrupt):
            retention.remove(crowded, found[:1])
    prune(crowded, keep=1)
    assert kept(crowded)[0] == [1, 3, 6]


def test_steps_go_by_when_they_were_last_used(settings: Settings):
    steps = StepStore(settings.steps)
    made = [Step("tokenize", "shop", {"data": str(number)}) for number in range(4)]
    for age, step in enumerate(made):
        steps.run(step, lambda folder: Bundle("", folder, 1, ""))
        os.utime(steps.folder(step) / MARKER, (1000.0 + age, 1000.0 + age))
    assert steps.find(made[0], Bundle) is not None  # the oldest is used once more
    registry.open_store(settings)
    found = retention.find_removable(settings, "shop", 2)
    assert {each.place for each in found} == {steps.folder(step) for step in made[1:3]}


def test_an_interrupted_step_may_be_gone_on_with_for_a_week(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    torn = settings.steps / "shop" / "fine_tune" / "0123456789abcdef"
    torn.mkdir(parents=True)
    registry.open_store(settings)
    assert retention.find_removable(settings, "shop", 1) == []
    monkeypatch.setattr(retention, "ABANDONED_SECONDS", -1.0)
    assert [each.place for each in retention.find_removable(settings, "shop", 1)] == [torn]


def test_a_dry_run_removes_nothing(crowded: Settings, capsys: pytest.CaptureFixture[str]):
    pruning.prune_models("shop", crowded, 1, dry_run=True, as_json_object=False)
    shown = capsys.readouterr().out
    assert "shop 2" in shown
    assert "would go; run it without --dry-run" in shown
    assert kept(crowded)[0] == list(range(1, MODELS + 1))


def test_a_model_that_never_got_a_version_can_be_looked_at(settings: Settings):
    assert retention.find_removable(settings, "never", keep=2) == []


@pytest.mark.parametrize(
    ("error", "pruned"),
    [
        (None, 1),
        (StorageError("The disk is full.", "free some."), 1),
        (RegistryAway("MLflow is away.", "start it."), 0),
    ],
)
def test_what_is_not_needed_goes_after_a_failed_run_too(monkeypatch, error: Exception | None, pruned: int):
    from flows import retrain

    calls = []
    monkeypatch.setattr(retrain.steps, "prune", lambda job, keep: calls.append((job, keep)))
    job = SimpleNamespace(config=SimpleNamespace(retention=SimpleNamespace(keep=3)))
    with suppress(StorageError, RegistryAway), retrain._pruned_after(job):
        if error:
            raise error
    assert calls == [(job, 3)] * pruned
