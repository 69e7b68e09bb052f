"""How to reproduce: code, data and parameters."""

import json
from typing import Any

from latentlab.common.progress import plural
from latentlab.params.fields import Section as Parameters
from latentlab.params.fields import flatten
from latentlab.params.schema import INHERITING, Params
from latentlab.report.document import Section, Table
from latentlab.report.outputs import Outputs

MACHINE = (
    "runtime.device",
    "runtime.threads",
    "search.workers",
    "search.executor",
    "search.scheduler",
)
"""Parameters that do not determine the results."""


LAST_RESULTS = "git checkout $(git log -1 --format=%H -- dvc.lock)"
"""The commit is not in the report: a report that is committed would have to contain its own."""


def write(outputs: Outputs, fingerprint: str) -> Section:
    """Return the section; `fingerprint` identifies code, parameters and data."""
    digest = outputs.info.digest
    paragraphs = [
        f"Code, parameters and data: fingerprint {fingerprint}. The MLflow run with this tag has "
        "the commit. In Git, it is the last one that changed dvc.lock.",
        f"Data: {outputs.info.name}, digest {digest}. Seed: {outputs.params.runtime.seed}.",
    ]
    changed = changed_parameters(outputs.params)
    rows = [[path, json.dumps(value, ensure_ascii=False)] for path, value in changed.items()]
    text = f"{plural(len(rows), 'parameter')}; all others have the defaults of the schema."
    table = Table(
        "Parameters that differ from the defaults", text, ["parameter", "value"], rows,
        texts=2, folded=True,
    )  # fmt: skip
    return Section("How to reproduce", paragraphs, [table], [LAST_RESULTS, "make repro"])


def changed_parameters(params: Params) -> dict[str, Any]:
    """Return the parameters that are not the defaults, by path.

    A value that a section shares with `optimization` is listed there only.
    """
    values, defaults = flatten(params.tree()), _defaults(params, "")
    shared = {
        f"{prefix}.{key}": value
        for prefix in _inheriting(params)
        for key, value in params.optimization.tree().items()
    }
    return {
        path: value
        for path, value in values.items()
        if path not in MACHINE
        and not (path in defaults and defaults[path] == value)
        and not (path in shared and shared[path] == value)
    }


def _inheriting(params: Params) -> list[str]:
    return [*INHERITING, *(f"denoise.{name}" for name in params.denoise)]


def _defaults(section: Parameters, prefix: str) -> dict[str, Any]:
    """Return the defaults of a section and those within it, by path."""
    defaults: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value, path = getattr(section, name), f"{prefix}{name}"
        if isinstance(value, Parameters):
            defaults |= _defaults(value, f"{path}.")
        elif isinstance(value, dict):
            for key, entry in value.items():
                if isinstance(entry, Parameters):
                    defaults |= _defaults(entry, f"{path}.{key}.")
        if not field.is_required() and not isinstance(value, Parameters):
            default = field.get_default(call_default_factory=True)
            plain = json.loads(json.dumps(default, default=_plain))
            defaults |= flatten({name: plain}, prefix)
    return defaults


def _plain(value: Any) -> Any:
    return value.tree() if isinstance(value, Parameters) else str(value)
