#!/usr/bin/env bash
# Tests, times and memory on one GPU in five minutes at most; tiny where there is none. See docs/gpus.md.
# Results: $OUT, else gpu_check. Other settings: GPU_CHECK_DEVICE (cpu or cuda), GPU_CHECK_SECONDS, PYTHON.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
options=(--out "${OUT:-gpu_check}" --seconds "${GPU_CHECK_SECONDS:-290}")
[ -z "${GPU_CHECK_DEVICE:-}" ] || options+=(--device "$GPU_CHECK_DEVICE")
exec "${PYTHON:-python3}" benchmarks/gpu_check.py "${options[@]}" "$@"
