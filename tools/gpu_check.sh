#!/bin/bash
# Everything that only a GPU can show, in one command of under ten minutes: parity of every operation, golden
# cases, sanitizers, graphs, resuming, ceilings, kernels, steps beside PyTorch, counters, a training run.
# Usage: tools/gpu_check.sh [OUT] [--device cuda|simt] [--budget SECONDS] [--only STAGE,...] [--build DIR] [--list]
#   OUT        results: result.md, result.json, logs.tar.gz (default: gpu-check), written anew while the stages run:
#              whatever ends this script, what was found until some seconds before is there
#   --device   simt: the same stages on the host through the shim, tiny and slow, to test this script itself
#   --budget   seconds for all stages (default: 540, simt 3600); what does not fit is cut off or skipped
#   --only     these stages only, as --list prints them; the other results that OUT holds already stay
#   --build    folder of the build (default: build, or the unpacked bundle that this script stands in)
# Exit status 1 when a stage failed. Example: tools/gpu_check.sh results --only parity,golden,steps
set -euo pipefail
export LC_ALL=C
root=$(CDPATH= cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/gpu/gpu_stages.sh
source "$root/tools/gpu/gpu_stages.sh"

fail() { printf 'error: tools/gpu_check.sh: %s\n' "$*" >&2; exit 2; }

# How a stage is run in a session of its own, with the variables of the script that started it.
if [ "${1:-}" = --stage ]; then
  run_stage "$2"
  exit
fi

# name, seconds it may take, seconds left under which it is not worth starting; the most valuable first. Up to
# sanitizer they add up to the nine minutes of the budget; the last two live on what the others leave.
all_stages='machine 40 0
parity 60 5
golden 20 5
check 40 10
ceilings 20 5
steps 60 10
kernels 30 10
attention 40 10
graphs 50 10
peers 120 30
sanitizer 60 20
counters 60 20
training 120 25'

device=cuda budget='' chosen='' build=$root/build out=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --list) printf '%s\n' "$all_stages" | cut -d' ' -f1; exit 0 ;;
    --device | --budget | --only | --build) [ $# -ge 2 ] || fail "$1 wants a value" ;;
    -*) fail "unknown argument $1; tools/gpu_check.sh --help" ;;
    *) [ -z "$out" ] || fail "more than one results folder"; out=$1; shift; continue ;;
  esac
  case $1 in
    --device) device=$2 ;;
    --budget) budget=$2 ;;
    --only) chosen=,$2, ;;
    --build) build=$2 ;;
  esac
  shift 2
