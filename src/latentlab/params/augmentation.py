"""Lists `augmentation` in `params.yaml`: their type, and the check of names and arguments.

Names are checked by the schema. Arguments are checked when a stage uses them, because torchvision,
which defines them, takes seconds to import.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from latentlab.data.augmentation import NAMES, REJECTED, build_transform, signature_of
from latentlab.params.fields import Plain
from latentlab.params.messages import Errors, Location, nearest
from latentlab.params.ranges import examples

if TYPE_CHECKING:
    from latentlab.params.schema import Params

EXAMPLE = "`RandomHorizontalFlip: {p: 0.5}`"


def _named_transform(value: Any) -> Any:
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(f"must be the name of one transform with its arguments, such as {EXAMPLE}")
    ((name, arguments),) = value.items()
    if name in REJECTED:
        raise ValueError(f"'{name}' cannot be used: {REJECTED[name]}")
    if name not in NAMES:
        raise ValueError(f"'{name}' is not a transform of an image; {nearest(str(name), [*NAMES])}")
    if not isinstance(arguments, dict):
        raise ValueError(
            f"'{name}' needs a mapping of arguments; without any, write `{name}: {{}}`"
        )
    return value


TransformEntry = Annotated[
    dict[str, dict[str, Plain]],
    Field(min_length=1, max_length=1),
    BeforeValidator(_named_transform),
]
"""One transform of `torchvision.transforms.v2`: `{name: arguments}`."""
Transforms = tuple[TransformEntry, ...]


def augmentation_errors(params: Params, stage: str) -> Errors:
    """Return errors in the arguments of the transforms that a stage applies.

    `stage` is the name of a command; `fetch` checks those of all stages, because it runs first.
    """
    errors: Errors = {}
    for location, transforms in augmentations(params, stage):
        for index, entry in enumerate(transforms):
            if message := error_of_arguments(entry, params.data.image_size):
                position = (index,) if location[-1] == "augmentation" else ()
                errors[*location, *position] = f": {message}"
    return errors


def augmentations(params: Params, stage: str) -> Iterator[tuple[Location, Sequence[Any]]]:
    """Yield the lists of transforms that a stage uses, or all for `fetch`, with their locations."""
    for section in ("train", "finetune", "reference", "vae", "gan"):
        users = ("train", "search", "compare") if section == "train" else (section,)
        if stage in ("fetch", *users):
            yield from _lists((section, "augmentation"), getattr(params, section).augmentation)
    if stage in ("fetch", "search"):
        yield from _searched(("search", "space"), "train", params.search)
    if stage in ("fetch", "finetune"):
        yield from _searched(("finetune", "search", "space"), "finetune", params.finetune.search)
    if stage in ("fetch", "compare"):
        for name, comparison in params.compare.items():
            for variant, values in comparison.variants.items():
                if "train.augmentation" in values:
                    yield ("compare", name, "values", variant), values["train.augmentation"]
    if stage in ("fetch", "denoise"):
        for name, denoiser in params.denoise.items():
            yield from _lists(("denoise", name, "augmentation"), denoiser.augmentation)


def _lists(location: Location, value: Any) -> Iterator[tuple[Location, Sequence[Any]]]:
    if isinstance(value, tuple):  # not the word `search`
        yield location, value


def _searched(
    location: Location, section: str, study: Any
) -> Iterator[tuple[Location, Sequence[Any]]]:
    path = f"{section}.augmentation"
    if study is not None and path in study.space:
        for choice in examples(study.space[path]):
            yield (*location, path), choice


def error_of_arguments(entry: dict[str, dict[str, Any]], image_size: int) -> str | None:
    """Return the error in the arguments of a transform, if there is one."""
    ((name, arguments),) = entry.items()
    known = signature_of(name).parameters
    for argument in arguments:
        if argument not in known:
            return f"{name} has no argument '{argument}'; {nearest(argument, list(known))}"
    for argument, parameter in known.items():
        if parameter.default is parameter.empty and argument not in (*arguments, "size"):
            return f"{name} needs the argument '{argument}'"
    if arguments.get("size", image_size) not in (image_size, [image_size] * 2):
        return f"{name}: size must be the image size, {image_size}, or be omitted"
    try:
        build_transform(entry, image_size)
    except Exception as invalid:  # torchvision raises several types
        return f"{name}: {invalid}"
    return None
