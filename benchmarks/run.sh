#!/bin/sh
# Build benchmarks/.venv and run the benchmarks in it; arguments are passed on.
set -eu
cd "$(dirname "$0")/.."
venv=benchmarks/.venv

sh scripts/build-environment.sh "$venv"
echo "adding benchmarks/requirements.txt"
"$(command -v uv || echo "$venv/bin/uv")" pip install --quiet --python "$venv/bin/python" \
    --compile-bytecode --requirements benchmarks/requirements.txt
"$venv/bin/python" -m benchmarks "$@"
"$venv/bin/python" -m benchmarks.table
