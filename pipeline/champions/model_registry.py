"""Wrap MLflow's model registry: a registered model per image mode, one for the generator, the alias `champion`.

Models are written in MLflow's default formats with a signature and pinned requirements. MLflow takes seconds to import,
so functions import it where they use it.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import digests
from pipeline.core.errors import InputError
from pipeline.runtime.tracking import TrackedRun

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import Model
    from mlflow.tracking import MlflowClient

CHAMPION = "champion"  # of recommenders: the one that makes the lists
VISUAL_CHAMPION = "visual_champion"  # the recommender that scores new pictures: designs, search by picture, new items
# Tags of a version: the registered folder, the decision, and MLflow's logged model (for which SQLite and PostgreSQL
# stores have no column).
MADE, DECISION, LOGGED = "atelier.model", "atelier.verdict", "atelier.logged_model"
NOT_CHOSEN = "not chosen"  # the result where another model of the same data was; it may be chosen later
DECISIONS = {CHAMPION: DECISION, VISUAL_CHAMPION: "atelier.visual_verdict"}  # alias -> tag with the decision
PACKAGES = Path(__file__).parents[2]
# The served model's imports, pinned to the versions that wrote it.
RECOMMENDER_NEEDS = ("mlflow", "numpy", "pandas", "pillow", "pyarrow", "simplejpeg", "torch")
CARD_BEGINS = "\n\n***\n\n"  # a rule between the decision on a version and its card
DESCRIPTION_LENGTH = 5000  # MLflow's limit in SQL stores
RECOMMENDER, GENERATOR = "recommender", "generator"


def model_name(kind: str, mode: str | None = None) -> str:
    """Name the registered model of a kind: `recommender`, with its image mode, or `generator`."""
    return f"atelier-{kind}-{mode}" if mode else f"atelier-{kind}"


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a registered model."""

    name: str
    number: int
    made: str  # the model's folder under the home; of a baseline RUN/NAME
    decision: str  # the result of the decision on it as champion; empty before that
    model_id: str
    run_id: str
    visual_decision: str = ""  # the same as visual champion

    def decided(self, alias: str) -> bool:
        """Return whether it was compared with a champion for this alias."""
        return (self.visual_decision if alias == VISUAL_CHAMPION else self.decision) not in ("", NOT_CHOSEN)

    @property
    def uri(self) -> str:
        """The version's address for MLflow's commands."""
        return f"models:/{self.name}/{self.number}"


