#!/bin/bash
# Registers, shared memory and spills of every CUDA kernel, as ptxas reports them, as a Markdown table.
# Usage: tools/gpu/ptxas.sh [--nvcc NVCC] [--arch 80,90] [--jobs N] [--spills | --worst] [FILE.cu...]
#        tools/gpu/ptxas.sh --log FILE [--spills | --worst]    reads the output of a build made with -Xptxas -v
#   FILE.cu   default: every .cu file of kernels/cuda
#   --spills  only the kernels that spill; exit status 1 when there is one
#   --worst   a row for each kernel's source: the most registers, shared bytes and spilled bytes of its instances
# A host compiler that nvcc wants goes into NVCC_PREPEND_FLAGS, as in NVCC_PREPEND_FLAGS="-ccbin clang++-14".
# Example: tools/gpu/ptxas.sh --arch 80,90 kernels/cuda/rows/layer_norm.cu
set -euo pipefail
cd "$(dirname "$0")/../.."
nvcc=nvcc archs=75,80,90 jobs=1 log='' mode=all
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' tools/gpu/ptxas.sh; exit 0 ;;
    --spills | --worst) mode=${1#--}; shift; continue ;;
    --nvcc | --arch | --jobs | --log) [ $# -ge 2 ] || { echo "error: $1 wants a value" >&2; exit 2; } ;;
    -*) echo "error: unknown argument $1; tools/gpu/ptxas.sh --help" >&2; exit 2 ;;
    *) break ;;
  esac
  case $1 in --nvcc) nvcc=$2 ;; --arch) archs=$2 ;; --jobs) jobs=$2 ;; --log) log=$2 ;; esac
  shift 2
done
files=("$@")
[ $# -gt 0 ] || mapfile -t files < <(find kernels/cuda -name '*.cu' | sort)

# Only the device half is compiled, so no host compiler's version matters.
compile() {
  command -v "$nvcc" >/dev/null || { echo "error: no $nvcc; --nvcc names one" >&2; exit 1; }
  local arch file
  # shellcheck disable=SC2016  # for the inner shell
  for arch in ${archs//,/ }; do
    for file in "${files[@]}"; do printf '%s\0%s\0' "$arch" "$file"; done
  done | nvcc=$nvcc outputs=$work xargs -0 -n 2 -P "$jobs" bash -c '
    flags=(-std=c++17 --expt-relaxed-constexpr -O3 -I. -Xptxas -v -cubin "-arch=sm_$0")
    out=$("$nvcc" "${flags[@]}" "$1" -o /dev/null 2>&1) ||
      { printf "%s\nerror: %s does not compile for sm_%s\n" "$out" "$1" "$0" >&2; exit 255; }
    printf "%s\n" "$out" >"$outputs/$0-${1//\//-}"' || exit 1
  cat "$work"/*-*
}

# Kernels are told from others by their name and the element type in it; argument lists are left out.
# Writes lines "kernel|chip|registers|shared|stack|spilled".
kernels_in() {
  grep -aE 'ptxas info|spill stores' "$1" | c++filt | awk '
    /Compiling entry function/ {
      name = $0; sub(/.*entry function \x27/, "", name); chip = name
      sub(/\x27 for \x27.*/, "", name); sub(/.*\x27 for \x27/, "", chip); sub(/\x27.*/, "", chip)
      sub(/^void /, "", name); gsub(/selene::(cuda::)?/, "", name); gsub(/\(anonymous namespace\)::/, "", name)
      gsub(/\([a-z_ ]*\)/, "", name); sub(/\(.*/, "", name)
      spill = frame = 0
    }
    /spill stores/ { frame = $1; spill = $5 + $9 }
    /Used [0-9]+ registers/ {
      registers = shared = 0
      for (i = 2; i <= NF; ++i) {
        if ($i ~ /^registers/) registers = $(i - 1)
        if ($i ~ /^smem/) shared = $(i - 2)
      }
      print name "|" chip "|" registers "|" shared "|" frame "|" spill
    }' | sort -u
}

# Status 1 where only spills are asked for and there are some.
table() {
  printf '| kernel | chip | registers | shared bytes | stack bytes | spilled bytes |\n'
  printf '| --- | --- | ---: | ---: | ---: | ---: |\n'
  awk -F '|' -v only="$1" '
    $6 > 0 { ++spilling }
    !only || $6 > 0 { printf "| `%s` | %s | %d | %d | %d | %d |\n", $1, $2, $3, $4, $5, $6 }
    END { exit only && spilling > 0 }'
}

# Columns: the chips, each with registers / shared bytes / spilled bytes.
worst() {
  awk -F '|' '
    function most(a, b) { return a > b ? a : b }
    { name = $1; sub(/<.*/, "", name); at = name "|" $2 }
    !($2 in chips) { chips[$2] = ++columns; chip[columns] = $2 }
    !(name in rows) { rows[name] = ++count; kernel[count] = name }
    { registers[at] = most(registers[at], $3 + 0); shared[at] = most(shared[at], $4 + 0)
      spilled[at] = most(spilled[at], $6 + 0); ++instances[at] }
    END {
      printf "| kernel | instances"; for (c = 1; c <= columns; ++c) printf " | %s", chip[c]
      printf " |\n| --- | ---:"; for (c = 1; c <= columns; ++c) printf " | ---:"
      print " |"
      for (r = 1; r <= count; ++r) {
        printf "| `%s` | %d", kernel[r], instances[kernel[r] "|" chip[1]]
        for (c = 1; c <= columns; ++c) {
          at = kernel[r] "|" chip[c]; printf " | %d / %d / %d", registers[at], shared[at], spilled[at]
        }
        print " |"
      }
    }'
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -z "$log" ]; then log=$work/log; compile >"$log"; fi
kernels_in "$log" >"$work/kernels" || { echo "error: $log says nothing of kernels (-Xptxas -v)" >&2; exit 1; }
awk -F '|' '$6 > 0 { ++n } END { printf "%d kernels, %d with spills\n", NR, n }' "$work/kernels" >&2
case $mode in
  all) table 0 <"$work/kernels" ;;
  spills) table 1 <"$work/kernels" ;;
  worst) worst <"$work/kernels" ;;
esac
