#!/bin/sh
# Build the virtual environment in the folder $1 from requirements.lock. If uv is not installed on
# this machine, it is installed into the environment first.
set -eu
venv=$1
python=${PYTHON:-python3}

"$python" - <<'EOP' || exit 1
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit(f"latentlab needs Python 3.11 to 3.13, {sys.executable} is {sys.version.split()[0]}; "
             "choose another one: make PYTHON=python3.11")
EOP

if ! "$venv/bin/python" -c '' 2>/dev/null; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
if command -v uv >/dev/null 2>&1; then
    uv=uv
else
    # an environment that uv created has no pip
    "$venv/bin/python" -m ensurepip >/dev/null
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv
    uv=$venv/bin/uv
fi
echo "building $venv from requirements.lock"
# compile once: otherwise, the first start of every stage takes longer
"$uv" pip install --quiet --python "$venv/bin/python" --compile-bytecode --require-hashes \
    --requirements requirements.lock
"$uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
