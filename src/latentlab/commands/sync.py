"""Sending runs to a tracking server that did not receive them when their stages were executed."""

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.progress import note
from latentlab.common.project import Project
from latentlab.tracking.spool import find_spools, send
from latentlab.tracking.store import brief, check_server, store_uri


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
