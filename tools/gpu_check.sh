#!/bin/bash
# Everything that only a GPU can show, in one command of under ten minutes: parity of every operation, golden cases,
# sanitizers, graphs, resuming, ceilings, kernels, training steps beside PyTorch, counters, a training run.
# Usage: tools/gpu_check.sh [OUT] [--device cuda|simt] [--budget SECONDS] [--only STAGE,...] [--build DIR] [--list]
#   OUT        results: result.json, result.md, raw/ (default: gpu-check)
#   --device   simt: the same stages on the host through the shim, tiny and slow, to test this script itself
#   --budget   seconds for all stages (default: 560, simt 3600); later ones shrink, what does not fit is skipped
#   --only     these stages only; --list prints their names
#   --build    folder of the build (default: build, or the unpacked bundle that this script stands in)
# Exit status 1 when a stage failed. Example: tools/gpu_check.sh results --only parity,golden,steps
set -euo pipefail
export LC_ALL=C
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/gpu_stages.sh
source "$root/tools/gpu_stages.sh"

fail() { printf 'error: tools/gpu_check.sh: %s\n' "$*" >&2; exit 2; }

# name, seconds it may take, seconds left under which it is not worth starting
all_stages='machine 20 0
parity 120 5
golden 90 5
graphs 90 10
ceilings 30 5
steps 120 10
kernels 60 10
attention 45 10
peers 170 30
sanitizer 110 30
counters 60 20
training 240 25'

device=cuda budget='' only='' build=$root/build out=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --list) printf '%s\n' "$all_stages" | cut -d' ' -f1; exit 0 ;;
    --stage) stage=$2; shift 2; run_stage "$stage"; exit ;;
    --device | --budget | --only | --build) [ $# -ge 2 ] || fail "$1 wants a value" ;;
    -*) fail "unknown argument $1; tools/gpu_check.sh --help" ;;
    *) [ -z "$out" ] || fail "more than one results folder"; out=$1; shift; continue ;;
  esac
  case $1 in
    --device) device=$2 ;;
    --budget) budget=$2 ;;
    --only) only=,$2, ;;
    --build) build=$2 ;;
  esac
  shift 2
done
case $device in cuda | simt) ;; *) fail "device is '$device', wanted cuda or simt" ;; esac
[ -n "$budget" ] || budget=$([ "$device" = simt ] && echo 3600 || echo 560)
case $budget in '' | *[!0-9]*) fail "budget is '$budget', wanted whole seconds" ;; esac
for stage in ${only//,/ }; do
  printf '%s\n' "$all_stages" | grep -q "^$stage " || fail "no stage '$stage'; --list prints their names"
done
command -v python3 >/dev/null || fail "python3 is missing"

# One folder with the programs and the module under the name that they look for, so that a bundle, a build and the shim
# are used alike.
place_programs() {
  local places module name place
  if [ -d "$root/bin" ]; then places="$root/bin $root/lib"
  else places="$build/tools $build/tests $build/kernels/cuda $build/kernels/simt"; fi
  rm -rf "$work"
  mkdir -p "$work/bin" "$raw"
  for name in selene-train selene-evaluate selene-prepare selene-inspect selene-bench unit_device golden \
    libselene_cuda.so libselene_simt.so; do
    for place in $places; do
      if [ -e "$place/$name" ]; then ln -sf "$(realpath "$place/$name")" "$work/bin/$name"; fi
    done
  done
  module=$work/bin/libselene_$device.so
  [ -e "$module" ] || fail "libselene_$device.so is in none of: $places"
  [ -e "$work/bin/selene-train" ] || fail "selene-train is in none of: $places"
  if [ "$device" = simt ]; then ln -sf "$(realpath "$module")" "$work/bin/libselene_cuda.so"; fi
  SELENE_DEVICE_MODULE=$work/bin/libselene_cuda.so
}

# CUDA's libraries are the system's, or else those that came with Python packages.
find_libraries() {
  local missing folders
  missing=$(ldd "$(realpath "$SELENE_DEVICE_MODULE")" 2>/dev/null | awk '/not found/ {print $1}') || true
  [ -n "$missing" ] || return 0
  folders=$(python3 - <<'END'
import glob, os, site, sys
places = site.getsitepackages() + [site.getusersitepackages()] + sys.path
found = [d for p in places for d in sorted(glob.glob(os.path.join(p, 'nvidia', '*', 'lib')))]
found += sorted(glob.glob('/usr/local/cuda*/lib64')) + sorted(glob.glob('/usr/local/cuda*/targets/x86_64-linux/lib'))
print(':'.join(dict.fromkeys(found)))
END
  )
  export LD_LIBRARY_PATH=$folders${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
}

# stage NAME LIMIT LEAST: runs it in a process of its own; its exit status, seconds and log are kept whatever happens.
stage() {
  local name=$1 limit=$2 least=$3 left begin took status=0
  left=$((budget - SECONDS))
  if [ $left -lt "$least" ]; then
    printf '%s\t%s\t0\t%s\n' "$name" 77 "skip: $left s of the budget left, it wants $least" >>"$raw/stages.tsv"
    printf '%-10s skipped: no time left\n' "$name" >&2
    return 0
  fi
  if [ "$device" = simt ]; then limit=$((limit * 8)); fi
  if [ "$limit" -gt $left ]; then limit=$left; fi
  begin=${EPOCHREALTIME/./}
  SELENE_STAGE_SECONDS=$limit timeout -k 5 "$limit" bash "$root/tools/gpu_check.sh" --stage "$name" \
    >"$raw/$name.log" 2>&1 </dev/null || status=$?
  took=$(((${EPOCHREALTIME/./} - begin) / 100000))
  printf '%s\t%s\t%s.%s\t%s\n' "$name" $status $((took / 10)) $((took % 10)) \
    "$(tail -n 1 "$raw/$name.log" | tr '\t' ' ')" >>"$raw/stages.tsv"
  printf '%-10s exit status %-3s %4d s\n' "$name" $status $((took / 10)) >&2
}

out=${out:-gpu-check}
mkdir -p "$out"
out=$(realpath "$out") build=$(realpath -m "$build")
raw=$out/raw work=$out/work
rm -rf "$raw"
place_programs
export root raw work device SELENE_DEVICE_MODULE
# Python brings libraries of its own and must not get ours.
export plain_library_path=${LD_LIBRARY_PATH:-}
find_libraries
export OMP_WAIT_POLICY=passive
while read -r name limit least; do
  case $only in '' | *,"$name",*) stage "$name" "$limit" "$least" ;; esac
done <<<"$all_stages"
rm -rf "$work"
python3 "$root/tools/gpu_check.py" "$out" --device "$device" --budget "$budget" --took $SECONDS
