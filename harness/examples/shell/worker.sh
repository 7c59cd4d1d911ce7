#!/usr/bin/env bash
# Keeps one CLI for TURNS turns and replaces it then. stdin: the user's messages, one JSON line each; stdout: the results.
#
# With LEAK=1 the descriptor of the old CLI's stdin is overwritten and stays open: the CLI waits for ever. Without, it is
# closed, and the CLI waited for.
set -euo pipefail
turns=${TURNS:-5}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
done=$turns
cli=

start() {
  mkfifo "$folder/out"
  exec {input}> >(exec claude --input-format stream-json --output-format stream-json --verbose \
    --model haiku --tools "" --setting-sources "" >"$folder/out")
  cli=$!
  exec {output}<"$folder/out"
  rm "$folder/out"
  done=0
}

stop() {
  [ -n "$cli" ] || return 0
  exec {input}>&- {output}<&-
  wait "$cli" || true
  cli=
}

while IFS= read -r message; do
  if [ "$done" -ge "$turns" ]; then
    [ "${LEAK:-0}" = 1 ] || stop
    start
  fi
  done=$((done + 1))
  printf '%s\n' "$message" >&"$input"
  while IFS= read -r line <&"$output"; do
    case $line in *'"type":"result"'*)
      printf '%s\n' "$line"
      break
      ;;
    esac
  done
done
stop
