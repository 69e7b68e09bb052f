#!/bin/sh
# Build benchmarks/.venv and compare the speed of training in it; arguments go to the comparison.
set -eu
cd "$(dirname "$0")/.."
venv=benchmarks/.venv

sh scripts/build-environment.sh "$venv"
echo "adding benchmarks/requirements.txt"
"$(command -v uv || echo "$venv/bin/uv")" pip install --quiet --python "$venv/bin/python" \
    --compile-bytecode --requirements benchmarks/requirements.txt
"$venv/bin/python" benchmarks "$@"
"$venv/bin/python" benchmarks/table.py
