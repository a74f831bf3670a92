#!/bin/bash
# From a fresh clone to a trained model: packages, programs, ListOps data, training, test accuracy, report. Run again, it
# goes on where it was stopped. Example: tools/quickstart.sh
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in -h | --help) sed -n '2,3s/^# //p' tools/quickstart.sh; exit 0 ;; esac

say() { printf '\n== %s\n' "$*" >&2; }

say "packages"
tools/dev/setup.sh
say "programs (a few minutes; at once when they are there)"
# A folder that has the tests keeps them; a new one does without.
options=(--buildtype=release)
[ -f build/build.ninja ] || options+=(-Dtests=false)
tools/configure.sh build "${options[@]}"
targets=(tools/selene-prepare tools/selene-train tools/selene-evaluate tools/selene-report)
module=kernels/cuda/libselene_cuda.so
# Only a machine with a GPU can use it.
if nvidia-smi -L >/dev/null 2>&1 && ninja -C build -t targets all | grep -q "^$module:"; then targets+=("$module"); fi
ninja -C build "${targets[@]}" >&2
bin=$PWD/build/tools

say "data: 40,000 ListOps expressions of 9 to 64 symbols"
"$bin/selene-prepare" listops --out data-out/listops-quickstart --min-length 9 --max-length 64 \
  --train 36000 --valid 2000 --test 2000 --seed 1
say "training (about two minutes on two cores)"
# Ctrl-C ends this script too, not only the training.
"$bin/selene-train" recipes/quickstart.yaml --out runs/quickstart --set train.preempt_exit_code=130
say "test set"
"$bin/selene-evaluate" runs/quickstart/checkpoints/best
say "report"
"$bin/selene-report" runs/quickstart
