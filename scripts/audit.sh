#!/usr/bin/env bash
# Checks the licences, sources, versions and known vulnerabilities of the dependencies. See --help.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
Usage: scripts/audit.sh [--offline]

Checks the Rust dependencies against deny.toml with cargo-deny: licences, sources, duplicates, and known vulnerabilities.
Install it with: cargo install --locked cargo-deny

  --offline  without the vulnerabilities, whose database is downloaded
TEXT
}

checks=(licenses sources bans advisories)
for argument in "$@"; do
  case $argument in
  -h | --help) usage && exit ;;
  --offline) checks=(licenses sources bans) ;;
  *) die "unknown argument $argument. See scripts/audit.sh --help." ;;
  esac
done

need cargo "Install Rust: https://rustup.rs"
need cargo-deny "Run: cargo install --locked cargo-deny"
cd "$root"
exec cargo deny --locked check "${checks[@]}"
