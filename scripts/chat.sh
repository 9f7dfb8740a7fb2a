#!/usr/bin/env bash
# Joins a room with wscat. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
Usage: scripts/chat.sh [--token TOKEN] [ROOM] [USER]

Joins ROOM (default: lobby) as USER (default: a guest name) and stays until Ctrl-C.
It connects to the first of these that exists:
  1. CHAT_URL, e.g. CHAT_URL=wss://abc.execute-api.eu-west-1.amazonaws.com/prod
  2. the stack deployed from terraform/ (its output websocket_url)
  3. the local gateway, ws://127.0.0.1:3000/prod, which scripts/local.sh starts

A name has 1 to 64 letters and digits of any script and -_.: in NFC.
Type {"action":"publish","data":"hi"} to send a message. PROTOCOL.md has every frame.

A service with verified users needs a token (a JWT), by --token or in the variable CHAT_TOKEN, and takes the user from
it: leave USER out. `roomchat token` issues tokens for a service whose key you have.

The terminal client takes plain text, reconnects and loses nothing:  cargo run --bin roomchat -- --room ROOM --user USER
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

token=${CHAT_TOKEN-}
names=()
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help)
    usage
    exit 0
    ;;
  --token)
    [ $# -ge 2 ] || die "--token is followed by a token; --help tells how to use it."
    token=$2
    shift
    ;;
  --token=*) token=${1#--token=} ;;
  -*) die "$1 is not an option; --help tells how to use it." ;;
  *) names+=("$1") ;;
  esac
  shift
done
[ ${#names[@]} -le 2 ] || die "There are at most two arguments, ROOM and USER; quote a name with spaces, or see --help."
room=${names[0]-lobby}
user=${names[1]-}

wscat=$(wscat_bin)
url=${CHAT_URL:-$(deployed_url)}
if [ -z "$url" ]; then
  url=$local_url
  (exec 3<>/dev/tcp/127.0.0.1/3000) 2>/dev/null ||
    die "Nothing listens on 127.0.0.1:3000. Start scripts/local.sh in another terminal, or set CHAT_URL."
fi

separator='?'
case $url in *\?*) separator='&' ;; esac
url="$url${separator}room=$(urlencode "$room")"
[ -z "$user" ] || url="$url&user=$(urlencode "$user")"
header=()
[ -z "$token" ] || header=(--header "Authorization: Bearer $token")

printf '%s\nSend a message with {"action":"publish","data":"hi"}, leave with Ctrl-C.\n' "$url"
status=0
"$wscat" ${header[@]+"${header[@]}"} --connect "$url" || status=$?
if [ "$status" -ne 0 ]; then
  cat >&2 <<'TEXT'
The connection was refused or lost.
After a 400: a name has 1 to 64 letters and digits of any script and -_.: in NFC, and USER must be the one of the token.
After a 401: the service needs a token; see --help. After a 403: the token is not accepted, or the stage in the URL does not exist.
TEXT
fi
exit "$status"
