# shellcheck shell=bash
# The stages of tools/gpu_check.sh, a function each. A stage prints what a person reads in its log, writes numbers as
# JSON lines into $raw, exits 0 (done), 77 (skipped, the last line says why) or otherwise (failed).
# From the caller: root, raw, work, device (cuda or simt), SELENE_DEVICE_MODULE, SELENE_STAGE_SECONDS.

run_stage() {
  cd "${work:?}" || exit
  : "${root:?}" "${raw:?}" "${device:?}" "${SELENE_STAGE_SECONDS:?}" "${plain_library_path?}"
  PATH=$work/bin:$PATH; "stage_$1"
}
skip() { echo "skip: $*"; exit 77; }
tiny() { [ "$device" = simt ]; }
# least CAPABILITY: whether the GPU has at least this compute capability, 80 for 8.0. The shim stands for 8.0.
least() { tiny || [ "$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)" -ge "$1" ]; }
low() { if least 80; then echo bf16; else echo fp16; fi; }
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

stage_machine() {
  local query=name,driver_version,compute_cap,memory.total,memory.used,utilization.gpu,clocks.max.sm,clocks.max.mem
  echo "date: $(date -u +%Y-%m-%dT%H:%M:%SZ)"
  echo "commit: $(cat "$root/COMMIT" 2>/dev/null || git -C "$root" describe --always --dirty 2>/dev/null || echo '?')"
  echo "system: $(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release), kernel $(uname -r)"
  echo "processor: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) threads"
  echo "load: $(cut -d' ' -f1-3 /proc/loadavg)"
  if tiny; then echo "gpu: none, the shim on the host"
  elif command -v nvidia-smi >/dev/null; then
    echo "gpu: $(nvidia-smi "--query-gpu=$query" --format=csv,noheader | head -n 1)"
    echo "gpu columns: $query"
    echo "gpu processes: $(nvidia-smi --query-compute-apps=pid --format=csv,noheader | wc -l)"
  else echo "gpu: nvidia-smi is missing"; fi
  if command -v nvcc >/dev/null; then echo "nvcc: $(nvcc --version | sed -n 's/.*release //p')"; fi
  echo "libraries:$(ldd "$(realpath "$SELENE_DEVICE_MODULE")" |
    awk '/cuda|cublas|cudnn|nccl|not found/ {printf " %s", $3 == "not" ? $1 " (not found)" : $3}')"
}

stage_parity() {
  [ -x bin/unit_device ] || skip "the program unit_device was not built"
  bin/unit_device
}

stage_golden() {
  [ -x bin/golden ] || skip "the program golden was not built"
  local filter=()
  if tiny; then filter=(ops_); fi
  SELENE_GOLDEN_DIR=$root/tests/golden golden "${filter[@]}"
}

# The data that graphs and training use: short ListOps, made once.
listops() {
  local train=36000 other=2000 longest=64
  if tiny; then train=400 other=40 longest=16; fi
  [ -e "$work/listops/complete" ] && return
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
    small=(--set model.layers=1 --set model.dim=16 --set model.heads=2 --set model.ffn_dim=16 --set model.head_dim=16
      --set model.projection_length=4 --set data.max_length=18 --set train.batch_size=4)
  fi
  words=(selene-train "$root/recipes/quickstart.yaml" --device cuda --out "$run" --set "data.path=$work/listops"
    --set "train.updates=$updates" --set train.log_every=1 --set "train.validate_every=$updates"
    --set "train.checkpoint_every=$((updates / 4))" --set "train.precision=$precision" "${small[@]}" "$@")
}
train() { command_of "$@"; "${words[@]}" 2>&1; }

# same NAME A B FILE: one line for people, one for the results.
same() {
  local verdict=different
  if python3 "$root/tools/gpu_check.py" --same "$2/checkpoints/$4" "$3/checkpoints/$4"; then verdict=equal; fi
  printf '{"what": "%s", "precision": "%s", "verdict": "%s"}\n' "$1" "$precision" "$verdict" | tee -a "$raw/graphs.jsonl"
  [ $verdict = equal ]
}

