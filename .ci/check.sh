#!/bin/bash
# Lint, formats and types; `make check` runs it with the virtual environment's tools first in PATH.
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
  echo "== $*"
  "$@"
}

step ruff check .
step ruff format --check .
step mypy
step clang-format --dry-run -Werror runtimes/native/src/*.[ch]
