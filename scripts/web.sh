#!/usr/bin/env bash
# Serves the example page in examples/web. See --help.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
Usage: scripts/web.sh [--port N] [--no-open]
       scripts/web.sh --out FOLDER

Builds the JavaScript client, serves examples/web on this machine until Ctrl-C, and opens it in your browser. The page
connects to scripts/local.sh; set CHAT_URL to connect elsewhere: CHAT_URL=wss://… scripts/web.sh

  --port N      the port of the page; 8080
  --no-open     opens no browser
  --out FOLDER  writes the page into a folder and serves nothing: for `web` of terraform/, or another web server

A service that verifies users wants a token: type it on the page, or append #token=… to the address.
TEXT
}

port=8080
open=yes
out=
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help) usage && exit ;;
  --port)
    port=${2:?--port needs a number}
    shift
    ;;
  --port=*) port=${1#--port=} ;;
  --no-open) open= ;;
  --out)
    out=${2:?--out needs a folder}
    shift
    ;;
  --out=*) out=${1#--out=} ;;
  *) die "unknown argument $1. See scripts/web.sh --help." ;;
  esac
  shift
done

npm_modules "$root/clients/js"
npm --prefix "$root/clients/js" run --silent build || die "The JavaScript client could not be built; see above."

if [ -n "$out" ]; then
  mkdir -p "$out"
  cp "$root"/examples/web/* "$root/clients/js/dist/roomchat.js" "$out"
  printf 'The page is in %s\n' "$out"
  exit
fi

address=http://127.0.0.1:$port/
[ -z "${CHAT_URL:-}" ] || address+="?url=$CHAT_URL"
printf '%s\nCtrl-C stops.\n' "$address"
if [ -n "$open" ] && [ -t 1 ]; then
  for opener in xdg-open open; do
    if command -v "$opener" >/dev/null 2>&1; then
      (sleep 1 && "$opener" "$address" >/dev/null 2>&1) &
      break
    fi
  done
fi
exec node "$root/clients/js/scripts/serve.mjs" "$port"
