#!/bin/bash
# The tables and the figure of the Luna paper (Ma et al. 2021) on the Long Range Arena, its numbers beside ours.
# Prepares the data that is missing, runs every cell that is not done, goes on where it was stopped, writes the table.
#
# tools/reproduce.sh table1     accuracy of every model on every task
# tools/reproduce.sh table2     speed and memory of the byte-level Text model relative to the Transformer
# tools/reproduce.sh table3     [CLS] against the mean of P as the sentence vector
# tools/reproduce.sh figure1    accuracy against speed as an SVG, from the results that are there
#
#   --scale F        0 < F <= 1: share of updates and training examples (default 1). Below 1 an update has at most
#                    16K tokens, at most 200 examples are evaluated, and synthetic stand-ins replace missing data
#   --tasks "T ..."  listops text retrieval image pathfinder (default: all; table3: the first three), and pathx
#   --models "M ..." transformer luna-16 luna-128 luna-256 (default: all that the table has)
#   --seeds N        seeds 1 to N (default 1; the paper has 5)
#   --device D       auto, cpu, cuda or a module's file (default auto)
#   --set KEY=VALUE  of the recipe, for every cell of table1 and table3; repeatable
#   --lengths "N .." tokens, table2 (default "1024 2048 3072 4096")
#   --rounds N       processes for each cell of table2, interleaved (default 3)
#   --steps N        timed steps of each (default 20; 3 below scale 1)
#   --precision P    fp32, bf16 or fp16, table2 (default fp32)
#   --raw DIR        aclImdb, cifar-10-batches-bin, tsv_data (default data-raw)
#   --data DIR       prepared data (default data-out/lra, data-out/lra-F below scale 1)
#   --out DIR        runs and tables (default runs/lra, runs/lra-F below scale 1)
#
# Example: tools/reproduce.sh table1 --scale 0.001
# Exit status: 0 where every cell is there, 1 where one failed or has no data, 2 for wrong usage, 130 if interrupted.
set -euo pipefail
caller=$PWD
root=$(CDPATH= cd "$(dirname "$0")/.." && pwd)
cd "$root"
# shellcheck source=tools/reproduce_cells.sh
. tools/reproduce_cells.sh
PATH=${SELENE_TOOLS:-$root/build/tools}:$PATH

