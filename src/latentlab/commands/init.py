"""`latentlab init`: write a profile with settings that are derived from a dataset."""

import io
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML

from latentlab.commands.data_facts import DataFacts, measure
from latentlab.commands.derive import Setting, derive, estimate_minutes
from latentlab.common.errors import ParamsError
from latentlab.common.files import write_text
from latentlab.common.progress import note
from latentlab.common.project import Project, profile_name
from latentlab.data.sources import find_local
from latentlab.params.load import load_params
from latentlab.params.messages import first_error
from latentlab.params.schema import DataParams

LINE_WIDTH = 4096
"""Maximum line width; no value is folded."""


def show_profile(project: Project, dataset: str, image_size: int | None, force: bool) -> None:
    """Write the profile, and print what was found and the next commands."""
    path, facts = write_profile(project, dataset, image_size, force)
    print("\n".join(summarize(facts)))
    track = "  dvc add data\n" if (project.data / dataset).is_dir() else ""
    note(f"{path}: written. Next:\n{track}  make repro PROFILE={path.stem}")


def write_profile(
    project: Project, dataset: str, image_size: int | None, force: bool
) -> tuple[Path, DataFacts]:
    """Write `profiles/<dataset>.yaml` and return its path and what was found.

    How the dataset is read (labels, options, fit, scale) follows `params.yaml` if that names the
    same dataset. Raises ParamsError if the profile exists, unless `force` replaces it.
    """
    name = profile_name(dataset)
    path = project.profiles / f"{name}.yaml"
    data = _reading(project, dataset, image_size)
    if path.exists() and not force:
        raise ParamsError(
            f"{path} already exists. Merge it with `latentlab profile {name}`, or replace it with "
            f"`latentlab init {dataset} --force`."
        )
    find_local(dataset, project.data)
    facts = measure(data, project.data, image_size)
    write_text(path, render(facts))
    return path, facts


def render(facts: DataFacts) -> str:
    """Return the text of the profile, with the reason of each derived value as a comment."""
    name = facts.data.name
    lines = [
        f"# {name}: {facts.summary}.",
        f"# Derived by `latentlab init {name}`: comments are reasons, other values are usual.",
        f"#   command   make repro PROFILE={profile_name(name)}",
        f"#   time      about {estimate_minutes(facts):.0f} minutes on 2 CPU cores (estimated)",
        "#   expected  every model better than its baseline; no measured results",
        "#   n         0",
    ]
    parents: list[str] = []
    for setting in derive(facts):
        *sections, key = setting.path.split(".")
        depth = 0
        while depth < min(len(sections), len(parents)) and sections[depth] == parents[depth]:
            depth += 1
        lines += [f"{'  ' * level}{sections[level]}:" for level in range(depth, len(sections))]
        parents = sections
        lines.append(f"{'  ' * len(sections)}{key}: {_flow(setting.value)}{_comment(setting)}")
    return "\n".join(lines) + "\n"


def summarize(facts: DataFacts) -> list[str]:
    """Return what was found in the data as lines for the user."""
    mirrored = "look like the others" if facts.mirrored else "look different"
    moved = "look like the others" if facts.movable else "look different"
    return [
        facts.summary,
        f"training images: {facts.train_images:,}; entropy of the pixels: {facts.entropy:.1f} bits",
        f"90% of the variance: {facts.components} principal components",
        f"mirror images {mirrored}; images moved by a quarter of their size {moved}",
        f"estimated time on 2 CPU cores: {estimate_minutes(facts):.0f} minutes",
    ]


def _reading(project: Project, dataset: str, image_size: int | None) -> DataParams:
    """Return the section `data` for a dataset: that of `params.yaml` if it names the dataset."""
    current = load_params(project.params).data
    size = {} if image_size is None else {"image_size": image_size}
    known = current.tree() if current.name == dataset else {"name": dataset}
    try:
        return DataParams.model_validate(known | size)
    except ValidationError as error:
        raise ParamsError(
            f"latentlab init {dataset}: {first_error(error)}. DATASET is the name of a folder "
            "data/<name>/ or of a known dataset; image sizes are multiples of 4 from 8 to 256."
        ) from None


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, list):  # ruamel leaves out the braces of items such as {a: 1}
        return f"[{', '.join(_flow(each) for each in value)}]"
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = True
    yaml.width = LINE_WIDTH
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # as in yaml_io
    text = io.StringIO()
    yaml.dump(value, text)
    return text.getvalue().removesuffix("...\n").strip()


def _comment(setting: Setting) -> str:
    return f"  # {setting.reason}" if setting.reason else ""
