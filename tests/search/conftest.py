import optuna
import pytest
import sqlalchemy
from alembic.script import ScriptDirectory


@pytest.fixture(scope="module")
def quick_records():
    """Records that wait for no disk, and look up the history of Optuna's tables once."""
    from_config = ScriptDirectory.from_config
    known = []

    def once(config):
        known.extend([] if known else [from_config(config)])
        return known[0]

    def hurry(connection, _):
        connection.execute("PRAGMA synchronous = OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", hurry)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", once)
        yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", hurry)


@pytest.fixture
def quiet():
    """Optuna says nothing but warnings."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)
