#!/usr/bin/env bash
# Joins a room with wscat. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
Usage: scripts/chat.sh [ROOM] [USER]

Joins ROOM (default: lobby) as USER (default: a guest name) and stays until Ctrl-C.
The first of these that is there is where it connects to:
  1. CHAT_URL, e.g. CHAT_URL=wss://abc.execute-api.eu-west-1.amazonaws.com/prod
  2. the stack deployed from terraform/ (its output websocket_url)
  3. the local gateway, ws://127.0.0.1:3000/prod, which scripts/local.sh starts

Names are 1 to 64 letters, digits and -_.: in any script, in NFC.
Type {"action":"publish","data":"hi"} to speak. PROTOCOL.md has every frame.

A client that takes plain text, reconnects and loses nothing:  cargo run -p roomchat -- --room ROOM --user USER
TEXT
}

local_url=ws://127.0.0.1:3000/prod

deployed_url() {
  command -v terraform >/dev/null 2>&1 || return 0
  # The state of the default workspace, of another one, or a remote one.
  [ -e "$root/terraform/terraform.tfstate" ] || [ -d "$root/terraform/terraform.tfstate.d" ] ||
    [ -e "$root/terraform/.terraform/terraform.tfstate" ] || return 0
  # Without outputs terraform prints a warning in their place.
  terraform -chdir="$root/terraform" output -no-color -raw websocket_url 2>/dev/null | grep -E '^wss?://[^ ]+$' || true
}

urlencode() {
  node -e 'process.stdout.write(encodeURIComponent(process.argv[1]))' -- "$1"
}

for argument in "$@"; do
  case $argument in
  -h | --help)
    usage
    exit 0
    ;;
  -*) die "$argument is no option; --help tells how to use it." ;;
  esac
done
[ $# -le 2 ] || die "There are at most two arguments, ROOM and USER; quote a name with spaces, or see --help."

wscat=$(wscat_bin)
url=${CHAT_URL:-$(deployed_url)}
if [ -z "$url" ]; then
  url=$local_url
  (exec 3<>/dev/tcp/127.0.0.1/3000) 2>/dev/null ||
    die "Nothing listens on 127.0.0.1:3000. Start scripts/local.sh in another terminal, or set CHAT_URL."
fi

separator='?'
case $url in *\?*) separator='&' ;; esac
url="$url${separator}room=$(urlencode "${1-lobby}")"
[ -z "${2-}" ] || url="$url&user=$(urlencode "$2")"

printf '%s\nSpeak with {"action":"publish","data":"hi"}, leave with Ctrl-C.\n' "$url"
status=0
"$wscat" --connect "$url" || status=$?
if [ "$status" -ne 0 ]; then
  printf '%s\n' "Could not stay connected. After a 400: names are 1 to 64 letters, digits and -_.: . After a 403: the URL's stage does not exist." >&2
fi
exit "$status"