class Registry:
    """The registered models of one tracking store."""

    def __init__(self, client: "MlflowClient", uri: str):
        self._client, self._uri = client, uri

    def champion(self, name: str, alias: str = CHAMPION) -> RegisteredVersion | None:
        """Return the version that has the alias; None if there is none."""
        number = self._aliases(name).get(alias)
        return None if number is None else _version(self._client.get_model_version(name, str(number)))

    def find(self, name: str, made: str) -> RegisteredVersion | None:
        """Return the version that was registered from a model folder, the newest if there are several."""
        found = [version for version in self.versions(name) if version.made == made]
        return max(found, key=lambda version: version.number, default=None)

    def versions(self, name: str) -> list[RegisteredVersion]:
        """List all versions, oldest first."""
        found = (_version(each) for each in self._client.search_model_versions(f"name = '{name}'", max_results=10_000))
        return sorted(found, key=lambda version: version.number)

    def status(self, name: str, made: str) -> dict[str, Any]:
        """Return a model folder's `registered` name, `version` and the `champion`; empty or None if there is none."""
        version, current = self.find(name, made), self.champion(name)
        return {
            "registered": name if version else "",
            "version": version.number if version else None,
            "champion": current.number if current else None,
        }

    def register(
        self, run: TrackedRun, name: str, made: str, write: Callable[[Path, "Model"], None], tags: Mapping[str, str]
    ) -> RegisteredVersion:
        """Log the model that `write` saves as an output of the run, and register it. If that fails, no version is left.

        Args:
            run: the run whose output the model is.
            name: of the registered model.
            made: the model's folder under the home.
            write: saves the model in MLflow's format into an empty folder.
            tags: further tags of the model and the version.
        """
        from mlflow.entities import LoggedModelOutput
        from mlflow.exceptions import MlflowException
        from mlflow.models import Model

        all_tags = {MADE: made, "dagster.run_id": run.dagster_run, **tags}
        logged = self._client.create_logged_model(run.experiment_id, name, run.run_id, all_tags)
        try:
            with tempfile.TemporaryDirectory() as folder:
                saved = Path(folder) / "model"
                write(saved, Model(model_id=logged.model_id, model_uuid=logged.model_id, run_id=run.run_id))
                digests.write_list(saved)
                self._client.log_model_artifacts(logged.model_id, str(saved))
            self._client.finalize_logged_model(logged.model_id, "READY")
        except BaseException:
            self._client.finalize_logged_model(logged.model_id, "FAILED")
            raise
        self._client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, 0)])
        try:
            self._client.create_registered_model(name, description=_about(name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        # By location, not as models:/ID: MLflow would look the id up in the process's default store, not the client's.
        created = self._client.create_model_version(
            name,
            logged.artifact_location,
            run.run_id,
            tags={**all_tags, LOGGED: logged.model_id},
            model_id=logged.model_id,  # without it a tracking server refuses the location
        )
        return _version(created)

    def record_decision(
        self, version: RegisteredVersion, result: str, description: str, promote: bool, alias: str = CHAMPION
    ) -> None:
        """Record the decision on a version, and move the alias to it if it is promoted.

        The alias is moved before the tag is set. If the process is killed between the two, the version is champion and
        is not compared with itself; if it is killed before both, the version is decided on again.
        """
        number = str(version.number)
        if alias != CHAMPION:
            before = self._client.get_model_version(version.name, number).description or ""
            decided, rule, card = before.partition(CARD_BEGINS)
            description = f"{decided}\n\nAs {alias}: {description}{rule}{card}"[:DESCRIPTION_LENGTH]
        self._client.update_model_version(version.name, number, description)
        if promote:
            self._client.set_registered_model_alias(version.name, alias, number)
        self._client.set_model_version_tag(version.name, number, DECISIONS[alias], result)

    def describe(self, version: RegisteredVersion, card: str) -> None:
        """Append a card to a version's description, or replace its card; cut the text to the store's limit."""
        before = self._client.get_model_version(version.name, str(version.number)).description or ""
        decision = before.split(CARD_BEGINS)[0]
        text = f"{decision}{CARD_BEGINS}{card}"
        if text != before:
            self._client.update_model_version(version.name, str(version.number), text[:DESCRIPTION_LENGTH])

    def folder(self, version: RegisteredVersion) -> Path:
        """Return the folder with the version's files, downloaded if the store is on another machine.

        Raises:
            InputError: the files are missing or damaged.
        """
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        try:
            location = self._client.get_model_version_download_uri(version.name, str(version.number))
            found = Path(download_artifacts(artifact_uri=location, tracking_uri=self._uri))
            digests.expect_list(found, "bring its files back from a copy.")
            return found
        except (MlflowException, OSError) as error:
            raise InputError(
                f"the files of {version.uri} cannot be read ({error}): restore them, or move the alias {CHAMPION} of "
                f"{version.name} to another version, or delete it (docs/compare.md)."
            ) from error

    def _aliases(self, name: str) -> dict[str, Any]:
        from mlflow.exceptions import MlflowException

        try:
            return dict(self._client.get_registered_model(name).aliases)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}


def write_recommender(packed: Path, out: Path, model: "Model", needs: tuple[str, ...] = ()) -> None:
    """Save the folder that `served_model.pack` made as an MLflow pyfunc, with copies of our packages that it imports.

    `needs` are packages of others that it needs besides RECOMMENDER_NEEDS.
    """
    import mlflow
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    # Only the answer has a schema. With one for requests, MLflow would drop unknown columns and cast or refuse whole
    # columns; `served_request.py` must see every cell unchanged, to name the wrong one.
    columns = {
        "row": DataType.long,
        "user_id": DataType.string,
        "known": DataType.boolean,
        "rank": DataType.long,
        "item": DataType.string,
        "score": DataType.double,
    }
    mlflow.pyfunc.save_model(
        path=str(out),
        mlflow_model=model,
        python_model=str(PACKAGES / "pipeline" / "champions" / "served_recommender.py"),
        artifacts={RECOMMENDER: str(packed)},
        code_paths=[str(PACKAGES / "models"), str(PACKAGES / "pipeline")],
        signature=ModelSignature(
            outputs=Schema(
                [ColSpec(kind, name, required=name not in ("user_id", "item")) for name, kind in columns.items()]
            )
        ),
        input_example=pd.DataFrame([{"user_id": "somebody new", "k": 5.0}]),
        pip_requirements=pinned((*RECOMMENDER_NEEDS, *needs)),
    )


def pinned(packages: tuple[str, ...]) -> list[str]:
    """Return `name==version` for installed packages, without a build suffix such as `+cpu`."""
    return [f"{name}=={installed(name).partition('+')[0]}" for name in packages]


def _version(found: "ModelVersion") -> RegisteredVersion:
    tags = found.tags or {}
    return RegisteredVersion(
        found.name,
        int(found.version),
        tags.get(MADE, ""),
        tags.get(DECISION, ""),
        tags.get(LOGGED, ""),
        str(found.run_id),
        tags.get(DECISIONS[VISUAL_CHAMPION], ""),
    )


def _about(name: str) -> str:
    what = "The garment generator" if name == model_name(GENERATOR) else "The recommender of one image mode"
    return f"{what}. The alias `{CHAMPION}` is the version in use; moving it restores another."
