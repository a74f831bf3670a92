# shellcheck shell=bash disable=SC2154  # the options, machine and commit are the caller's
# What tools/reproduce.sh does for one cell: its data, its recipe at the scale, its run, and what is noted beside the
# run for selene-report. From the caller, beside the options: say, run_child, interrupt, write_table, machine, commit,
# and for single cells the counters cells, cell, ran, bad.

declare -A data_of why_of stand_in_of  # by task: prepared folder, why there is none, whether it is synthetic
declare -A scaled                      # by task and model: words of the scaled recipe

# json TEXT: as a JSON string.
json() {
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"}
  printf '"%s"' "$(tr -d '\000-\010\013-\037' <<<"$text" | tr '\n\t' '  ' | sed 's/ $//')"
}
# line WORD...: as a line to be typed into a shell.
line() {
  local text
  printf -v text '%q ' "$@"
  echo "${text% }"
}
# error_of FILE: the error line of a program's output, or its last line that says something.
error_of() {
  sed -n 's/^error: //p' "$1" | tail -n 1 | grep . || grep -v '^Run with --help' "$1" | tail -n 1 | grep . ||
    echo "ended without a word"
}
# share N LEAST: that share of N.
share() { awk -v n="$1" -v s="$scale" -v least="$2" 'BEGIN { v = int(n * s + 0.5); print v < least ? least : v }'; }

# raw_of TASK: where its official files are, and fails; prints the first place that was looked at.
raw_of() {
  local folder names=()
  case $1 in
    text) names=(aclImdb) ;;
    image) names=(cifar-10-batches-bin) ;;
    retrieval) names=(tsv_data lra_release/tsv_data lra_release/lra_release/tsv_data) ;;
  esac
  for folder in "${names[@]}"; do
    if [ -d "$raw/$folder" ]; then echo "$raw/$folder"; return; fi
  done
  echo "$raw/${names[0]}"
  return 1
}

# Examples of the official training sets; validation and test examples below scale 1: few where an example has many
# tokens.
train_of() {
  case $1 in
    listops) echo 96000 ;; text) echo 25000 ;; retrieval) echo 147086 ;; image) echo 45000 ;; *) echo 160000 ;;
  esac
}
valid_of() { case $1 in text | retrieval) echo 50 ;; pathx) echo 8 ;; *) echo 100 ;; esac; }
test_of() { case $1 in text | retrieval) echo 100 ;; pathx) echo 16 ;; *) echo 200 ;; esac; }

# prepare_task TASK: fills data_of, or why_of. Nothing is done where the data is there.
prepare_task() {
  local task=$1 folder=$data/$1 from='' words=() n
  stand_in_of[$task]=false why_of[$task]='' data_of[$task]=''
  mkdir -p "$out" "$data"
  n=$(share "$(train_of "$task")" 256)
  case $task in
    listops) words=(listops) ;;
    pathfinder) words=(pathfinder --size 32 --seed 1) ;;
    pathx) words=(pathfinder --size 128 --seed 1) ;;
    *)
      if from=$(raw_of "$task"); then words=("$task" --from "$from")
      elif [ -e "$folder/dataset.json" ]; then prepared_before "$task" "$n"; return
      elif [ "$scale" = 1 ]; then
        why_of[$task]="no data at $from, and none prepared at $folder (docs/lra.md says where to get it)"
        return
      else
        make_stand_in "$task" "$n" || return 0
        words=("$task" --from "$data/stand-in/$task") folder=$data/$task-stand-in
      fi ;;
  esac
  words+=(--out "$folder")
  if [ "$scale" != 1 ]; then words+=(--train "$n" --valid "$(valid_of "$task")" --test "$(test_of "$task")"); fi
  run_prepare "$task" "${words[@]}" || return 0
  data_of[$task]=$folder
}

# prepared_before TASK TRAIN: without its source, data is taken if it was made with the options of this call.
prepared_before() {
  local task=$1 option counts=(0 0 0)
  if [ "$scale" != 1 ]; then counts=("$2" "$(valid_of "$task")" "$(test_of "$task")"); fi
  for option in "train\": ${counts[0]}" "valid\": ${counts[1]}" "test\": ${counts[2]}" "seed\": 1"; do
    if ! grep -qE "^ *\"$option,?\$" "$data/$task/dataset.json"; then
      why_of[$task]="no data at $(raw_of "$task" || true), and $data/$task was not made with \"$option"
      return
    fi
  done
  data_of[$task]=$data/$task
}

