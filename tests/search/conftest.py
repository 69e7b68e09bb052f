import optuna
import pytest


@pytest.fixture
def quiet():
    """Suppress Optuna's messages except warnings."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)
