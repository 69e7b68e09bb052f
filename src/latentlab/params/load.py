"""Reading `params.yaml`: its schema, and what only the whole file can tell."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from latentlab.params.comparison import Comparison
from latentlab.params.denoising import UNetParams
from latentlab.params.fields import SEARCH
from latentlab.params.geometry import Architecture
from latentlab.params.messages import (
    Location,
    Mistakes,
    find_mistakes,
    leaves,
    nearest,
    refusal,
    refused,
)
from latentlab.params.networks import ConvolutionParams
from latentlab.params.resolve import with_values
from latentlab.params.schema import Params, TrainParams
from latentlab.params.search_checks import mistakes_in_search
from latentlab.params.yaml_io import read_plain, read_yaml

NOT_COMPARED = ("epochs", "folds")
"""Parameters of train that a comparison has of its own, or not at all."""


def load_params(path: Path) -> Params:
    """Read and validate a `params.yaml`; ParamsError lists every mistake with its line."""
    document = read_plain(path)
    if mistakes := _every_mistake(document):
        raise refusal(mistakes, read_yaml(path), path)
    return Params.model_validate(document)


def validate_params(document: CommentedMap, source: CommentedMap, path: Path) -> Params:
    """Validate all of `document`; ParamsError gives lines of `source`, which was read from `path`.

    The two differ where `source` is a profile that was merged into `document`.
    """
    if mistakes := _every_mistake(document):
        raise refusal(mistakes, source, path)
    return Params.model_validate(document)


def _every_mistake(document: dict[str, Any]) -> Mistakes:
    mistakes = find_mistakes(Params, document)
    mistakes |= mistakes_in_search(document, mistakes)
    mistakes |= _mistakes_in_compare(document, mistakes)
    return mistakes or _cross_section_mistakes(Params.model_validate(document))


def _cross_section_mistakes(params: Params) -> Mistakes:
    """What only values that are right by themselves can do wrong together."""
    return (
        _impossible_variants(params)
        | _impossible_budgets(params)
        | _impossible_architectures(params)
    )


def _impossible_variants(params: Params) -> Mistakes:
    """Values of comparisons that do not go with the rest of `train`."""
    mistakes: Mistakes = {}
    for name, comparison in params.compare.items():
        for variant, values in comparison.variants.items():
            if words := _fault_of_values(params, {"train.epochs": comparison.epochs} | values):
                mistakes["compare", name, "values", variant] = f": {words}"
    return mistakes


def _impossible_budgets(params: Params) -> Mistakes:
    """Budgets of studies and of few labels that do not go with the rest of their section."""
    budgets = {("search", "epochs"): ("train", params.search)}
    for name in ("search", "label_efficiency"):
        if (budget := getattr(params.finetune, name)) is not None:
            budgets["finetune", name, "epochs"] = ("finetune", budget)
    mistakes: Mistakes = {}
    for place, (section, budget) in budgets.items():
        if f"{section}.prune_epochs" in getattr(budget, "space", {}):
            continue  # each trial has its own
        if words := _fault_of_values(params, {f"{section}.epochs": budget.epochs}):
            mistakes[place] = f" = {budget.epochs}: {words}"
    return mistakes


def _fault_of_values(params: Params, values: dict[str, Any]) -> str | None:
    """What is wrong with the parameters where they have these values."""
    try:
        with_values(params, values)
    except ValueError as unfit:
        return str(unfit)
    return None


def _impossible_architectures(params: Params) -> Mistakes:
    """Encoders that leave nothing of the image, or whose lists do not fit each other."""
    size = params.data.image_size
    mistakes: Mistakes = {}
    for place, model in _models(params):
        if fault := _fault_of_architecture(model, size):
            mistakes[place] = f": {fault}"
    for name, denoiser in params.denoise.items():
        network = denoiser.network
        if isinstance(network, UNetParams) and (fault := _fault_of_scales(network, size)):
            mistakes["denoise", name, "network", "channels"] = f": {fault}"
    return mistakes


def _models(params: Params) -> Iterator[tuple[Location, ConvolutionParams]]:
    """Every symmetric network, with the place that a fault of it is told at."""
    yield ("train", "model", "channels"), params.train.model
    yield ("vae", "model", "channels"), params.vae.model
    for name, denoiser in params.denoise.items():
        if isinstance(denoiser.network, ConvolutionParams):
            yield ("denoise", name, "network", "channels"), denoiser.network
    prefix = "train.model."
    for name, comparison in params.compare.items():
        for variant, values in comparison.variants.items():
            changes = {p.removeprefix(prefix): v for p, v in values.items() if p.startswith(prefix)}
            model = params.train.model.model_copy(update=changes)
            yield ("compare", name, "values", variant), model


def _fault_of_scales(network: UNetParams, image_size: int) -> str | None:
    scales = len(network.channels)
    if image_size % 2**scales == 0:
        return None
    return (
        f"{scales} scales halve the image {scales} times, and {image_size} pixels are no multiple "
        f"of {2**scales}; write fewer channels"
    )


def _fault_of_architecture(model: ConvolutionParams, image_size: int) -> str | None:
    geometry = (model.channels, model.kernel, model.stride, model.padding)
    if SEARCH in geometry:  # the study finds out, and prunes what cannot be built
        return None
    other = ("normalize", "type")
    tree = {name: value for name, value in model.tree().items() if name not in other}
    try:
        Architecture(image_shape=(1, image_size, image_size), **tree).convolutions()
    except ValueError as impossible:
        return str(impossible)
    return None


def _mistakes_in_compare(document: dict[str, Any], known: Mistakes) -> Mistakes:
    """Comparisons of what is no parameter of train, or of values that it does not take."""
    mistakes: Mistakes = {}
    for name, entry in (document.get("compare") or {}).items():
        place = ("compare", name)
        if not any(location[:2] == place for location in known):
            mistakes |= _mistakes_in_comparison(place, Comparison.model_validate(entry))
    return mistakes


def _mistakes_in_comparison(place: Location, comparison: Comparison) -> Mistakes:
    names = [f"train.{name}" for name in leaves(TrainParams) if name not in NOT_COMPARED]
    parameter = comparison.parameter
    if parameter is not None and parameter not in names:
        words = f"is not a parameter to compare; {nearest(parameter, names)}"
        return {(*place, "parameter"): f" = '{parameter}' {words}"}
    settings = {(*place, "base", path): {path: v} for path, v in comparison.base.items()}
    settings |= {(*place, "values", name): v for name, v in comparison.varied.items()}
    mistakes: Mistakes = {}
    for where, values in settings.items():
        for path, value in values.items():
            if words := _fault_of_setting(path, value, names):
                mistakes[where] = f": {words}"
    return mistakes


def _fault_of_setting(path: str, value: Any, names: list[str]) -> str | None:
    """What is wrong with a parameter set to a value by a comparison."""
    if path not in names:
        return f"'{path}' is not a parameter to compare; {nearest(path, names)}"
    if value == SEARCH:
        return "'search' is no value to compare; write one"
    if refusals := refused(Params, tuple(path.split(".")), value):
        return f"{path} = {value!r} {refusals[0]}"
    return None
