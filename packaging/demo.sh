#!/bin/bash
# The agent at work on a log that grows: `make run`. Takes the folder of its commands; ends by itself in half a minute.
set -euo pipefail
bin=$1
lines=1200 rate=60

work=$(mktemp -d)
log=$work/syslog scores=$work/scores.jsonl
generator='' agent=''
finish() {
  for pid in $generator $agent; do kill "$pid" 2>/dev/null || true; done
  wait
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

echo "A made-up host writes $lines lines of syslog, $rate a second; after two thirds of them a program begins to crash."
echo "The agent follows the file and prints what it finds odd; its model has never seen this host."
echo
touch "$log"
"$bin/agent" tail "$log" --from start --sink console: --scores "$scores" &
agent=$!
"$bin/training" synth "$log" --lines "$lines" --rate "$rate" --incident segfault --services cron,sshd >/dev/null &
generator=$!

wait "$generator"
generator=''
sleep 2 # the agent looks at the file at least once a second
code=0
kill "$agent" 2>/dev/null || true
wait "$agent" || code=$?
agent=''
[ "$code" = 0 ] || exit "$code"
count=$(wc -l <"$scores")
echo
echo "Every line has a score; that of the last one:"
tail -n 1 "$scores"
[ "$count" = "$lines" ] || { echo "error: $count of $lines lines were scored" >&2; exit 1; }
