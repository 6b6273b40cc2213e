"""The flow from raw text to a base model: what is registered, promoted, reused, and what a fine-tuning makes of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from components import registry
from components.errors import ConfigError, ProjectError, RegistryError
from components.registry import open_store
from components.run_files import read_pretraining_file
from components.settings import environment_of, read_settings
from flows.job import find_base_model
from flows.progress import RunLog, current_log
from tests.deliveries import rows, write_csv, write_run_file
from tests.pretraining_text import SMALL, small_content, write_pretraining_file, write_text

PHASES = [
    {"max_length": 16, "epochs": 1, "batch_size": 16, "learning_rate": 1e-3},
    {"max_length": 32, "epochs": 1, "batch_size": 16, "accumulation_steps": 2, "learning_rate": 1e-3},
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, empty_database: Path):
    """A folder with text, a home of its own and Prefect's test server."""
    from prefect.testing.utilities import prefect_test_harness

    folder = tmp_path_factory.mktemp("pretraining")
    settings = read_settings({"REBERT_HOME": str(folder / "home")}, folder)
    (settings.home / "mlflow").mkdir(parents=True)
    shutil.copyfile(empty_database, settings.home / "mlflow" / "mlflow.db")
    write_text(folder / "text.txt", documents=40, sentences=12)
    with pytest.MonkeyPatch.context() as patch, prefect_test_harness(server_startup_timeout=120):
        for name in ("REBERT_HOME", "MLFLOW_TRACKING_URI", "BENTOML_HOME"):
            patch.setenv(name, environment_of(settings)[name])
        yield folder, settings


def run(folder: Path, **sections):
    from flows.pretrain import pretrain

    log = RunLog()
    current_log.set(log)
    path = write_pretraining_file(folder, small_content(folder / "text.txt", **{"phases": PHASES, **sections}))
    return pretrain(str(path)), {step.name: step.outcome for step in log.steps}


SENTENCES = [f"Sentence number {number}." for number in range(50)]
CHINESE_SENTENCES = [f"这是第{number}个句子。" for number in range(50)]


def blocks(sentences: list[str]) -> str:
    return "\n\n".join("\n".join(sentences[place : place + 5]) for place in range(0, len(sentences), 5))


@pytest.mark.parametrize(
    ("text", "model", "problem"),
    [
        ("\n".join(SENTENCES), {}, "no blank lines at all"),
        ("", {}, "is empty"),
        (blocks(SENTENCES) + "\n\n" + blocks(CHINESE_SENTENCES), {}, "mixes languages"),
        (None, {"base": "no-mask"}, r"has no \[MASK\]"),
        (None, {"config": {**SMALL, "vocab_size": 9}}, "model.config.vocab_size is 9"),
    ],
    ids=["no blank lines", "empty", "mixed", "no [MASK]", "vocab_size"],
)
def test_what_cannot_be_learned_from_is_refused_and_nothing_is_registered(place, tiny_base, text, model, problem):
    folder, settings = place
    bad = folder / "bad.txt"
    bad.write_text((folder / "text.txt").read_text(encoding="utf-8") if text is None else text, encoding="utf-8")
    if "base" in model:
        model = {"base": str(without_mask(tiny_base, folder / "no-mask"))}
    options = {"corpus": {"files": str(bad), "held_out": 0.2}, "examples": {"next_sentence": "base" not in model}}
    with pytest.raises(ProjectError, match=problem):
        run(folder, **options, **({"model": model} if model else {}))
    assert registry.list_models(settings) == []
    client = open_store(settings)
    experiments = [each.experiment_id for each in client.search_experiments()]
    assert [each.info.run_id for each in client.search_runs(experiments) if each.info.status == "RUNNING"] == []


def without_mask(base: Path, folder: Path) -> Path:
    """A copy of a base model whose tokenizer hides nothing."""
    from transformers import AutoTokenizer

    shutil.copytree(base, folder)
    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    tokenizer.mask_token = None
    tokenizer.save_pretrained(folder)
    return folder


def test_the_first_pretraining_is_registered_and_promoted_with_its_numbers_by_phase(place):
    folder, settings = place
    result, steps = run(folder)
    assert result["outcome"] == "promoted", result["reason"]
    assert list(steps) == [
        "corpus", "vocabulary", "examples", "phase_1", "phase_2",
        "evaluate", "register", "decide", "optimise", "bundle", "prove", "promote",
    ]  # fmt: skip
    names = {
        "mlm_loss",
        "mlm_accuracy",
        "mlm_perplexity",
        "nsp_loss",
        "nsp_accuracy",
        "nsp_pairs",
        "nsp_low",
        "nsp_high",
        "nsp_chance",
    }
    assert {f"phase_{number}_{name}" for number in (1, 2) for name in names} <= result["metrics"].keys()
    found = open_store(settings).get_run(result["run_id"])
    assert found.data.metrics["phase_2/mlm_loss"] == pytest.approx(result["metrics"]["phase_2_mlm_loss"])
    assert found.data.metrics["examples/unigram_entropy"] > 3
    assert found.data.params["phase_2.max_length"] == "32"
    losses = open_store(settings).get_metric_history(result["run_id"], "train/mlm_loss")
    steps_of_losses = [point.step for point in losses]
    assert steps_of_losses == sorted(set(steps_of_losses))
    rates = open_store(settings).get_metric_history(result["run_id"], "train/tokens_per_second")
    assert all(point.value > 0 for point in rates)
    artifacts = [item.path for item in open_store(settings).list_artifacts(result["run_id"], "phase_2")]
    assert artifacts == ["phase_2/samples.md"]