# make_stand_in TASK TRAIN: the official files, synthetic. A tenth of the images is for validation.
make_stand_in() {
  local task=$1 train=$2
  say "$task: no data at $(raw_of "$task" || true); a synthetic stand-in takes its place"
  stand_in_of[$task]=true
  if [ "$task" = image ]; then train=$((train * 5 / 4 + 1000)); fi
  run_prepare "$task" stand-in "$task" --out "$data/stand-in/$task" --train "$train" --test 200
}
run_prepare() {
  local task=$1 log=$out/prepare.log
  shift
  if ! run_child "$log" selene-prepare "$@"; then
    why_of[$task]=$(error_of "$log")
    say "$task: selene-prepare failed: ${why_of[$task]}"
    return 1
  fi
  if ! grep -q 'already there' "$log"; then say "$(tail -n 1 "$log")"; fi
}

# scaled_sets TASK RECIPE...: a recipe's values at the scale, one key=value a line.
scaled_sets() {
  local task=$1
  shift
  selene-train --print-recipe "$@" "${sets[@]}" | awk -v scale="$scale" -v valid="$(valid_of "$task")" '
    function part(n, least) { n = int(n * scale + 0.5); return n < least ? least : n }
    function less(a, b) { return a < b ? a : b }
    function more(a, b) { return a > b ? a : b }
    /^[a-z]/ { section = $1; sub(":", "", section); next }
    { key = $1; sub(":", "", key); value[section "." key] = $2 }
    END {
      updates = part(value["train.updates"], 4)
      warmup = less(part(value["schedule.warmup"], 1), int(updates / 4))
      tokens = value["data.max_length"] * value["model.towers"]
      examples = value["train.batch_size"] * value["train.accumulation"]
      print "train.updates=" updates
      print "schedule.warmup=" warmup
      if (value["schedule.total"] > 0) print "schedule.total=" part(value["schedule.total"], warmup + 1)
      if (value["schedule.cycle"] > 0) print "schedule.cycle=" part(value["schedule.cycle"], 1)
      if (value["schedule.decay_steps"] > 0) print "schedule.decay_steps=" part(value["schedule.decay_steps"], 1)
      print "train.batch_size=" more(1, less(examples, int(16384 / tokens)))
      print "train.accumulation=1"
      print "train.validate_every=" updates
      print "train.validate_examples=" valid
      print "train.checkpoint_every=" more(1, int(updates / 2))
      print "train.log_every=" more(1, int(updates / 10))
    }'
}

# command_of TASK MODEL SEED POOL FOLDER: fills `words`, the command of a cell.
command_of() {
  local recipes=("recipes/lra/release/$1.yaml" "recipes/models/$2.yaml") setting text
  if [ -e "recipes/lra/release/$1-$2.yaml" ]; then recipes=("recipes/lra/release/$1-$2.yaml"); fi
  words=(selene-train "${recipes[@]}" --out "$5" --device "$device" --set "train.seed=$3" --set "data.path=${data_of[$1]}")
  if [ "$4" = p ]; then words+=(--set model.pooling=p); fi
  if [ "$scale" != 1 ]; then
    if [ -z "${scaled[$1/$2]:-}" ]; then
      text=$(scaled_sets "$1" "${recipes[@]}") || return 1
      scaled[$1/$2]=$text
    fi
    while read -r setting; do words+=(--set "$setting"); done <<<"${scaled[$1/$2]}"
  fi
  words+=("${sets[@]}")
}

# note FOLDER STATUS WHY: what selene-report can't know from the run folder, beside it.
note() {
  local device_line=''
  if [ -e "$1/log.txt" ]; then
    device_line=$(sed -n 's/.* info device: //p' "$1/log.txt" | tail -n 1 | sed 's/ (no backend module.*//')
  fi
  {
    printf '{"status":%s,"why":%s,' "$(json "$2")" "$(json "$3")"
    printf '"task":"%s","model":"%s","p":%s,"seed":%s,' "${key[0]}" "${key[1]}" "${key[3]}" "${key[2]}"
    printf '"scale":"%s","stand_in":%s,' "$scale" "${stand_in_of[${key[0]}]}"
    printf '"command":%s,' "$(json "$(line "${words[@]}")")"
    printf '"device":%s,"machine":%s,' "$(json "$device_line")" "$(json "$machine")"
    printf '"commit":%s,"date":"%s"}\n' "$(json "$commit")" "$(date -u +%F)"
  } >"$1.json.tmp"
  mv "$1.json.tmp" "$1.json"
}
state_of() { stat -c '%y %s' "$1/metrics.jsonl" 2>/dev/null || true; }
percent_of() {
  sed -n 's/.*"kind":"test".*"accuracy":\([0-9.e+-]*\).*/\1/p' "$1/metrics.jsonl" | tail -n 1 |
    awk '{ printf "%.2f %%", 100 * $1 }'
}

