#!/usr/bin/env bash
# Runs all tests. See --help.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
Usage: scripts/test.sh [--no-terraform]

Runs formatting, lints, unit and end-to-end tests, tests of the repository, clients of other languages, and the tests of
the deployment. It installs packages from the registries into .tools/ and into node_modules/ beside each package-lock.json.

  --no-terraform   without the tests of the deployment, which need terraform and take about ten minutes
TEXT
}

terraform=yes
for argument in "$@"; do
  case $argument in
  -h | --help)
    usage
    exit 0
    ;;
  --no-terraform) terraform= ;;
  *) die "unknown argument $argument. See scripts/test.sh --help." ;;
  esac
done

need cargo "Install Rust: https://rustup.rs"
need cc "SQLite and the TLS library are compiled from C. Debian and Ubuntu: apt-get install build-essential; macOS: xcode-select --install."
need python3 "Install Python 3.10 or newer."
need node "Install Node.js 20 or newer: https://nodejs.org"
[ -z "$terraform" ] || need terraform "Install Terraform 1.9 or newer: https://developer.hashicorp.com/terraform/install, or leave out its tests with --no-terraform."

cd "$root"
step() {
  printf '\n=== %s\n' "$*"
}

step "Formatting"
cargo fmt --all --check

step "Lints"
cargo clippy --locked --workspace --all-targets -- -D warnings

step "Documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --workspace --no-deps --document-private-items

step "Unit and end-to-end tests"
cargo test --locked --workspace

step "The repository, and clients of other languages against scripts/local.sh"
wscat_bin >/dev/null
npm_modules "$root/local/examples/node"
python=$(venv test scripts/requirements/test.txt)/bin/python
markers=()
[ -n "$terraform" ] || markers=(-m "not terraform")
"$python" -B -m pytest -p no:cacheprovider -q ${markers[@]+"${markers[@]}"} tests/repository tests/clients local/tests/examples

step "The JavaScript client"
npm_modules "$root/clients/js"
npm --prefix clients/js test

if [ -n "$terraform" ]; then
  step "The deployment"
  scripts/terraform-test.sh
else
  step "The deployment: left out, because of --no-terraform"
fi

step "All passed"