def test_the_same_again_finds_every_step_done(place):
    folder, settings = place
    result, steps = run(folder)
    assert result["outcome"] == "unchanged"
    # The first vocabulary was of the text, this one is the champion's: the same, to the byte.
    assert {name for name, outcome in steps.items() if outcome != "reused"} <= {"vocabulary"}
    assert len(registry.versions(settings, "small-bert")) == 1


def test_the_champion_is_a_base_model_for_fine_tuning_with_its_encoder(place):
    import torch
    from transformers import AutoModelForSequenceClassification, BertForPreTraining

    folder, settings = place
    by_alias = find_base_model(settings, "models:/small-bert@champion", folder, None)
    assert by_alias == find_base_model(settings, "models:/small-bert/1", folder, None)
    assert by_alias.spec == "models:/small-bert/1"
    whole = BertForPreTraining.from_pretrained(by_alias.folder, local_files_only=True)
    tuned = AutoModelForSequenceClassification.from_pretrained(by_alias.folder, local_files_only=True)
    for name, value in whole.bert.state_dict().items():
        assert torch.equal(value, tuned.bert.state_dict()[name]), name


def test_an_address_without_a_model_is_one_clear_sentence(place):
    folder, settings = place
    with pytest.raises(RegistryError, match="No version of 'nothing' is its champion; models here: small-bert"):
        find_base_model(settings, "models:/nothing@champion", folder, None)
    with pytest.raises(ConfigError, match="names no registered model"):
        find_base_model(settings, "models:/nothing", folder, None)


def test_going_on_from_the_champion_on_more_text_is_judged_against_it(place):
    folder, settings = place
    write_text(folder / "more.txt", documents=50, sentences=20)
    phases = [{"max_length": 32, "epochs": 1, "batch_size": 16, "learning_rate": 1e-9}]
    model = {"base": "models:/small-bert@champion"}
    corpus = {"files": str(folder / "more.txt"), "held_out": 0.2}
    result, steps = run(folder, corpus=corpus, phases=phases, model=model)
    assert result["outcome"] == "refused"  # it has learned nothing
    assert result["decision"]["champion_version"] == 1
    assert "evaluate champion" in steps
    versions = registry.versions(settings, "small-bert")
    assert versions[0].tags["base_model"] == "models:/small-bert/1"


def test_another_vocabulary_than_the_champions_is_refused_before_anything_is_trained(place):
    folder, _ = place
    with pytest.raises(ConfigError, match="scores could not be compared"):
        run(folder, vocabulary={"size": 300})


@pytest.mark.slow
def test_pretraining_on_domain_text_is_compared_with_the_untouched_base_over_seeds(place, tiny_base):
    from flows.adapt import adapt

    folder, settings = place
    write_csv(folder / "week-1.csv", rows(60, seed=1))
    write_csv(folder / "test.csv", rows(60, seed=2))
    task = write_run_file(
        folder, tiny_base, training={"epochs": 1, "batch_size": 16, "device": "cpu", "precision": "fp32"}
    )
    content = small_content(
        folder / "text.txt",
        name="domain-bert",
        model={"base": str(tiny_base)},
        examples={"next_sentence": False},
        phases=[{"max_length": 32, "epochs": 1, "batch_size": 32}],
    )
    found = adapt(str(write_pretraining_file(folder, content)), str(task), 2)
    assert found["outcome"] in ("better", "worse", "no difference shown")
    assert found["pretraining"]["outcome"] == "promoted"
    assert found["seeds"] == [42, 43]
    assert registry.versions(settings, "reviews") == []  # nothing of the fine-tunings is registered
    client = open_store(settings)
    runs = client.search_runs([client.get_experiment_by_name("reviews").experiment_id])
    arms = sorted((run.data.tags["rebert.adaptation.base"], run.data.params["model.base"]) for run in runs)
    assert arms == [("adapted", "models:/domain-bert/1")] * 2 + [("untouched", str(tiny_base))] * 2
    assert all("test/accuracy" in run.data.metrics for run in runs)
    made = client.get_run(found["pretraining"]["run_id"])
    assert made.data.tags["adaptation"] == found["reason"]
    other = write_run_file(folder, folder / "elsewhere")
    with pytest.raises(ProjectError):
        adapt(str(folder / "small.yaml"), str(other), 2)


def test_a_file_is_told_which_command_reads_it(place):
    from components.run_files import read_run_file

    folder, _ = place
    path = write_pretraining_file(folder, small_content(folder / "text.txt"))
    with pytest.raises(ConfigError, match="describes a pretraining"):
        read_run_file(path)
    assert read_pretraining_file(path).model.config == SMALL
