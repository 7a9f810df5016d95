#!/usr/bin/env bash
# On the machine with the GPU, from the root to which .lease/ travelled: what a GPU can do, then runs that the fair table lacks.
#   OUT=FOLDER bash .lease/project/benchmarks/lease/on_machine.sh SECONDS
# JOBS: number of runs at once (8). A second call finds what is there and goes on. Files to keep are written below OUT.
set -u
lease=$PWD/.lease; seconds=${1:-540}; what=$(cat "$lease/what"); here=$lease/project/benchmarks/lease
exec > >(tee -a "$OUT/log") 2>&1
say() { echo "== [$SECONDS s] $*"; }
python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$HOME/site" "$lease"/wheels/*.whl
export PYTHONPATH=$HOME/site:$lease/project/src PYTHONUNBUFFERED=1 COLUMNS=160 TERM=dumb OMP_NUM_THREADS=1
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader; echo "commit $(cat "$lease/commit")"
cd "$lease/project"
if [ ! -d "$HOME/data" ]; then
  mkdir -p "$HOME/data"; [ "$what" = none ] || python3 "$here/images.py" restore "$what" "$lease/$what.packed" "$HOME/data"
  say tests; timeout 90 python3 -m pytest tests/engine/test_replay.py -q -p no:cacheprovider -W default 2>&1 | tail -3
  if [ "$what" = cifar10 ]; then
    say what the GPU can do
    timeout 330 python3 "$here/without_md5.py" benchmarks/gpu.py --root "$HOME/data" --seconds 280 | tee "$OUT/gpu.txt"
  fi
fi
say runs
python3 "$here/run_jobs.py" $(( seconds - SECONDS - 20 )) "${JOBS:-8}" "$lease/jobs.txt" \
  python3 "$here/without_md5.py" train --root "$HOME/data" --runs "$HOME/runs" --fast auto
say results
python3 -m longtail results "$HOME/runs" --output "$OUT/results.jsonl" 2>/dev/null \
  || python3 -c "from longtail.cli import main; main()" results "$HOME/runs" --output "$OUT/results.jsonl"
cd "$HOME/runs" && tar czf "$OUT/logs.tgz" $(ls -d */*/*/log.jsonl */*/*/record.json 2>/dev/null); ls -la "$OUT"
say end
