#!/bin/bash
# HDFS sessions: trains on the normal ones of the first half, judges the second half, beside the simple detectors.
# usage: benchmarks/hdfs.sh DATA [OUT]
#   DATA  a folder with hdfs_2pct.log.gz and hdfs_2pct.sessions.csv.gz (the LogLead sample of loghub's HDFS_v1)
#   OUT   where runs and bundles go (default: a temporary folder); runs that are there already are used
# SEEDS (default "0") and HEADS (default "regression codebook") choose what is trained.
set -euo pipefail
data=$1 out=${2:-$(mktemp -d)}
log=$data/hdfs_2pct.log.gz labels=$data/hdfs_2pct.sessions.csv.gz stream='blk_-?\d+'
export OMP_NUM_THREADS=1

mkdir -p "$out"
declare -A more=([regression]='' [codebook]='--set detector.patience=3 --set detector.improvement=0.001')
baselines=--baselines
for head in ${HEADS:-regression codebook}; do
  for seed in ${SEEDS:-0}; do
    run=$out/run-$head-$seed bundle=$out/$head-$seed
    # shellcheck disable=SC2086  # the options are words
    [ -e "$run/metrics.json" ] || oddline training fit "$log" --family two-stage --set detector.head="$head" ${more[$head]} \
      --seed "$seed" --stream "$stream" --labels "$labels" --until 0.5 --out "$run"
    oddline export onnx "$run" --out "$bundle" --overwrite
    oddline training evaluate "$bundle" "$log" --labels "$labels" --stream "$stream" --from 0.5 --scope session $baselines
    baselines=
  done
done
