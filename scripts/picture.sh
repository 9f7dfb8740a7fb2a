#!/usr/bin/env bash
# Makes the pictures of the example page in docs/. See --help.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
Usage: scripts/picture.sh [URL]

Makes docs/web-light.png, docs/web-dark.png and docs/web-phone.png from the real page, with a conversation of five people
on the service at URL; by default scripts/local.sh, ws://127.0.0.1:3000/prod.
TEXT
}

case ${1-} in
-h | --help) usage && exit ;;
-*) die "unknown argument $1. See scripts/picture.sh --help." ;;
esac

npm_modules "$root/clients/js"
cd "$root/clients/js"
npm run --silent build
npx tsc -p test
exec node scripts/picture.mjs "${1:-ws://127.0.0.1:3000/prod}"