# Graphs against eager, a run against itself, a killed run against one that was not: every tensor, every bit.
stage_graphs() {
  local precision updates=400 status=0 last
  listops
  if tiny; then updates=8; fi
  last=$(printf 'update-%08d.safetensors' $updates)
  for precision in fp32 "$(low)"; do
    local run=graphs-$precision
    train "$run" $updates | tail -n 3
    train "$run-again" $updates | tail -n 1
    same "two runs" "$run" "$run-again" "$last" || status=1
    train "$run-eager" $updates --no-graph | tail -n 1
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
  if [ -e "$run-killed/checkpoints/$last" ]; then echo "the run had ended before it was killed"; return 1; fi
  ls "$run-killed/checkpoints"
  train "$run-killed" "$updates" | grep -E 'resumed|finished' || true
  same "killed and resumed" "$run" "$run-killed" "$last"
}

stage_ceilings() {
  local size=()
  if tiny; then size=(--tiny); fi
  selene-bench ceilings --device cuda --json "${size[@]}" | tee "$raw/ceilings.jsonl"
}

# bench FILE MODELS LENGTHS PRECISIONS BATCH LAYERS DIM FFN HEADS STEPS [ARGUMENT...]
bench() {
  local file=$1 models=$2 lengths=$3 precisions=$4 batch=$5 layers=$6 dim=$7 ffn=$8 heads=$9 steps=${10}
  shift 10
  # shellcheck disable=SC2086  # lists on purpose
  selene-bench step --device cuda --json --model $models --length $lengths --precision $precisions --batch $batch \
    --layers $layers --dim $dim --ffn $ffn --heads $heads --steps $steps "$@" | tee -a "$raw/$file.jsonl"
}

stage_steps() {
  local status=0 type
  type=$(low)
  if tiny; then
    bench steps "luna-4 transformer" 24 "fp32 fp16 bf16" 2 1 32 32 2 2
    return
  fi
  # LRA Text; the most wanted first, in case the time runs out.
  bench steps "luna-16 transformer" "4096 2048 1024" "$type" 32 4 256 1024 4 30 || status=1
  bench steps "luna-128 luna-256" "1024 2048 4096" "$type" 32 4 256 1024 4 30 || status=1
  bench steps luna-16 1048576 "$type" 1 4 64 256 4 10 || status=1
  bench steps "luna-16 transformer" 1024 "$type" 8 6 512 2048 8 30 || status=1
  if least 80; then bench steps "luna-16 transformer" 4096 fp16 32 4 256 1024 4 20 || status=1; fi
  bench steps "luna-16 transformer" 4096 fp32 32 4 256 1024 4 10 || status=1
  # What a captured step saves.
  bench steps "luna-16 transformer" "1024 4096" "$type" 32 4 256 1024 4 20 --no-graph || status=1
  return $status
}

stage_kernels() {
  local size=(--length 4096 --batch 32 --precision "$(low)")
  if tiny; then size=(--length 24 --batch 2 --layers 1 --dim 32 --ffn 32 --heads 2 --steps 1); fi
  selene-bench kernels --device cuda --json --model luna-16 transformer "${size[@]}" | tee "$raw/kernels.jsonl"
}

stage_attention() {
  local status=0 type size=()
  type=$(low)
  if tiny; then size=(--tiny); fi
  selene-bench attention --device cuda --json "${size[@]}" | tee "$raw/attention.jsonl" || status=1
  if torch; then
    outside python3 "$root/tools/peers/torch_attention.py" --case "32:4:4096:4096:64:$type" \
      --case "8:8:1024:1024:64:$type" --case "32:4:16:4096:64:$type" --case "32:4:4096:16:64:$type" |
      tee "$raw/torch_attention.jsonl" || status=1
  fi
  return $status
}

# torch: whether python3 has PyTorch with a GPU; says why not.
torch() {
  if tiny; then echo "no PyTorch beside the shim"; return 1; fi
  outside python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>torch.log ||
    { echo "no PyTorch with CUDA: $(tail -n 1 torch.log)"; return 1; }
}

