"""`latentlab ui` and `sync`: opening MLflow's UI, and sending runs to a server that missed them."""

import os
import sys

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.progress import note
from latentlab.common.project import Project
from latentlab.params.schema import Params
from latentlab.tracking.spool import find_spools, send
from latentlab.tracking.store import brief, check_server, connect, server_of, store_uri
from latentlab.tracking.view import runs_page


def open_ui(project: Project, params: Params, port: int) -> None:
    """Print the address of the runs, and become `mlflow ui` for the default store.

    If the store is a server, its address is printed, and nothing is started. Raises
    EnvironmentProblem if a server does not answer.
    """
    check_server(project)
    server = server_of(project)
    experiment = connect(project, f"latentlab/{params.data.name}")
    print(runs_page(server or f"http://127.0.0.1:{port}", experiment), flush=True)
    if server is None:
        note("press Ctrl-C to stop the UI")
        os.chdir(project.home)  # MLflow looks for its default store in the working directory
        os.execv(sys.executable, [sys.executable, "-m", "mlflow", "ui", "--port", str(port)])


def send_all(project: Project) -> None:
    """Send all spooled runs to the store and print the name of each one.

    Raises EnvironmentProblem if the store cannot be used or rejects a run.
    """
    spools = find_spools(project)
    if not spools:
        note("nothing to send")
        return
    check_server(project)
    for spool in spools:
        try:
            sent = send(project, spool)
        except Exception as error:
            raise EnvironmentProblem(
                f"the store {store_uri(project)} does not accept the run in {spool.folder}: "
                f"{brief(error)}. Delete the folder if you do not need the run"
            ) from error
        if sent:
            print(spool.name)
        else:
            note(f"{spool.name}: its stage is running and sends it")
