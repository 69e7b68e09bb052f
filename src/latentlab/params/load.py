"""Loading `params.yaml`: the schema, and the checks that need the whole file."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from latentlab.params.augmentation import augmentation_errors
from latentlab.params.comparison import Comparison
from latentlab.params.dataset_checks import dataset_errors
from latentlab.params.denoising import UNetParams
from latentlab.params.fields import SEARCH
from latentlab.params.geometry import Architecture
from latentlab.params.messages import (
    Errors,
    Location,
    find_errors,
    nearest,
    parameter_names,
    params_error,
    value_errors,
)
from latentlab.params.networks import ConvolutionParams
from latentlab.params.renamed import explain_renamed_keys, new_path
from latentlab.params.resolve import with_values
from latentlab.params.schema import INHERITING, Params, TrainParams, complete_sections
from latentlab.params.search_checks import search_errors
from latentlab.params.yaml_io import read_plain, read_yaml

NOT_COMPARED = ("epochs", "folds")
"""Parameters of `train` that a comparison has itself, or does not have."""


def load_params(path: Path, stage: str = "") -> Params:
    """Read and validate a `params.yaml`; raise ParamsError with all errors and their lines.

    With a `stage`, the arguments of its augmentation are also checked; see `params.augmentation`.
    """
    document = read_plain(path)
    if errors := _all_errors(document):
        raise params_error(errors, read_yaml(path), path)
    params = Params.model_validate(document)
    if errors := augmentation_errors(params, stage):
        raise params_error(errors, read_yaml(path), path)
    return params


def validate_params(document: CommentedMap, source: CommentedMap, path: Path) -> Params:
    """Validate `document`; raise ParamsError with lines of `source`, which was read from `path`.

    The two differ if `source` is a profile that was merged into `document`.
    """
    if errors := _all_errors(document):
        raise params_error(errors, source, path)
    return Params.model_validate(document)


def _all_errors(document: dict[str, Any]) -> Errors:
    errors = explain_renamed_keys(find_errors(Params, complete_sections(document)))
    errors |= search_errors(document, errors)
    errors |= _comparison_errors(document, errors)
    errors = errors or _cross_section_errors(Params.model_validate(document))
    return _mark_inherited(errors, document)


def _mark_inherited(errors: Errors, document: dict[str, Any]) -> Errors:
    """Report an error in `optimization` only there, and name inherited values in other errors."""
    marked: Errors = {}
    for location, message in errors.items():
        section, path = _split_section(location)
        inherited = _inherited_keys(document, section)
        if path and path[0] in inherited:
            if ("optimization", *path) not in errors:
                marked[location] = f"{message} ({path[0]} is inherited from optimization)"
            continue
        # messages about a key list all keys of the section, and not because of their values
        about_key = message.startswith((" is missing", " is not a known key", " was renamed"))
        names = [key for key in inherited if re.search(rf"\b{key}\b", message)]
        if names and not about_key:
            message += f" (inherited from optimization: {', '.join(names)})"
        marked[location] = message
    return marked


def _split_section(location: Location) -> tuple[Location, Location]:
    """Split a location into that of its section and the path within the section."""
    depth = 2 if location[0] == "denoise" else 1
    return location[:depth], location[depth:]


def _inherited_keys(document: dict[str, Any], section: Location) -> list[str]:
    """Return the keys that a section inherits from `optimization`."""
    if section[0] not in (*INHERITING, "denoise"):
        return []
    shared: Any = document.get("optimization")
    own: Any = document
    for name in section:
        own = own.get(name) if isinstance(own, dict) else None
    if not isinstance(own, dict) or not isinstance(shared, dict):
        return []
    return [key for key in shared if key not in own]


def _cross_section_errors(params: Params) -> Errors:
    """Return errors of values that are valid by themselves but not together."""
    errors = dataset_errors(params.data) | _variant_errors(params)
    return errors | _budget_errors(params) | _architecture_errors(params)


def _variant_errors(params: Params) -> Errors:
    """Return errors of comparisons whose values do not fit the rest of `train`."""
    errors: Errors = {}
    for name, comparison in params.compare.items():
        for variant, values in comparison.variants.items():
            values = {"train.epochs": comparison.epochs} | values
            if message := _error_of_values(params, values):
                errors["compare", name, "values", variant] = f": {message}"
    return errors


def _budget_errors(params: Params) -> Errors:
    """Return errors of budgets of studies and few labels that do not fit their section."""
    budgets: dict[Location, tuple[str, Any]] = {("search", "epochs"): ("train", params.search)}
    for name in ("search", "label_efficiency"):
        if (budget := getattr(params.finetune, name)) is not None:
            budgets["finetune", name, "epochs"] = ("finetune", budget)
    errors: Errors = {}
    for location, (section, budget) in budgets.items():
        if f"{section}.prune_epochs" in getattr(budget, "space", {}):
            continue  # each trial has its own
        if message := _error_of_values(params, {f"{section}.epochs": budget.epochs}):
            errors[location] = f" = {budget.epochs}: {message}"
    return errors


def _error_of_values(params: Params, values: dict[str, Any]) -> str | None:
    """Return the error of the parameters with other values, if there is one."""
    try:
        with_values(params, values)
    except ValueError as unfit:
        return str(unfit)
    return None


def _architecture_errors(params: Params) -> Errors:
    """Return errors of networks that do not fit the image size."""
    size = params.data.image_size
    errors: Errors = {}
    for location, model in _symmetric_networks(params):
        if message := _error_of_architecture(model, size):
            errors[location] = f": {message}"
    for name, denoiser in params.denoise.items():
        network = denoiser.network
        if isinstance(network, UNetParams) and (message := _error_of_scales(network, size)):
            errors["denoise", name, "network", "channels"] = f": {message}"
    return errors


def _symmetric_networks(params: Params) -> Iterator[tuple[Location, ConvolutionParams]]:
    """Yield every symmetric network with the location at which its errors are reported."""
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


def _error_of_scales(network: UNetParams, image_size: int) -> str | None:
    scales = len(network.channels)
    if image_size % 2**scales == 0:
        return None
    return (
        f"{scales} scales need an image size that is a multiple of {2**scales}, not {image_size}; "
        "write fewer channels"
    )


def _error_of_architecture(model: ConvolutionParams, image_size: int) -> str | None:
    if SEARCH in (model.channels, model.kernel, model.stride, model.padding):
        return None  # trials whose network cannot be built are pruned
    other = ("normalize", "type")
    tree = {name: value for name, value in model.tree().items() if name not in other}
    try:
        Architecture(image_shape=(1, image_size, image_size), **tree).convolutions()
    except ValueError as impossible:
        return str(impossible)
    return None


def _comparison_errors(document: dict[str, Any], known: Errors) -> Errors:
    """Return errors of comparisons of unknown parameters or invalid values."""
    errors: Errors = {}
    for name, entry in (document.get("compare") or {}).items():
        location = ("compare", name)
        if not any(each[:2] == location for each in known):
            errors |= _errors_of_comparison(location, Comparison.model_validate(entry))
    return errors


def _errors_of_comparison(location: Location, comparison: Comparison) -> Errors:
    names = [f"train.{name}" for name in parameter_names(TrainParams) if name not in NOT_COMPARED]
    parameter = comparison.parameter
    if parameter is not None and parameter not in names:
        return {(*location, "parameter"): f" = {_unknown_parameter(parameter, names)}"}
    settings = {(*location, "base", path): {path: v} for path, v in comparison.base.items()}
    settings |= {(*location, "values", name): v for name, v in comparison.varied.items()}
    errors: Errors = {}
    for where, values in settings.items():
        for path, value in values.items():
            if message := _error_of_setting(path, value, names):
                errors[where] = f": {message}"
    return errors


def _error_of_setting(path: str, value: Any, names: list[str]) -> str | None:
    """Return the error of a parameter and its value in a comparison, if there is one."""
    if path not in names:
        return _unknown_parameter(path, names)
    if value == SEARCH:
        return "the word 'search' cannot be compared; write a value"
    if messages := value_errors(Params, tuple(path.split(".")), value):
        return f"{path} = {value!r} {messages[0]}"
    return None


def _unknown_parameter(path: str, names: list[str]) -> str:
    renamed = new_path(path)
    help_text = f"it was renamed to {renamed}" if renamed in names else nearest(path, names)
    return f"'{path}' is not a parameter that can be compared; {help_text}"
