#!/bin/bash
# The slow half of the tests: address and undefined-behaviour sanitizers on the suite, the thread sanitizer on the data
# loader and on every device kernel, fuzzing for every parser, and kernels with a barrier taken out, which the
# thread sanitizer must notice. Last line: "N passed, N failed"; exit status 1 on a failure.
# Usage: tools/check.sh [--all] [asan] [tsan] [fuzz] [mutations]    (all when none is named; --all: long tests whole, not the
# share of the day, tools/dev/share.sh). Example: tools/check.sh fuzz
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in -h | --help) sed -n '2,6s/^# //p' tools/check.sh; exit 0 ;; esac
. tools/dev/share.sh
parts=("$@")
[ $# -gt 0 ] || parts=(asan tsan fuzz mutations)
for part in "${parts[@]}"; do
  case $part in
    asan | tsan | fuzz | mutations) ;;
    *) echo "error: no part $part, wanted asan, tsan, fuzz or mutations" >&2; exit 2 ;;
  esac
done

trap 'status=$?; if [ -z "${counted:-}" ]; then echo "0 passed, 1 failed"; exit $((status ? status : 1)); fi' EXIT
. tools/dev/minutes.sh
logs=()
# Sanitizers make compilers see ghosts (maybe-uninitialized); tools/test.sh is where warnings are errors.
# For the traces -g1 (functions and lines) is enough, and compiles in three quarters of the time of -g.
common=(-Dwerror=false -Dclones=false -Ddebug=false -Dtests=true -Dcuda=disabled -Doptimization=1 -Db_lundef=false)
export OMP_WAIT_POLICY=passive
# Without this ccache compiles anew whatever has a precompiled header.
export CCACHE_SLOPPINESS=pch_defines,time_macros

wanted() { [[ " ${parts[*]} " == *" $1 "* ]]; }

# test_in DIR MESON-TEST-ARGUMENT...: runs tests of a folder, all in one go: short ones fill the cores beside long ones.
test_in() {
  local log=$1/meson-logs/testlog.json
  rm -f "$log"
  "${wrapper[@]}" meson test -C "$1" --no-rebuild --print-errorlogs --timeout-multiplier 4 "${@:2}" \
    >"$1/meson-logs/test-output.txt" 2>&1 || true
  logs+=("$log")
}

# The whole suite, kernels included, one instruction set, and the fuzzers, by one build, which has to be clang's: gcc has
# no libFuzzer. A finding ends the program: nothing is suppressed.
address() {
  local cxx wrapper=() tests=()
  cxx=$(command -v clang++ || command -v clang++-14)
  CXX=$cxx tools/configure.sh build-clang "${common[@]}" -Dfuzz=true -Db_sanitize=address,undefined \
    "-Dcpp_args=['-g1', '-fno-sanitize-recover=all']"
  wanted asan || tests=(--suite fuzz)
  wanted fuzz || tests=(--no-suite fuzz)
  ninja -C build-clang
  seeds build-clang/corpus
  lap "address: build"
  ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1 \
    test_in build-clang "${tests[@]}"
  lap "address: tests"
}

# Without OpenMP, whose barriers the thread sanitizer does not know: what has threads of its own is the data loader, and
# for the shim the threads of a block.
threads() {
  local wrapper=() tests=()
  tools/configure.sh build-tsan "${common[@]}" -Db_sanitize=thread -Dopenmp=false -Dcpp_args=-g1
  if wanted tsan; then tests+=(data simt races); fi
  if wanted mutations; then tests+=(mutations); fi
  ninja -C build-tsan tests/unit_data tests/unit_simt tests/unit_device kernels/simt/libselene_simt.so
  lap "threads: build"
  # Newer kernels place memory where this sanitizer's shadow does not fit, unless addresses are not random.
  if setarch "$(uname -m)" -R true 2>/dev/null; then wrapper=(setarch "$(uname -m)" -R); fi
  test_in build-tsan "${tests[@]}"
  lap "threads: tests"
}

# seeds DIR: a few valid files for each parser to start from.
seeds() {
  mkdir -p "$1/recipe" "$1/safetensors" "$1/tsv" "$1/png" "$1/json"
  local recipe
  find recipes -name '*.yaml' | while read -r recipe; do cp "$recipe" "$1/recipe/${recipe//\//_}"; done
  find tests/golden -name '*.safetensors' -size -16k | sort | head -n 40 | xargs -I{} cp {} "$1/safetensors/"
  printf '\1Source\tTarget\n( ( ( [MAX 5 ) 7 ) ] )\t7\r\n( ( ( ( [SM 5 ) 7 ) 0 ) ] )\t2\n' >"$1/tsv/plain"
  printf '\0( ( ( [MED 5 ) ( ( ( [MIN 3 ) 4 ) ] ) ) ] )\t4\n' >"$1/tsv/nested"
  printf '\0020.0\tA00-1\tP01-2\tone\ttwo\n1.0\tx\ty\tz\tz\n' >"$1/tsv/pairs"
  printf '{"a":[1,-2.5e3,null,true,"\\u00e9\\n"],"b":{"c":{}},"d":[]}' >"$1/json/all"
  base64 -d >"$1/png/grey" <<<'iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAAAAABX3VL4AAAADklEQVR42mMQaGD4zwAABFQBkLHQNkIAAAAASUVORK5CYII='
  base64 -d >"$1/png/colour" <<<'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mMQaPgPAAIzAZDT4xAaAAAAAElFTkSuQmCC'
}

tools/dev/setup.sh tests check
if wanted asan || wanted fuzz; then address; fi
if wanted tsan || wanted mutations; then threads; fi
counted=yes
show_minutes
python3 tools/dev/count_tests.py "${logs[@]}"