# run_cell TASK MODEL SEED POOL
run_cell() {
  local task=$1 model=$2 seed=$3 pool=$4 folder before status=0 begin=$SECONDS words=() key title
  key=("$task" "$model" "$seed" false)
  folder=$out/$task
  if ${stand_in_of[$task]}; then folder+=-stand-in; fi
  folder+=/$model title="$task $model"
  if [ "$pool" = p ]; then key[3]=true folder+=-p title+=" with P"; fi
  mkdir -p "$folder"
  folder+=/seed-$seed
  cell=$((cell + 1))
  title="[$cell/$cells] $title seed $seed"
  if [ -z "${data_of[$task]}" ]; then without_data; return; fi
  if ! command_of "$task" "$model" "$seed" "$pool" "$folder" 2>"$folder.out"; then failed_cell; return; fi
  if ! grep -qs '^{"status":"done"' "$folder.json"; then note "$folder" unfinished ''; fi
  before=$(state_of "$folder")
  run_child "$folder.out" "${words[@]}" || status=$?
  if grep -q '^interrupted update=' "$folder.out"; then interrupt TERM; fi
  if [ $status != 0 ]; then failed_cell; return; fi
  if [ "$before" = "$(state_of "$folder")" ] && grep -q '^{"status":"done"' "$folder.json"; then return; fi
  note "$folder" "done" ''
  ran=$((ran + 1))
  say "$title: $(percent_of "$folder") ($((SECONDS - begin)) s)"
}
# The rest of run_cell, with its variables. What fails now takes nothing from a run that was done before.
note_failure() { if ! grep -qs '^{"status":"done"' "$folder.json"; then note "$folder" "$@"; fi; }
failed_cell() {
  note_failure failed "$(error_of "$folder.out")"
  bad=$((bad + 1))
  say "$title: failed: $(error_of "$folder.out")"
}
without_data() {
  local status="no data"
  case ${why_of[$task]} in "no data at "*) ;; *) status=failed ;; esac
  note_failure "$status" "${why_of[$task]}"
  bad=$((bad + 1))
  say "$title: $status: ${why_of[$task]#no data at }"
}

# Table 2: rounds over all lengths and models, one process each; a line of $times is a cell that is measured.
speed() {
  local folder=$out/table2/${device##*/} round length model times mark settings
  mkdir -p "$folder"
  times=$folder/cells.jsonl
  exec 9>"$folder/.lock"
  flock -n 9 || { say "error: $folder: another tools/reproduce.sh table2 works here"; return 1; }
  settings="\"scale\":\"$scale\",\"timed_steps\":$steps,"
  if [ -e "$times" ] && grep -qvF "$settings" "$times"; then
    say "error: $times: has times with another --scale or --steps; give another --out, or move it away"
    return 1
  fi
  cells=$((rounds * ${#lengths[@]} * ${#models[@]})) cell=0 ran=0 bad=0
  for ((round = 1; round <= rounds; ++round)); do
    for length in "${lengths[@]}"; do
      for model in "${models[@]}"; do
        cell=$((cell + 1))
        mark="{\"round\":$round,\"cell\":\"$model $length $precision\","
        if ! grep -qsF "$mark" "$times"; then measure; fi
      done
    done
  done
  write_table "$out/table2.md" table2 "$times"
  if [ $((ran + bad)) = 0 ]; then say "nothing to do: all $cells cells were measured"; fi
  [ $bad = 0 ] || { say "$bad of $cells cells failed"; return 1; }
}
# With the variables of speed. Below scale 1 a step has 16K tokens for every model alike.
measure() {
  local batch=32 words found ms begin=$SECONDS made title="[$cell/$cells] $model $length tokens, round $round"
  if [ "$scale" != 1 ]; then batch=$((length < 16384 ? 16384 / length : 1)); fi
  words=(selene-bench step --model "$model" --length "$length" --batch "$batch" --precision "$precision"
    --steps "$steps" --threads "$(nproc)" --layers 4 --dim 256 --heads 4 --ffn 1024 --untied --device "$device"
    --json)
  made=$settings$(printf '"machine":%s,"commit":%s,"date":"%s","command":%s,' "$(json "$machine")" \
    "$(json "$commit")" "$(date -u +%F)" "$(json "$(line "${words[@]}")")")
  if run_child "$folder/bench.out" "${words[@]}" && found=$(grep '^{"model"' "$folder/bench.out"); then
    printf '%s%s%s\n' "$mark" "$made" "${found#\{}" >>"$times"
    ms=${found##*\"step_median_ms\":} ms=${ms%%,*}
    ran=$((ran + 1))
    say "$title: ${ms%.*} ms ($((SECONDS - begin)) s)"
    return
  fi
  # Another mark: a later call tries again.
  found=$(error_of "$folder/bench.out")
  printf '{"failed":%d,%s"model":"%s","length":%d,"dtype":"%s","batch":%d,"why":%s}\n' "$round" "$made" "$model" \
    "$length" "$precision" "$batch" "$(json "$found")" >>"$times"
  bad=$((bad + 1))
  say "$title: failed: $found"
}
