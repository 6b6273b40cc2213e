"""`rebert trial` and `rebert feedback`: what they say, and the files that they leave to the endpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.errors import DataError, RegistryError
from components.records import Bundle, RegisteredVersion
from components.serving.places import feedback_file, trial_ends, trial_file
from components.serving.trials import note_end, read_trial
from components.settings import Settings
from flows import commands, trials
from tests.bundles import tiny_settings


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Version 1 is the champion of 'support'; any other version has a bundle."""
    import components.registry
    import components.serving.proving
    import flows.serving

    def version(_settings: Settings, name: str, number: int) -> RegisteredVersion:
        return RegisteredVersion(name, number, f"run{number}", "0" * 64, created=True)

    def bundle(_settings: Settings, found: RegisteredVersion) -> Bundle:
        return Bundle(f"{found.name}:{found.version}-x", tmp_path / "bundle", found.version, found.digest)

    champions = {"support": 1}
    monkeypatch.setattr(
        components.registry,
        "champion",
        lambda settings, name: version(settings, name, champions[name]) if name in champions else None,
    )
    monkeypatch.setattr(components.registry, "get_version", version)
    monkeypatch.setattr(components.registry, "fetch_model", lambda *_: tmp_path)
    monkeypatch.setattr(flows.serving, "bundle_of", bundle)
    monkeypatch.setattr(components.serving.proving, "prove_bundle", lambda *_: None)
    return tiny_settings(tmp_path)


@pytest.mark.parametrize("place", [0, 1], ids=["an endpoint here", "one in a container"])
def test_a_trial_is_begun_shown_and_ended(installation: Settings, capsys: pytest.CaptureFixture[str], place: int):
    file = trial_file(installation, "support")
    trials.show("support", installation, False)
    trials.begin("support", 2, installation, "canary", 0.05, False)
    trial = read_trial(file)
    assert (trial.version, trial.mode, trial.share) == (2, "canary", 0.05)
    trials.show("support", installation, False)
    note_end(trial_ends(installation, "support")[place], trial, "3 of 9 requests got no answer.")
    trials.show("support", installation, True)
    trials.end("support", installation)
    trials.end("support", installation)
    said = capsys.readouterr().out
    assert read_trial(file) is None
    assert "Nothing is tried beside the live version of 'support'." in said
    assert "Version 2 of 'support' answers 5% of the requests, beside 1." in said
    assert "Version 2 as canary, 5% of the requests, since" in said
    assert '"reason": "3 of 9 requests got no answer."' in said
    assert "The trial of version 2 of 'support' is over.\nNothing was tried" in said


def test_the_champion_is_not_tried_and_nothing_beside_no_champion(installation: Settings):
    with pytest.raises(RegistryError, match="Version 1 of 'support' is live"):
        trials.begin("support", 1, installation, "shadow", 0.1, False)
    with pytest.raises(RegistryError, match="No version of 'orders' is live"):
        trials.begin("orders", 2, installation, "shadow", 0.1, False)


def test_corrections_become_training_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    settings = tiny_settings(tmp_path)
    with pytest.raises(DataError, match="No corrections have been sent"):
        commands.export_corrections("support", settings, tmp_path / "rows.jsonl", False)
    source = feedback_file(settings, "support")
    source.parent.mkdir(parents=True)
    source.write_text('{"text": "a", "label": "card"}\n{"text": "a", "label": "refund"}\n')
    commands.export_corrections("support", settings, tmp_path / "rows.jsonl", False)
    assert capsys.readouterr().out.startswith("1 corrected rows: ")
    assert json.loads((tmp_path / "rows.jsonl").read_text())["label"] == "refund"
    with pytest.raises(DataError, match=r"is not named \.jsonl"):
        commands.export_corrections("support", settings, tmp_path / "rows.csv", False)
