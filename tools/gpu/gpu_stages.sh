# shellcheck shell=bash
# The stages of tools/gpu_check.sh, a function each. A stage prints what a person reads in its log, writes numbers
# as JSON lines into $raw as soon as it has them, exits 0 (done), 77 (skipped, the last line says why) or otherwise
# (failed). From the caller: root, raw, work, device (cuda or simt), SELENE_DEVICE_MODULE, SELENE_STAGE_SECONDS,
# plain_library_path, and programs on PATH.

run_stage() {
  cd "${work:?}" || exit
  : "${root:?}" "${raw:?}" "${device:?}" "${plain_library_path?}"
  : "${SELENE_DEVICE_MODULE:?}" "${SELENE_STAGE_SECONDS:?}"
  "stage_$1"
}
skip() { echo "skip: $*"; exit 77; }
tiny() { [ "$device" = simt ]; }
# Whether the GPU computes in bf16: compute capability 8.0 or newer, which the shim stands for.
has_bf16() {
  tiny || [ "$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)" -ge 80 ]
}
low() { if has_bf16; then echo bf16; else echo fp16; fi; }
# find_program NAME: on the PATH, or where CUDA puts it.
find_program() {
  local place
  command -v "$1" && return
  for place in /usr/local/cuda*/bin /opt/nvidia/nsight-compute/*; do
    if [ -x "$place/$1" ]; then echo "$place/$1"; return; fi
  done
  return 1
}
# outside COMMAND...: with the libraries that the caller's environment had.
outside() { LD_LIBRARY_PATH=$plain_library_path "$@"; }
# bench FILE SUBCOMMAND ARGUMENT...: lines of selene-bench, into the log and $raw/FILE.jsonl.
bench() {
  local file=$1 what=$2
  shift 2
  selene-bench "$what" --device "$SELENE_DEVICE_MODULE" --json "$@" | tee -a "$raw/$file.jsonl"
}
# shape LAYERS DIM FFN HEADS BATCH: fills `size`.
shape() {
  size=(--set "model.layers=$1" --set "model.dim=$2" --set "model.ffn_dim=$3" --set "model.heads=$4" --batch "$5")
}
# recipe MODEL: fills `recipes`. Keys and values are tied, as in the peers; luna-4 is for small shapes.
recipe() {
  recipes=("$root/recipes/bench.yaml" "$root/recipes/models/${1/%luna-4/luna-16}.yaml")
  case $1 in luna-*) recipes+=(--set model.luna.tie_kv=true --set "model.luna.projection_length=${1#luna-}") ;; esac
}

stage_machine() {
  local query=name,driver_version,compute_cap,memory.total,memory.used,utilization.gpu,clocks.max.sm
  echo "date: $(date -u +%Y-%m-%dT%H:%M:%SZ)"
  echo "commit: $(cat "$root/COMMIT" 2>/dev/null || git -C "$root" describe --always --dirty 2>/dev/null)"
  echo "system: $(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release), kernel $(uname -r)"
  echo "processor: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) threads"
  echo "load: $(cut -d' ' -f1-3 /proc/loadavg)"
  if tiny; then echo "gpu: none, the shim on the host"; return; fi
  if command -v nvidia-smi >/dev/null; then
    echo "gpu: $(nvidia-smi "--query-gpu=$query" --format=csv,noheader | head -n 1)"
    echo "gpu columns: ${query//,/, }"
    echo "gpu processes: $(nvidia-smi --query-compute-apps=pid --format=csv,noheader | wc -l)"
  else echo "gpu: nvidia-smi is missing"; fi
  if command -v nvcc >/dev/null; then echo "nvcc: $(nvcc --version | sed -n 's/.*release //p')"; fi
  echo "libraries: $(ldd "$SELENE_DEVICE_MODULE" | awk '/cublas|not found/ {print $1, $2, $3}' | paste -sd' ')"
  local ask='import torch; print(torch.__version__, "with cuDNN", torch.backends.cudnn.version())'
  echo "torch: $(outside python3 -c "$ask" 2>&1 | tail -n 1)"
}

stage_parity() { unit_device; }

stage_golden() { SELENE_GOLDEN_DIR=$root/tests/golden golden; }

# At the sizes that are timed below, which no test of the tree reaches.
stage_check() { bench check check --precision "$(low)" fp32; }

# The data that graphs and training use: short ListOps, made once.
listops() {
  local train=36000 other=2000 longest=64
  if tiny; then train=400 other=40 longest=16; fi
  [ ! -e "$work/listops/complete" ] || return 0
  rm -rf "$work/listops"
  selene-prepare listops --out "$work/listops" --min-length 9 --max-length $longest --train $train --valid $other \
    --test $other --seed 1 >prepare.log 2>&1 || { cat prepare.log; return 1; }
  touch "$work/listops/complete"
}

# command_of RUN UPDATES ARGUMENT...: fills `words`, the training of the quickstart's model on the device.
command_of() {
  local run=$1 updates=$2 small=()
  shift 2
  if tiny; then
    small=(--set model.layers=1 --set model.dim=16 --set model.heads=2 --set model.ffn_dim=16
      --set model.head_dim=16 --set model.luna.projection_length=4 --set data.max_length=18 --set train.batch_size=4)
  fi
  words=(selene-train "$root/recipes/quickstart.yaml" --device "$SELENE_DEVICE_MODULE" --out "$run"
    --set "data.path=$work/listops" --set "train.updates=$updates" --set train.log_every=1
    --set "train.validate_every=$updates" --set "train.checkpoint_every=$((updates / 4))"
    --set "train.precision=$precision" "${small[@]}" "$@")
}
# train RUN UPDATES ARGUMENT...: the last line of its log, all of it when it fails.
train() {
  command_of "$@"
  "${words[@]}" >"$1.log" 2>&1 || { cat "$1.log"; return 1; }
  tail -n 1 "$1.log"
}

# same NAME A B FILE: one line for people, one for the results.
same() {
  local verdict=different
  if python3 "$root/tools/gpu/gpu_check.py" --same "$2/checkpoints/$4" "$3/checkpoints/$4"; then verdict=equal; fi
  printf '{"what": "%s", "precision": "%s", "verdict": "%s"}\n' "$1" "$precision" "$verdict" |
    tee -a "$raw/graphs.jsonl"
  [ $verdict = equal ]
}

# Graphs against eager, a run against itself, a killed run against one that was not: every tensor, every bit.
stage_graphs() {
  local precision updates=400 status=0 last run words
  listops
  if tiny; then updates=8; fi
  last=$(printf 'update-%08d.safetensors' $updates)
  for precision in fp32 "$(low)"; do
    run=graphs-$precision
    train "$run" $updates
    train "$run-again" $updates
    same "two runs" "$run" "$run-again" "$last" || status=1
    train "$run-eager" $updates --no-graph
    same "graph replay and eager" "$run" "$run-eager" "$last" || status=1
  done
  killed "$run" $updates "$last" || status=1
  return $status
}

# killed RUN UPDATES LAST: kill -9 after the first checkpoint, resume, compare.
killed() {
  local run=$1 updates=$2 last=$3 first pid
  first=$(printf 'update-%08d.safetensors' $((updates / 4)))
  command_of "$run-killed" "$updates"
  "${words[@]}" >killed.log 2>&1 &
  pid=$!
  while kill -0 $pid 2>/dev/null && [ ! -e "$run-killed/checkpoints/$first" ]; do sleep 0.005; done
  kill -KILL $pid 2>/dev/null || true
  wait $pid || true
  if [ -e "$run-killed/checkpoints/$last" ]; then
    echo "error: the run had ended before it was killed"
    return 1
  fi
  echo "killed, with the checkpoints $(cd "$run-killed/checkpoints" && echo *)"
  train "$run-killed" "$updates" || return 1
  same "killed and resumed" "$run" "$run-killed" "$last"
}

stage_ceilings() {
  local types=(fp32 fp16)
  if has_bf16; then types+=(bf16); fi
  bench ceilings ceilings --precision "${types[@]}"
}

stage_steps() {
  local status=0 type size recipes both="luna-16 transformer" others=(fp32)
  type=$(low)
  # step "MODEL..." ARGUMENT...
  step() {
    local model models=$1
    shift
    for model in $models; do
      recipe "$model"
      bench steps step "${recipes[@]}" "${size[@]}" "$@" || status=1
    done
  }
  if tiny; then
    shape 1 32 32 2 2
    step "luna-4 transformer" --length 24 --precision fp32 fp16 bf16 --steps 2
    step luna-4 --length 24 --steps 2 --no-graph
    return $status
  fi
  if has_bf16; then others+=(fp16); fi
  # LRA Text; the most wanted first, in case the time runs out.
  shape 4 256 1024 4 32
  step "$both" --length 4096 2048 1024 --precision "$type" --steps 30
  step luna-16 --length 4096 --precision "$type" --set train.recompute=feed_forward
  step "luna-128 luna-256" --length 4096 1024 2048 --precision "$type"
  step "$both" --length 4096 --precision "${others[@]}"
  # What a captured step saves.
  step "$both" --length 1024 4096 --precision "$type" --no-graph
  shape 4 64 256 4 1
  step luna-16 --length 1048576 --precision "$type"
  # As for WMT: 8192 tokens.
  shape 6 512 2048 8 8
  step "$both" --length 1024 --precision "$type" --steps 30
  return $status
}

stage_kernels() {
  local model size recipes status=0
  shape 4 256 1024 4 32
  size+=(--length 4096 --precision "$(low)")
  if tiny; then shape 1 32 32 2 2; size+=(--length 24 --steps 1 --precision bf16); fi
  for model in luna-16 transformer; do
    recipe $model
    bench kernels kernels "${recipes[@]}" "${size[@]}" || status=1
  done
  return $status
}

stage_attention() {
  local status=0 type one cases=() shapes=(32x4x4096x4096x64 32x4x16x4096x64 32x4x4096x16x64 8x8x1024x1024x64)
  type=$(low)
  if tiny; then shapes=(1x2x40x40x16 1x2x4x40x16); fi
  bench attention attention --shape "${shapes[@]}" --precision "$type" || status=1
  if torch; then
    for one in "${shapes[@]}"; do cases+=(--case "${one//x/:}:$type"); done
    outside python3 "$root/tools/gpu/peers/torch_attention.py" "${cases[@]}" | tee "$raw/torch_attention.jsonl" ||
      status=1
  fi
  return $status
}

# torch: whether python3 has PyTorch with a GPU; says why not.
torch() {
  if tiny; then echo "no PyTorch beside the shim"; return 1; fi
  outside python3 -c 'import torch; torch.cuda.current_device()' 2>torch.log ||
    { echo "no PyTorch with CUDA: $(tail -n 1 torch.log)"; return 1; }
}

stage_peers() {
  local type one cases=()
  torch >why.txt || skip "$(tail -n 1 why.txt)"
  type=$(low)
  # Compiling costs 20 s and more a case and mode: those that the targets are about come first.
  for one in luna-16:4096:32:4:256:1024:4 transformer:4096:32:4:256:1024:4 luna-16:1024:32:4:256:1024:4 \
    transformer:1024:8:6:512:2048:8 luna-16:1024:8:6:512:2048:8 transformer:1024:32:4:256:1024:4 \
    luna-256:4096:32:4:256:1024:4 luna-16:1048576:1:4:64:256:4; do
    cases+=(--case "$one:$type")
  done
  # Whatever is cut off by the time limit of the stage has its lines so far in the results.
  outside python3 "$root/tools/gpu/peers/torch_step.py" "${cases[@]}" --seconds 1.5 | tee "$raw/peers.jsonl"
}

# Small steps, launch by launch. racecheck looks at our kernels only: libraries have hazards of their own; and in fp32
# only: it breaks down over the library's 16-bit products on Hopper, whatever kernels it is told to look at.
stage_sanitizer() {
  local tool model found size recipes status=0 verdict log only types code seconds=$((SELENE_STAGE_SECONDS / 3))
  if tiny; then skip "on the host the ThreadSanitizer and AddressSanitizer builds of the shim do this"; fi
  found=$(find_program compute-sanitizer) || skip "no compute-sanitizer"
  shape 1 64 96 2 2
  for tool in memcheck racecheck; do
    for model in luna-4 transformer; do
      recipe $model
      verdict=clean log=$tool-$model.log only=() types=(fp32 "$(low)") code=0
      if [ $tool = racecheck ]; then only=(--kernel-regex kns=selene) types=(fp32); fi
      timeout -k 5 $seconds "$found" --tool $tool "${only[@]}" --error-exitcode 99 --print-limit 5 \
        "$(command -v selene-bench)" kernels "${recipes[@]}" --device "$SELENE_DEVICE_MODULE" --json \
        --length 40 "${size[@]}" --steps 1 --precision "${types[@]}" >"$log" 2>&1 || code=$?
      if grep -qi 'device not supported' "$log"; then skip "compute-sanitizer refuses this device"; fi
      case $code in
        0) ;;
        124 | 137) verdict="cut off after $seconds s" ;;
        *) verdict="exit status $code" status=1 ;;
      esac
      grep '^=' "$log" | tail -n 20 || true
      printf '{"tool": "%s", "model": "%s", "verdict": "%s"}\n' $tool $model "$verdict" |
        tee -a "$raw/sanitizer.jsonl"
    done
  done
  return $status
}

# The five kernels that take longest in one step of each model, and their counters. ncu must not find libraries of its
# own beside those that the module needs.
stage_counters() {
  local found name model size recipes status=0 step
  if tiny; then skip "the shim has no hardware counters"; fi
  found=$(find_program ncu) || skip "no ncu"
  shape 4 256 1024 4 32
  step=(env "LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}" "$(command -v selene-bench)" kernels)
  size+=(--device "$SELENE_DEVICE_MODULE" --json --length 4096 --steps 1 --precision "$(low)")
  profile() {
    outside timeout -k 5 $((SELENE_STAGE_SECONDS / 3)) "$found" --clock-control none --csv --page raw \
      --print-units base "$@" "${step[@]}" "${recipes[@]}" "${size[@]}" 2>ncu.log
  }
  for model in luna-16 transformer; do
    recipe $model
    if ! profile --metrics gpu__time_duration.sum,launch__grid_size,launch__block_size --launch-count 700 \
      >>"$raw/durations.csv"; then
      cat ncu.log
      tail -n 3 "$raw/durations.csv"
      if grep -q 'ERR_NVGPUCTRPERM' "$raw/durations.csv" ncu.log; then
        skip "this machine forbids hardware counters"
      fi
      return 1
    fi
  done
  for name in $(python3 "$root/tools/gpu/gpu_check.py" --slowest "$raw/durations.csv"); do
    for model in luna-16 transformer; do
      recipe $model
      profile --section SpeedOfLight --section ComputeWorkloadAnalysis --section MemoryWorkloadAnalysis \
        --section Occupancy --section LaunchStats -k "$name" --launch-count 2 >counters.csv ||
        { cat ncu.log; status=1; }
      if grep -q "$name" counters.csv; then break; fi  # the first model that has it
    done
    python3 "$root/tools/gpu/gpu_check.py" --counters counters.csv | tee -a "$raw/counters.jsonl"
  done
  return $status
}

# As long as time is left: ListOps from the quickstart recipe, then the accuracy on the test set.
stage_training() {
  local precision updates=6000 begin=$SECONDS seconds=$((SELENE_STAGE_SECONDS - 15)) accuracy words
  precision=$(low)
  listops
  if tiny; then updates=8; fi
  command_of training $updates --set train.log_every=100
  # The signal at the end of the time ends the run in good order, with a checkpoint.
  timeout -s TERM -k 10 $seconds "${words[@]}" >training.log 2>&1 || [ $? = 124 ] ||
    { cat training.log; return 1; }
  tail -n 4 training.log
  seconds=$((SECONDS - begin))
  accuracy=$(selene-evaluate training/checkpoints/last --device "$SELENE_DEVICE_MODULE" --json)
  printf '{"seconds": %d, "precision": "%s", "evaluation": %s}\n' $seconds "$precision" "$accuracy" |
    tee "$raw/training.jsonl"
}
