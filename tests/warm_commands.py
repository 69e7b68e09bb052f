"""Commands that start quickly: each is a fork of a process that has imported what it needs.

Most of the time that a command with a small budget takes is spent on importing torch, MLflow and
scikit-learn. `warm_commands` starts a server that has imported them, and yields a folder to be put
first on PATH. It has a small script for each command. The script sends its arguments, working
directory, environment and standard streams to the server, which forks a process that executes the
command, and exits with the exit code of that process. Signals are not passed on. The recorder and
background processes of a stage are forks as well.
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
from multiprocessing.connection import wait
from pathlib import Path

from latentlab.common import startup

COMMANDS = {"dvc": "dvc.cli", "latentlab": "latentlab.cli"}
"""Modules whose function `main` executes the command."""

PRELOADED = [
    "git",  # by MLflow
    "latentlab.params.load",
    "latentlab.pipeline.launch",
    "latentlab.stages.evaluate",
    "latentlab.tracking.run",
    "latentlab.training.jobs",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "mpl_toolkits.mplot3d",
    "ruamel.yaml",
    "sklearn.cluster",
    "sklearn.manifold",
]
"""Modules that commands and their processes would import."""

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
        # the server ends when its standard input is closed, which the end of this process does too
        with subprocess.Popen([sys.executable, __file__, address], env=environment, **pipes) as it:
            assert it.stdout.read(5) == b"ready"
            yield folder
            it.stdin.close()


def serve(address):
    """Execute commands in forks until the standard input is closed."""
    startup.limit_thread_spinning()  # as the installed command does, before torch is imported
    for name in (*COMMANDS.values(), *PRELOADED):
        import_module(name)
    for name in ("latentlab.common.processes", "latentlab.tracking.run"):
        sys.modules[name].START_METHOD = "fork"
    gc.freeze()  # a collection in a fork would copy the memory of all objects
    running = {}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        os.write(1, b"ready")
        while True:
            for ready in wait([sys.stdin, listener, *running]):
                if ready is sys.stdin:
                    return
                if ready is listener:
                    connection, _ = listener.accept()
                    process = multiprocessing.get_context("fork").Process(
                        target=execute, args=(connection,)
                    )
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
    sys.argv = [name, *arguments]
    sys.exit(sys.modules[COMMANDS[name]].main())


if __name__ == "__main__":
    serve(sys.argv[1])
