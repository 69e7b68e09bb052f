"""Every error a person can cause, each with its documented exit code (see README)."""


class LatentlabError(Exception):
    """One clear message for a person; `exit_code` is what the command line returns."""

    exit_code = 4


class ParamsError(LatentlabError):
    """`params.yaml`, a profile or a command line that cannot be used."""

    exit_code = 2


class DataError(LatentlabError):
    """Data that is missing, corrupt or not to be fetched."""

    exit_code = 3


class EnvironmentProblem(LatentlabError):
    """The tracking store, the disk, the device or an earlier stage's output is not usable."""

    exit_code = 4


class TrainingDiverged(EnvironmentProblem):
    """The loss became NaN or infinite."""
