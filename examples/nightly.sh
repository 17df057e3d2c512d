#!/usr/bin/env bash
# Compute the daily revenue from cron: one run at a time, one output folder per day, an exit code that cron can mail.
#
#   15 2 * * *  /opt/etl/examples/nightly.sh hdfs:///tpch/lineitem hdfs:///out/revenue
#
# Exit codes: the job's own (see `howdah submit --help`); 75 if the previous run has not ended.
# DATE=2026-11-20 repeats a day; an existing output folder is an error and is never overwritten.
set -euo pipefail

source=${1:?"usage: nightly.sh IN OUT_ROOT"}
root=${2:?"usage: nightly.sh IN OUT_ROOT"}
day=${DATE:-$(date +%F)}
here=$(cd "$(dirname "$0")" && pwd)

exec 9>"${LOCK:-${TMPDIR:-/tmp}/howdah-nightly-$(id -u).lock}"
if ! flock --nonblock 9; then
  echo "nightly: the previous run is still going on; nothing was started" >&2
  exit 75
fi

howdah env pack --name "${ENVIRONMENT:-etl}" >/dev/null      # uploads nothing when nothing has changed
# Only this shell holds the lock, not the processes that howdah starts (9>&-): it is released when the job has ended.
howdah submit --env "${ENVIRONMENT:-etl}" --name "nightly-$day" --tags "nightly,$day" \
  --workers "${WORKERS:-2}" --worker-memory "${WORKER_MEMORY:-1GiB}" --worker-cores 1 \
  "$here/daily_revenue.py" "$source" "$root/day=$day" 9>&-