stage_peers() {
  local type case cases=()
  if tiny; then skip "the peers need a GPU"; fi
  torch || skip "python3 has no PyTorch with CUDA"
  type=$(low)
  # Compiling costs 20 s and more a case: the one that the target is about comes first.
  for case in luna-16:4096:32:4:256:1024:4 transformer:4096:32:4:256:1024:4 luna-16:1024:32:4:256:1024:4 \
    transformer:1024:32:4:256:1024:4 transformer:1024:8:6:512:2048:8 luna-16:1024:8:6:512:2048:8 \
    luna-256:4096:32:4:256:1024:4 luna-128:4096:32:4:256:1024:4 luna-16:1048576:1:4:64:256:4; do
    cases+=(--case "$case:$type")
  done
  # Whatever is cut off by the time limit of the stage has its lines so far in the results.
  outside python3 "$root/tools/peers/torch_step.py" "${cases[@]}" --seconds 1.5 | tee "$raw/peers.jsonl"
}

stage_sanitizer() {
  local tool status=0 model found
  if tiny; then skip "on the host the ThreadSanitizer and AddressSanitizer builds of the shim do this"; fi
  found=$(find_program compute-sanitizer) || skip "no compute-sanitizer"
  for tool in memcheck racecheck; do
    for model in luna-4 transformer; do
      local verdict=clean log=$tool-$model.log
      timeout -k 5 $((SELENE_STAGE_SECONDS / 4)) "$found" --tool $tool --error-exitcode 99 --print-limit 5 \
        bin/selene-bench step --device cuda --no-graph --json --model $model --length 40 --batch 2 --layers 1 \
        --dim 64 --ffn 96 --heads 2 --steps 1 --precision fp32 "$(low)" >"$log" 2>&1 || verdict="exit status $?"
      tail -n 12 "$log"
      grep -q 'Device not supported\|not supported on this' "$log" && skip "compute-sanitizer refuses this device"
      printf '{"tool": "%s", "model": "%s", "verdict": "%s"}\n' $tool $model "$verdict" | tee -a "$raw/sanitizer.jsonl"
      [ "$verdict" = clean ] || status=1
    done
  done
  return $status
}

# The five kernels that take longest in one step of each model, and their counters.
stage_counters() {
  local found name status=0 metrics
  if tiny; then skip "the shim has no hardware counters"; fi
  found=$(find_program ncu) || skip "no ncu"
  local step=(bin/selene-bench step --device cuda --no-graph --json --model luna-16 transformer --length 4096 --batch 32
    --steps 1 --precision "$(low)")
  metrics=gpu__time_duration.sum,dram__bytes.sum,dram__throughput.avg.pct_of_peak_sustained_elapsed
  metrics=$metrics,sm__throughput.avg.pct_of_peak_sustained_elapsed,sm__warps_active.avg.pct_of_peak_sustained_active
  metrics=$metrics,sm__inst_executed_pipe_tensor.sum,launch__registers_per_thread,launch__grid_size
  timeout -k 5 $((SELENE_STAGE_SECONDS / 2)) "$found" --clock-control none --csv --page raw --print-units base \
    --metrics gpu__time_duration.sum --launch-count 1500 "${step[@]}" >durations.csv 2>ncu.log ||
    { tail -n 3 durations.csv ncu.log; grep -q 'ERR_NVGPUCTRPERM' durations.csv ncu.log && skip "counters need permission";
      return 1; }
  for name in $(python3 "$root/tools/gpu_check.py" --slowest durations.csv); do
    "$found" --clock-control none --csv --page raw --print-units base --metrics $metrics -k "$name" --launch-count 2 \
      "${step[@]}" >"counters-$name.csv" 2>>ncu.log || status=1
    python3 "$root/tools/gpu_check.py" --counters "counters-$name.csv" | tee -a "$raw/counters.jsonl"
  done
  return $status
}

# As long as time is left: ListOps from the quickstart recipe, then the accuracy on the test set.
stage_training() {
  local precision updates=6000 begin=$SECONDS seconds=$((SELENE_STAGE_SECONDS - 15)) accuracy
  precision=$(low)
  listops
  if tiny; then updates=8; fi
  command_of training $updates --set train.log_every=100
  # The signal ends the run in good order, with a checkpoint.
  timeout -s TERM -k 10 $seconds "${words[@]}" >training.log 2>&1 || true
  tail -n 4 training.log
  seconds=$((SECONDS - begin))
  accuracy=$(selene-evaluate training/checkpoints/last --device cuda --json)
  printf '{"seconds": %d, "precision": "%s", "evaluation": %s}\n' $seconds "$precision" "$accuracy" |
    tee "$raw/training.jsonl"
}
