"""The one tree of errors that a user can mend.

    ProjectError                what is wrong, and what to do about it
    ├── ConfigError             the run file
    ├── DataError               a data file that cannot be read as asked
    │   └── RejectedData        readable data that validation stopped
    ├── BaseModelError          the base model is missing, damaged or of the wrong kind
    ├── TrainingError           out of memory, a loss that is not a number, a time limit
    ├── RegistryError           MLflow refuses, or holds no such model or version
    │   └── RegistryAway        MLflow does not answer now, and may do so later
    ├── OrchestrationError      Prefect's server is away
    ├── ReplayError             a version that cannot be made again from what is here
    ├── BundleError             a bundle that cannot be built, or that gives other answers than its model
    ├── ServingError            a busy port, a bundle that does not start
    ├── BusyError               another run of the same model is at work
    └── StorageError            a full disk, a folder that cannot be written

Anything else that is raised is a bug and shows its traceback.
"""


class ProjectError(Exception):
    """A problem that the user can mend.

    Args:
        problem: one sentence that says what is wrong with the actual value.
        hint: what to do about it, starting with a verb.
    """

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem, hint)  # positional, so that it survives pickling between processes
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.problem}\nTo fix: {self.hint}"


class ConfigError(ProjectError):
    """The run file says something that cannot be."""


class DataError(ProjectError):
    """A data file cannot be read as the run file describes it."""


class RejectedData(DataError):
    """Validation stopped the delivery; `report` is the folder with every failing row.

    Args:
        problem: the first reason, in one sentence.
        hint: the remedy of that reason.
        report: folder that holds `validation.md`, `validation.json` and the failing rows.
        run_id: the MLflow run that keeps the report; None where there is none yet, or MLflow is away.
    """

    def __init__(self, problem: str, hint: str, report: str = "", run_id: str | None = None) -> None:
        super().__init__(problem, hint)
        self.args = (problem, hint, report, run_id)
        self.report = report
        self.run_id = run_id


class BaseModelError(ProjectError):
    """The base model is missing, damaged, or not an encoder that can be fine-tuned."""


class TrainingError(ProjectError):
    """Training cannot go on."""


class RegistryError(ProjectError):
    """MLflow refuses, or does not hold what was asked for."""


class RegistryAway(RegistryError):
    """MLflow does not answer, answers with a fault of its own, or is busy: the same call may succeed later."""


class OrchestrationError(ProjectError):
    """The Prefect server that PREFECT_API_URL names does not answer."""


class ReplayError(ProjectError):
    """The data, code, libraries or hardware that a version was made with are not here."""


class BundleError(ProjectError):
    """A bundle cannot be built, or does not give its model's answers."""


class ServingError(ProjectError):
    """The endpoint cannot be started."""


class BusyError(ProjectError):
    """Another run of the same model holds its lock."""


class StorageError(ProjectError):
    """The disk is full or a folder cannot be written."""
