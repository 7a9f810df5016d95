#!/usr/bin/env bash
# From the project's root: fills .lease/ (about 50 MiB) with what a machine with a GPU needs that is lent for a quarter of an hour
# and reaches no network.
#   benchmarks/lease/prepare.sh cifar10|cifar100|none [DATA]
# Put other lines first into .lease/jobs.txt as they are wanted; an archive of a folder of images (NAME.tar.xz) that is put into
# .lease/ is unpacked there, and is DATA/NAME in these lines. WHEELS: packages that the machine lacks.
set -euo pipefail
what=${1:-cifar100}; data=${2:-${LONGTAIL_DATA:-data}}; here=benchmarks/lease
rm -rf .lease && mkdir -p .lease/project .lease/wheels
cp -r src tests benchmarks pyproject.toml README.md .lease/project/
cp $here/on_machine.sh .lease/
uv run python $here/missing.py --setting "$([ "$what" = cifar10 ] && echo cifar10_lt || echo cifar100_lt)" > .lease/jobs.txt
uv run python - <<'PYTHON' > .lease/commit
from longtail.runs.provenance import commit
print(commit())
PYTHON
python3 -m pip download -q --no-deps --only-binary=:all: -d .lease/wheels ${WHEELS:-beartype jaxtyping}
[ "$what" = none ] || uv run python $here/images.py pack "$what" "$data" ".lease/$what.packed"
echo "$what" > .lease/what; du -sh .lease
