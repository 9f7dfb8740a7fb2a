#!/usr/bin/env bash
# Builds the functions and the local gateway, and runs the whole service on this machine. See --help.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
Usage: scripts/local.sh [OPTION …]

Runs the whole service on this machine until Ctrl-C: API Gateway's part by the local gateway, Lambda's by the function
binaries, DynamoDB's by an engine in the gateway. No AWS account. Chat from other terminals with scripts/chat.sh.

Options go to the gateway, for instance --port 3001, --data DIR to keep the tables, --var stage=dev.
All of them: scripts/local.sh --gateway-help
TEXT
}

need cargo "Install Rust: https://rustup.rs"
need cc "SQLite and the TLS library are compiled from C. Debian and Ubuntu: apt-get install build-essential; macOS: xcode-select --install."

target=${CARGO_TARGET_DIR:-$root/target}
port=3000
stage=prod
previous=
gateway_help=
for argument in "$@"; do
  case $previous in
  --port) port=$argument ;;
  --var) [ "${argument#stage=}" = "$argument" ] || stage=${argument#stage=} ;;
  esac
  case $argument in
  -h | --help)
    usage
    exit 0
    ;;
  --gateway-help) gateway_help=yes ;;
  --port=*) port=${argument#--port=} ;;
  --var=stage=*) stage=${argument#--var=stage=} ;;
  esac
  previous=$argument
done

cd "$root"
echo "Building; the first time takes some minutes."
# A person sees cargo's progress; a log does not need it.
quiet=(--quiet)
[ ! -t 2 ] || quiet=(--color=auto)
# The functions by themselves: built together with the gateway they would get its dependencies' features.
packages=()
for function in $(functions); do packages+=(-p "$function"); done
cargo build "${quiet[@]}" --release --locked "${packages[@]}" || die "The functions do not compile; see above."
cargo build "${quiet[@]}" --release --locked -p roomchat-local || die "The gateway does not compile; see above."
[ -z "$gateway_help" ] || exec "$target/release/roomchat-local" --help

chat=scripts/chat.sh
# Said in full where chat.sh by itself would go elsewhere: to another port, or to the stack that is deployed.
[ "$port" = 3000 ] && [ "$stage" = prod ] && [ ! -e terraform/terraform.tfstate ] || chat="CHAT_URL=ws://127.0.0.1:$port/$stage $chat"
# Any free port: which one, the gateway says below.
[ "$port" != 0 ] || chat="CHAT_URL=ws://… $chat"
printf 'Once it is ready, chat from another terminal:  %s lobby\n\n' "$chat"
exec "$target/release/roomchat-local" --terraform "$root/terraform" --functions "$target/release" "$@"
