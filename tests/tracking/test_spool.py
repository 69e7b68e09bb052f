import time

import pytest

from latentlab.common.project import Project
from latentlab.tracking.spool import Spool, send


def test_a_spool_of_a_killed_process_ends_with_the_last_complete_command(tmp_path):
    project = Project(tmp_path, tmp_path)
    (tmp_path / "table.csv").write_text("a,b")
    spool = Spool.create(project, "train", "http://server")
    copy = spool.append("log_files", (None, tmp_path / "table.csv"))[1]
    (tmp_path / "table.csv").unlink()
    spool.append("log_image", (None, "loss", 3, b"png", 1.5))
    with (spool.folder / "commands.jsonl").open("a") as file:
        file.write('["log_epoch", [nu')

    assert copy.read_text() == "a,b"
    files, image, end = Spool(spool.folder).read()
    assert files == ("log_files", [None, copy])
    assert image == ("log_image", [None, "loss", 3, b"png", 1.5])
    assert end[:2] == (
        "end",
        ["KILLED", "its process was killed", pytest.approx(time.time(), abs=60)],
    )
    assert not send(project, Spool(spool.folder))  # its process is running