say() { printf '%s\n' "$*" >&2; }
usage_error() { say "error: tools/reproduce.sh: $*; tools/reproduce.sh --help"; exit 2; }
# place DIR: as the caller meant it, short where it lies in this folder.
place() {
  local path=$1
  case $path in /*) ;; *) path=$caller/$path ;; esac
  echo "${path#"$root"/}"
}
# integer NAME VALUE: refuses what is none above 0.
integer() { [[ $2 =~ ^[1-9][0-9]{0,8}$ ]] || usage_error "$1 is '$2', wanted a whole number above 0"; }
# among NAME VALUE ALLOWED...
among() {
  local name=$1 value=$2 allowed list
  shift 2
  list=$*
  for allowed; do if [ "$value" = "$allowed" ]; then return; fi; done
  usage_error "$name is '$value', wanted ${list// /, }"
}

read_options() {
  scale=1 seeds=1 device=auto raw=data-raw data='' out='' rounds=3 steps='' precision=fp32
  tasks=() models=() lengths=(1024 2048 3072 4096) sets=()
  what=${1:-}
  case $what in
    -h | --help) sed -n '2,/^set/{s/^# \{0,1\}//p}' tools/reproduce.sh; exit 0 ;;
    table1 | table2 | table3 | figure1) shift ;;
    *) usage_error "the first word is '$what', wanted table1, table2, table3 or figure1" ;;
  esac
  while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || usage_error "$1 stands alone, wanted a value behind it"
    case $1 in --tasks | --models | --lengths) [[ $2 =~ [^[:space:]] ]] || usage_error "$1 is empty" ;; esac
    case $1 in
      --scale) scale=$2 ;;
      --tasks) read -ra tasks <<<"$2" ;;
      --models) read -ra models <<<"$2" ;;
      --lengths) read -ra lengths <<<"$2" ;;
      --seeds) seeds=$2 ;;
      --rounds) rounds=$2 ;;
      --steps) steps=$2 ;;
      --precision) precision=$2 ;;
      --device) device=$2 ;;
      --set) sets+=(--set "$2") ;;
      --raw) raw=$(place "$2") ;;
      --data) data=$(place "$2") ;;
      --out) out=$(place "$2") ;;
      *) usage_error "unknown option $1" ;;
    esac
    shift 2
  done
  check_options
}

check_options() {
  local word suffix=
  [[ $scale =~ ^(0?\.[0-9]{1,9}|1(\.0*)?)$ && ! $scale =~ ^0?\.0*$ ]] ||
    usage_error "--scale is '$scale', wanted a number above 0 and at most 1"
  scale=$(awk -v s="$scale" 'BEGIN { s = sprintf("%.9f", s); sub(/\.?0+$/, "", s); print s }')
  [ "$scale" = 1 ] || suffix=-$scale
  data=${data:-data-out/lra$suffix} out=${out:-runs/lra$suffix}
  if [ -z "$steps" ]; then steps=20; [ "$scale" = 1 ] || steps=3; fi
  integer --seeds "$seeds"
  integer --rounds "$rounds"
  integer --steps "$steps"
  for word in "${lengths[@]}"; do integer --lengths "$word"; done
  among --precision "$precision" fp32 bf16 fp16
  case $what in
    table3) [ ${#tasks[@]} -gt 0 ] || tasks=(listops text retrieval)
      [ ${#models[@]} -gt 0 ] || models=(luna-16 luna-128 luna-256)
      for word in "${tasks[@]}"; do among --tasks "$word" listops text retrieval; done ;;
    *) [ ${#tasks[@]} -gt 0 ] || tasks=(listops text retrieval image pathfinder)
      [ ${#models[@]} -gt 0 ] || models=(transformer luna-16 luna-128 luna-256)
      for word in "${tasks[@]}"; do among --tasks "$word" listops text retrieval image pathfinder pathx; done ;;
  esac
  for word in "${models[@]}"; do
    [ "$what/$word" != table3/transformer ] || usage_error "--models is 'transformer', which has no P"
    among --models "$word" transformer luna-16 luna-128 luna-256
  done
}

# A first signal lets the program that runs come to a good end; a second one ends it at once.
child=
interrupt() {
  trap 'kill -KILL $child 2>/dev/null; exit 130' INT TERM HUP USR1
  # The shell has it ignore a Ctrl-C, as every program in the background.
  kill -TERM "$child" 2>/dev/null || true
  [ -z "$child" ] || wait "$child" || true
  say "interrupted; the same command goes on from here"
  exit 130
}
# run_child FILE COMMAND...: its output into FILE; its exit status.
run_child() {
  local file=$1 status=0
  shift
  "$@" >"$file" 2>&1 &
  child=$!
  wait "$child" || status=$?
  child=
  return $status
}

# write_table FILE TABLE RUN...: shows the table without its commands; the file changes only where its content does.
write_table() {
  local file=$1 text
  shift
  text=$(selene-report --paper "$@")
  if [ ! -e "$file" ] || [ "$text" != "$(cat "$file")" ]; then
    printf '%s\n' "$text" >"$file.tmp"
    mv "$file.tmp" "$file"
  fi
  if [ "${file##*.}" = md ]; then printf '%s\n' "${text%%$'\n'Commands, *}"; fi
  say "written: $file"
}

# known_runs: the folders of all runs under $out, one a line; those on stand-ins only where the real data has none.
known_runs() {
  local notes task
  for notes in "$out"/*/*/seed-*.json; do
    [ -e "$notes" ] || continue
    task=${notes#"$out"/} task=${task%%/*}
    if [ "$task" != "${task%-stand-in}" ] && [ -e "$out/${task%-stand-in}" ]; then continue; fi
    echo "${notes%.json}"
  done | sort -V
}

accuracy() {
  local seed task model pools=(cls) pool runs
  if [ "$what" = table3 ]; then pools=(cls p); fi
  cells=$((seeds * ${#tasks[@]} * ${#models[@]} * ${#pools[@]})) cell=0 ran=0 bad=0
  [ "$scale" = 1 ] || say "scale $scale: a rehearsal; its numbers say nothing about the method"
  for task in "${tasks[@]}"; do prepare_task "$task"; done
  for ((seed = 1; seed <= seeds; ++seed)); do
    for task in "${tasks[@]}"; do
      for model in "${models[@]}"; do
        for pool in "${pools[@]}"; do run_cell "$task" "$model" "$seed" "$pool"; done
      done
    done
  done
  mapfile -t runs < <(known_runs)
  write_table "$out/$what.md" "$what" "${runs[@]}"
  if [ $((ran + bad)) = 0 ]; then say "nothing to do: all $cells cells were done"; fi
  [ $bad = 0 ] || { say "$bad of $cells cells failed or have no data"; return 1; }
}

# Without --device the times of whatever device there are; selene-report refuses those of several.
figure() {
  local runs times pattern=${device##*/}
  if [ "$device" = auto ]; then pattern='*'; fi
  mapfile -t runs < <(known_runs)
  mapfile -t times < <(compgen -G "$out/table2/$pattern/cells.jsonl" || true)
  if [ ${#times[@]} = 0 ]; then say "no times of ours in $out/table2; tools/reproduce.sh table2 makes them"; fi
  if [ ${#runs[@]} = 0 ]; then say "no runs of ours in $out; tools/reproduce.sh table1 makes them"; fi
  if [ $((${#runs[@]} + ${#times[@]})) = 0 ]; then
    say "error: nothing of ours in $out, wanted runs or times"
    return 1
  fi
  write_table "$out/figure1.svg" figure1 "${runs[@]}" "${times[@]}"
}

main() {
  local program signal
  read_options "$@"
  for program in selene-prepare selene-train selene-bench selene-report; do
    command -v $program >/dev/null || { say "error: $program is not there; build with: ninja -C build"; exit 1; }
  done
  for signal in INT TERM HUP USR1; do
    # shellcheck disable=SC2064  # the signal's name is meant now
    trap "interrupt $signal" $signal
  done
  commit=$(git -C "$root" describe --always --dirty 2>/dev/null || true)
  machine="$(sed -n '/^model name/{s/^[^:]*: //p;q}' /proc/cpuinfo), $(nproc) threads"
  case $what in
    table1 | table3) accuracy ;;
    table2) speed ;;
    figure1) figure ;;
  esac
}
# On one line: what comes after a run of days is read now, whatever happens to this file meanwhile.
main "$@"; exit
