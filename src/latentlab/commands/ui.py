"""Opening MLflow's UI at the page with the runs of trainings."""

import os
import sys

from latentlab.common.progress import note
from latentlab.common.project import Project
from latentlab.params.schema import Params
from latentlab.tracking.store import check_server, connect, server_of
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
