"""The errors that a user can cause, and the exit codes of the command line."""

import tempfile
import traceback

SUCCESS, REGRESSION, USAGE, DATA, ENVIRONMENT = 0, 1, 2, 3, 4
BUG, INTERRUPTED, TERMINATED = 70, 130, 143

EXIT_CODES: dict[int, str] = {
    SUCCESS: "success",
    REGRESSION: "the gate found a regression",
    USAGE: "a mistake on the command line or in params.yaml, or the gate cannot judge",
    DATA: "data is missing, damaged or not available for download",
    ENVIRONMENT: "the tracking store, disk, device or output of an earlier stage is unusable",
    BUG: "a bug in latentlab; the message names the file with its traceback",
    INTERRUPTED: "interrupted with Ctrl-C",
    TERMINATED: "terminated by a signal",
}
"""Meaning of each exit code of the command line."""


class LatentlabError(Exception):
    """Base class of errors with a message for the user; `exit_code` is one of EXIT_CODES."""

    exit_code = ENVIRONMENT


class ParamsError(LatentlabError):
    """A mistake in `params.yaml`, in a profile or on the command line."""

    exit_code = USAGE


class DataError(LatentlabError):
    """Data that is missing, damaged or not available for download."""

    exit_code = DATA


class EnvironmentProblem(LatentlabError):
    """An unusable tracking store, disk, device or output of an earlier stage."""


class TrainingDiverged(EnvironmentProblem):
    """A loss that is NaN or infinite."""


def describe_bug(error: Exception) -> str:
    """Write the traceback of an unexpected exception to a file, and return one line about it."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="latentlab-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write("".join(traceback.format_exception(error)))
    summary = "".join(traceback.format_exception_only(error)).splitlines()[-1]
    return f"error: a bug in latentlab: {summary}. The traceback is in {file.name}"
