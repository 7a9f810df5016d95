#!/usr/bin/env bash
# On the machine with the GPU, from the root to which .lease/ travelled: what a GPU can do, then runs that the fair table lacks.
#   OUT=FOLDER bash .lease/on_machine.sh SECONDS [TOTAL]
# The first call sets all up and starts the runs, which end TOTAL seconds later, when SECONDS are up if that is not given. Every call
# returns after SECONDS, or when the runs have ended, and writes what they have come to below OUT; between two calls they run on.
# JOBS: number of lines of jobs.txt at once (8). PYTHON: the interpreter.
set -u
seconds=${1:-540}; total=${2:-$seconds}; work=$HOME/lease; here=$work/project/benchmarks/lease; python=${PYTHON:-python3}
exec > >(tee -a "$OUT/log") 2>&1
say() { echo "== [$SECONDS s] $*"; }
export PYTHONPATH=$work/site:$work/project/src PYTHONUNBUFFERED=1 COLUMNS=160 TERM=dumb OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
longtail="$python $here/without_md5.py"
if [ ! -d "$work" ]; then
  cp -r .lease "$work"; mkdir -p "$work/data"; what=$(cat "$work/what")
  $python -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$work/site" "$work"/wheels/*.whl
  nvidia-smi --query-gpu=name,driver_version --format=csv,noheader; echo "commit $(cat "$work/commit")"
  [ "$what" = none ] || $python "$here/images.py" restore "$what" "$work/$what.packed" "$work/data"
  for archive in "$work"/*.tar.xz; do [ -e "$archive" ] && tar xJf "$archive" -C "$work/data"; done
  cd "$work/project"
  if [ "$what" = cifar10 ]; then
    say what the GPU can do
    timeout 330 $longtail benchmarks/gpu.py --root "$work/data" --seconds 280 | tee "$OUT/gpu.txt"
  fi
  say runs
  sed -i "s#DATA/#$work/data/#g" "$work/jobs.txt"
  setsid nohup $python "$here/run_jobs.py" $(( total - SECONDS - 20 )) "${JOBS:-8}" "$work/jobs.txt" \
    $longtail train --root "$work/data" --runs "$work/runs" --fast auto --no-report > "$work/queue" 2>&1 < /dev/null &
  say tests
  timeout 90 $python -m pytest tests/engine/test_replay.py tests/data/test_autoaugment.py -k cuda -q -p no:cacheprovider -W default | tail -3
fi
while [ $SECONDS -lt $(( seconds - 20 )) ] && pgrep -f "$here/run_jobs.py" > /dev/null; do sleep 1; done
say queue; cat "$work/queue"
say results
$longtail results "$work/runs" --output "$OUT/results.jsonl"
cd "$work/runs" && tar czf "$OUT/logs.tgz" $(ls -d */*/*/log.jsonl */*/*/record.json */*/*/answers.json 2>/dev/null); ls -la "$OUT"
say end
