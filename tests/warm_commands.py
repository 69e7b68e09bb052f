"""Commands that start quickly: each is a fork of a process that has imported what it needs.

Most of the time that a command with a small budget takes is spent on importing torch, MLflow and
scikit-learn. `warm_commands` starts a server that has imported them, and yields a folder to be put
first on PATH. It has a small script for each command. The script sends its arguments, working
directory, environment and standard streams to the server, which forks a process that executes the
command, and exits with the exit code of that process. Signals are not passed on; commands that run
when the context ends are killed. The processes that a stage starts are forks as well: the recorder
is a fork of the stage, the others are forks of a fork server that all commands share.
"""

import gc
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing import forkserver
from multiprocessing.connection import wait
from pathlib import Path

from latentlab.common import processes, startup
from latentlab.tracking import run as tracking

COMMANDS = {"dvc": "dvc.cli", "latentlab": "latentlab.cli"}
"""Modules whose function `main` executes the command."""

WORKER_MODULES = [
    "latentlab.training.jobs",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "mpl_toolkits.mplot3d",
    "sklearn.manifold",
]
"""Modules that workers and background processes would import."""

PRELOADED = [
    *WORKER_MODULES,
    "git",  # by MLflow
    "latentlab.params.load",
    "latentlab.pipeline.launch",
    "latentlab.stages.evaluate",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "ruamel.yaml",
    "sklearn.cluster",
]
"""Modules that commands and recorders would import as well."""

CLIENT = """\
#!{python} -IS
import json, os, socket, sys

with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b" "], [0, 1, 2])
    call = os.path.basename(sys.argv[0]), sys.argv[1:], os.getcwd(), dict(os.environ)
    server.sendall(json.dumps(call).encode())
    server.shutdown(socket.SHUT_WR)
    sys.exit(int(server.recv(8)))
"""


@contextmanager
def warm_commands(environment):
    """Start a server with these environment variables; yield the folder with the commands."""
    with tempfile.TemporaryDirectory(prefix="warm-") as folder:
        address = f"{folder}/socket"
        for name in COMMANDS:
            script = Path(folder, name)
            script.write_text(CLIENT.format(python=sys.executable, address=address))
            script.chmod(0o755)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        environment = environment | {"TMPDIR": folder}
        # the server ends when its standard input is closed, which the end of this process does too
        with subprocess.Popen([sys.executable, __file__, address], env=environment, **pipes) as it:
            assert it.stdout.read(5) == b"ready"
            yield folder


def serve(address):
    """Execute commands in forks until the standard input is closed."""
    startup.limit_thread_spinning()  # as the installed command does, before torch is imported
    for name in (*COMMANDS.values(), *PRELOADED):
        import_module(name)
    tracking.START_METHOD, processes.START_METHOD = "fork", "forkserver"
    multiprocessing.set_forkserver_preload(WORKER_MODULES)
    forkserver.ensure_running()
    # it would restart a server that is not a child of the same process
    forkserver.ensure_running = forkserver._forkserver.ensure_running = lambda: None
    fork = multiprocessing.get_context("fork")
    gc.freeze()  # a collection in a fork would copy the memory of all objects
    running = {}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        os.write(1, b"ready")
        while True:
            for ready in wait([sys.stdin, listener, *running]):
                if ready is sys.stdin:
                    for process, _ in running.values():
                        process.kill()
                    return
                if ready is listener:
                    connection, _ = listener.accept()
                    process = fork.Process(target=execute, args=(connection,))
                    process.start()
                    running[process.sentinel] = process, connection
                else:
                    process, connection = running.pop(ready)
                    process.join()
                    with connection, suppress(OSError):  # the script may have been killed
                        connection.sendall(str(process.exitcode).encode())


def execute(connection):
    """Receive a command through the connection and execute it in this process."""
    _, streams, *_ = socket.recv_fds(connection, 1, 3)
    with connection, connection.makefile() as file:
        name, arguments, folder, environment = json.load(file)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    sys.argv = [name, *arguments]
    sys.exit(sys.modules[COMMANDS[name]].main())


if __name__ == "__main__":
    serve(sys.argv[1])
