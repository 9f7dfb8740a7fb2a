#!/usr/bin/env bash
# Builds the functions and the local gateway, and runs the whole service on this machine. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
Usage: scripts/local.sh [--release] [--auth] [OPTION …]

Runs the whole service on this machine until Ctrl-C: the local gateway in the place of API Gateway and Lambda, the
function binaries, and a database engine in the gateway in the place of DynamoDB. No AWS account.
Chat from other terminals with scripts/chat.sh.

  --release  optimised, for load tests; takes twice as long to build
  --auth     verifies users by tokens: makes a key in .tools/local/, and prints how two users chat

All other options go to the gateway, for instance --port 3001, --data DIR to keep the tables, --var stage=dev.
All of them: scripts/local.sh --gateway-help
TEXT
}

need cargo "Install Rust: https://rustup.rs"
need cc "SQLite and the TLS library are compiled from C. Debian and Ubuntu: apt-get install build-essential; macOS: xcode-select --install."

# Unoptimised, because people wait for the first build. It is also the build that `cargo test --workspace` uses.
profile=dev
binaries=${CARGO_TARGET_DIR:-$root/target}/debug
port=3000
stage=prod
previous=
gateway_help=
auth=
options=()
for argument in "$@"; do
  case $previous in
  --port) port=$argument ;;
  --var) [ "${argument#stage=}" = "$argument" ] || stage=${argument#stage=} ;;
  esac
  previous=$argument
  case $argument in
  -h | --help)
    usage
    exit 0
    ;;
  --release)
    profile=release
    binaries=${CARGO_TARGET_DIR:-$root/target}/release
    continue
    ;;
  --auth)
    auth=yes
    continue
    ;;
  --gateway-help) gateway_help=yes ;;
  --port=*) port=${argument#--port=} ;;
  --var=stage=*) stage=${argument#--var=stage=} ;;
  esac
  options+=("$argument")
done

cd "$root"
echo "Building; the first time takes some minutes."
# A person sees cargo's progress; a log does not need it.
quiet=(--quiet)
[ ! -t 2 ] || quiet=(--color=auto)
# One build for all, the terminal client too. By --bin and not by -p: cargo then compiles the crates that they share
# once, with the features of the whole workspace, as for `cargo test --workspace`.
cargo build "${quiet[@]}" --locked --profile "$profile" --bin roomchat-functions --bin roomchat-local --bin roomchat ||
  die "The build failed; see above."
[ -z "$gateway_help" ] || exec "$binaries/roomchat-local" --help

# In full where chat.sh by itself would connect elsewhere: to another port, or to the deployed stack.
url=
[ "$port" = 3000 ] && [ "$stage" = prod ] && [ ! -e terraform/terraform.tfstate ] || url="CHAT_URL=ws://127.0.0.1:$port/$stage "
# Any free port: the gateway prints which one.
[ "$port" != 0 ] || url="CHAT_URL=ws://… "
hint="Chat from another terminal:  ${url}scripts/chat.sh lobby
Chat in a browser:           ${url}scripts/web.sh, then http://127.0.0.1:8080/"
if [ -n "$auth" ]; then
  # A key pair and not auth_secret: the gateway's arguments are visible to every user of the machine.
  keys=.tools/local/auth
  [ -e "$keys/jwks.json" ] || "$binaries/roomchat" token --new-key "$keys" >/dev/null
  jwks=$(tr -d ' \n' <"$keys/jwks.json")
  options+=(--var "auth={issuer=\"roomchat\",audience=[\"roomchat\"],jwks=\"${jwks//\"/\\\"}\"}")
  hint='Chat from other terminals, as two users:'
  for user in alice bob; do
    hint+=$(printf "\n  %sCHAT_TOKEN=\$(%s token --key-file %s --user %s) scripts/chat.sh lobby" \
      "$url" "${binaries#"$root"/}/roomchat" "$keys/key.pem" "$user")
  done
fi
exec "$binaries/roomchat-local" --terraform "$root/terraform" --functions "$binaries" --hint "$hint" \
  ${options[@]+"${options[@]}"}
