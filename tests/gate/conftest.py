import pytest

from gated import accepted_run, store_baseline, write_pipeline, write_policy, write_results
from latentlab.commands import gate


@pytest.fixture
def gated(checkout, monkeypatch):
    """A checkout with a policy of two metrics, and with current results that equal the baseline."""
    monkeypatch.setattr(gate, "check_current", lambda root: None)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    write_pipeline(checkout)
    write_policy(checkout)
    write_results(checkout, mse=0.1, accuracy=0.9)
    store_baseline(checkout, accepted_run(mse=0.1, accuracy=0.9))
    return checkout


@pytest.fixture
def error(latentlab):
    """Return a function: the message of `latentlab gate`, which must exit with 2."""

    def run(*arguments):
        answer = latentlab("gate", *arguments)
        assert answer.code == 2, answer.out
        assert answer.err.startswith("error: ")
        assert "Traceback" not in answer.err
        return answer.err.removeprefix("error: ").rstrip()

    return run
