import optuna
import pytest
import sqlalchemy
from alembic.script import ScriptDirectory


@pytest.fixture(scope="module")
def quick_records():
    """Make records faster: no flush to disk, and Optuna's table history is loaded once."""
    from_config = ScriptDirectory.from_config
    loaded = []

    def load_once(config):
        loaded.extend([] if loaded else [from_config(config)])
        return loaded[0]

    def skip_flush(connection, _):
        connection.execute("PRAGMA synchronous = OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", skip_flush)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", load_once)
        yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", skip_flush)


@pytest.fixture
def quiet():
    """Suppress Optuna's messages except warnings."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)
