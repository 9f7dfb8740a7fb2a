#!/usr/bin/env bash
# Builds everything and measures it beside what people use today. See --help.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
Usage: scripts/bench.sh --url wss://… [--members N] [--rate N] [--seconds N] [--max-usd USD] [--yes]
                        [--token-file FILE | --token-command COMMAND]
       scripts/bench.sh [--quick] [--only SECTIONS] [--json FILE] [--svg FILE] [--release]

Measures on this machine and prints one table; the figures go into .tools/bench/bench.json, the plot into
.tools/bench/bench.svg. Under ten minutes, building not counted. Linux only. Keep the machine quiet meanwhile.

With --url it puts a load on a stage that is deployed, prints an estimate of the cost, asks, and ends at the ceiling
--max-usd. "scripts/bench.sh --url wss://… --help" describes its options.

  --quick    fewer and shorter measurements: under two minutes
  --only     these sections alone, separated by commas:
               service     the service on this machine: connections, round trip, deliveries, memory
               fan-out     a publish with 10 ms a post, beside a bare loop over the SDK's post
               cold-start  cold start of every function, and sizes
               costs       what each action costs
               peers       the load of service against serverless-offline, and against handlers as people write them first
               memory      memory settings of publish and what a million deliveries costs with each
               busy        rooms of up to 5,000 with many messages, under AWS's quota of requests; parallel writers of one log
  --json     another file for the figures
  --svg      another file for the plot
  --scale    writes docs/scale.md and docs/scale.svg instead: cost and quotas by the size of a room and of a service
  --release  functions without link-time optimisation, which are built in a fraction of the time
TEXT
}

profile=deploy
only=service,fan-out,cold-start,costs,peers,memory,busy
arguments=()
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help) usage && exit ;;
  --quick) arguments+=(--quick) && shift ;;
  --release) profile=release && shift ;;
  --url)
    need cargo "Install Rust: https://rustup.rs"
    cd "$root"
    cargo build --quiet --release --locked -p roomchat-bench || die "The bench does not compile; see above."
    exec "${CARGO_TARGET_DIR:-$root/target}/release/roomchat-bench" stage "$@"
    ;;
  --scale)
    [ $# -eq 1 ] || die "--scale stands alone."
    need cargo "Install Rust: https://rustup.rs"
    cd "$root"
    cargo run --quiet --locked -p roomchat-bench -- scale >docs/scale.md.new || die "The model has no page; see above."
    cargo run --quiet --locked -p roomchat-bench -- scale --plot >docs/scale.svg.new || die "The model has no plot; see above."
    mv docs/scale.md.new docs/scale.md
    mv docs/scale.svg.new docs/scale.svg
    exit
    ;;
  --only | --json | --svg)
    [ $# -ge 2 ] || die "$1 needs a value. See scripts/bench.sh --help."
    [ "$1" != --only ] || only=$2
    arguments+=("$1" "$2") && shift 2
    ;;
  *) die "unknown argument $1. See scripts/bench.sh --help." ;;
  esac
done

[ "$(uname)" = Linux ] || die "the bench runs on Linux only: it reads its figures from /proc."
need cargo "Install Rust: https://rustup.rs"
need cc "SQLite and the TLS library are compiled from C. Debian and Ubuntu: apt-get install build-essential."
target=${CARGO_TARGET_DIR:-$root/target}

cd "$root"
mkdir -p "$tools/bench"
echo "Building; the first time takes some minutes."
# Each kind alone: built together, the functions would get the gateway's features of the crates that they share.
cargo build --quiet --locked --profile "$profile" -p roomchat-functions -p bench-functions ||
  die "The functions do not compile; see above."
cargo build --quiet --release --locked -p roomchat-local -p roomchat-bench ||
  die "The gateway or the bench does not compile; see above."

case $only in
*peers*)
  need node "Install Node.js 18.20 or newer: https://nodejs.org, or leave the section peers out with --only."
  need npm "It comes with Node.js: https://nodejs.org"
  peers=$root/bench/peers
  if ! cmp -s "$peers/package-lock.json" "$peers/node_modules/.pins"; then
    npm ci --prefix "$peers" --silent --no-fund --no-audit --ignore-scripts >&2 ||
      die "npm could not install the peer. Is the npm registry reachable?"
    cp "$peers/package-lock.json" "$peers/node_modules/.pins"
  fi
  ;;
esac

exec "$target/release/roomchat-bench" ${arguments[@]+"${arguments[@]}"} \
  --functions "$target/$profile" --gateway "$target/release/roomchat-local"