done
case $device in cuda | simt) ;; *) fail "device is '$device', wanted cuda or simt" ;; esac
[ -n "$budget" ] || budget=$([ "$device" = simt ] && echo 3600 || echo 540)
case $budget in *[!0-9]*) fail "budget is '$budget', wanted whole seconds" ;; esac
for stage in ${chosen//,/ }; do
  printf '%s\n' "$all_stages" | grep -q "^$stage " || fail "no stage '$stage'; --list prints their names"
done
for program in python3 setsid tar; do command -v $program >/dev/null || fail "$program is missing"; done

# Programs and modules of a bundle or of a build.
find_programs() {
  local folder=$build/tools
  SELENE_DEVICE_MODULE=$build/kernels/$device/libselene_$device.so
  if [ -d "$root/bin" ]; then folder=$root/bin SELENE_DEVICE_MODULE=$root/lib/libselene_$device.so; fi
  for file in "$folder/selene-train" "$SELENE_DEVICE_MODULE"; do
    [ -e "$file" ] || fail "$file is missing: build it, or name the folder of the build with --build"
  done
  export SELENE_DEVICE_MODULE PATH=$folder:$build/tests:$PATH
}

# CUDA's libraries are the system's, or else those that came with Python packages: folders that hold what is missing
# of those that the module is linked with (cuBLASLt) or opens when it is asked to (cuDNN).
find_libraries() {
  local missing folders
  missing=$(ldd "$SELENE_DEVICE_MODULE" 2>/dev/null | awk '/not found/ {print $1}') || true
  # shellcheck disable=SC2086  # several names
  folders=$(python3 - $missing libcudnn.so.9 <<'END'
import ctypes, glob, os, sys
def loads(name):
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None
places = [d for p in sys.path for d in sorted(glob.glob(os.path.join(p, 'nvidia', '*', 'lib')))]
places += sorted(glob.glob('/usr/local/cuda*/lib64'), reverse=True)
found = []
for name in sys.argv[1:]:
    if not loads(name):
        found += [d for d in places if os.path.exists(os.path.join(d, name))][:1]
print(':'.join(dict.fromkeys(found)))
END
  ) || true
  if [ -n "$folders" ]; then export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folders; fi
}

# signal_session ID SIGNAL: to every process of the session, whatever groups they have made; fails without one.
signal_session() {
  local file line found=1
  for file in /proc/[0-9]*/stat; do
    { read -r line <"$file"; } 2>/dev/null || continue
    # shellcheck disable=SC2086  # after the name: state, parent, group, session
    set -- "$1" "$2" ${line##*) }
    if [ "$6" = "$1" ] && [ "$3" != Z ]; then
      kill "-$2" "${line%% *}" 2>/dev/null || true
      found=0
    fi
  done
  return $found
}

# save [NAME SECONDS]: the results so far, of a stage that is still running too.
save() {
  local unended=() status=0
  if [ $# -gt 0 ]; then unended=(--running "$1" "$2"); fi
  python3 "$root/tools/gpu/gpu_check.py" "$out" --raw "$raw" --device "$device" --budget "$budget" --took $SECONDS \
    "${unended[@]}" "${earlier[@]}" || status=$?
  tar -C "$scratch" --warning=no-file-changed -czf "$out/.logs.tar.gz" raw || true  # a stage may be writing
  mv "$out/.logs.tar.gz" "$out/logs.tar.gz"
  return $status
}

# stage NAME LIMIT LEAST: runs it in a session of its own; exit status, seconds and log are kept whatever happens.
stage() {
  local name=$1 limit=$2 least=$3 left begin end next took status=0
  left=$((budget > SECONDS ? budget - SECONDS : 0))
  if [ $left -lt "$least" ]; then
    printf '%s\t77\t0\tskip: %s s of the budget left, it wants %s; run it with --only %s\n' \
      "$name" $left "$least" "$name" >>"$raw/stages.tsv"
    printf '%-10s skipped: no time left\n' "$name" >&2
    return 0
  fi
  if [ "$device" = simt ]; then limit=$((limit * 8)); fi
  if [ "$limit" -gt $left ]; then limit=$left; fi
  begin=${EPOCHREALTIME/./}
  SELENE_STAGE_SECONDS=$limit setsid bash "$root/tools/gpu_check.sh" --stage "$name" \
    >"$raw/$name.log" 2>&1 </dev/null &
  running=$! end=$((SECONDS + limit)) next=$((SECONDS + 10))
  while kill -0 $running 2>/dev/null && [ $SECONDS -lt $end ]; do
    sleep 0.1
    if [ $SECONDS -ge $next ]; then
      save "$name" $((SECONDS - end + limit)) >/dev/null || true
      next=$((SECONDS + 10))
    fi
  done
  if kill -0 $running 2>/dev/null; then
    status=124
    signal_session $running TERM || true
    for _ in 1 2 3; do sleep 1; signal_session $running CONT || break; done
  fi
  signal_session $running KILL || true  # also what a stage has left behind
  wait $running 2>/dev/null || status=$((status ? status : $?))
  running=''
  took=$(((${EPOCHREALTIME/./} - begin) / 100000))
  printf '%s\t%s\t%s.%s\t%s\n' "$name" $status $((took / 10)) $((took % 10)) \
    "$(grep -a . "$raw/$name.log" | tail -n 1 | tr '\t' ' ')" >>"$raw/stages.tsv"
  printf '%-10s exit status %-3s %4d s\n' "$name" $status $((took / 10)) >&2
  save >/dev/null || true
}

out=${out:-gpu-check}
mkdir -p "$out" || fail "the results folder $out can't be made"
[ -w "$out" ] || fail "the results folder $out can't be written"
out=$(realpath "$out") build=$(realpath -m "$build")
scratch=$(mktemp -d)
running=''
trap 'if [ -n "$running" ]; then signal_session "$running" KILL || true; fi; rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
raw=$scratch/raw work=$scratch/work
mkdir "$raw" "$work"
# Python brings libraries of its own and must not get ours.
plain_library_path=${LD_LIBRARY_PATH:-}
find_programs
if [ "$device" = cuda ]; then find_libraries; fi
export root raw work device plain_library_path OMP_WAIT_POLICY=passive
earlier=()
if [ -n "$chosen" ] && [ -e "$out/result.json" ]; then
  cp "$out/result.json" "$scratch/earlier.json"
  earlier=(--add "$scratch/earlier.json")
fi
save >/dev/null || true  # from here on there is a result, whatever happens
while read -r name limit least; do
  case $name$chosen in machine* | "$name" | *,"$name",*) stage "$name" "$limit" "$least" ;; esac
done <<<"$all_stages"
status=0
save || status=$?
exit $status
