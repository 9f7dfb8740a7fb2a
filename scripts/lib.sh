# Sourced by the other scripts: strict mode, the folders, errors of one sentence.
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# The scripts download into this folder (git ignores it): `rm -rf .tools` starts afresh.
# shellcheck disable=SC2034
tools=$root/.tools

# die SENTENCE: prints the error and its remedy, and ends with exit code 2.
die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 2
}

# need COMMAND SENTENCE: ends with an error if COMMAND is not installed. The sentence says how to install it.
need() {
  command -v "$1" >/dev/null 2>&1 || die "$1 is not installed. $2"
}

# venv NAME REQUIREMENTS: makes the venv .tools/NAME with the packages that the requirements file pins, and prints its
# path. It makes the venv again only after the file has changed.
venv() {
  local dir=$tools/$1 requirements=$2 stamp=$tools/$1/requirements.stamp
  if ! cmp -s "$requirements" "$stamp"; then
    need python3 "Install Python 3.9 or newer."
    rm -rf "$dir"
    python3 -m venv "$dir" >&2 || die "python3 cannot make a venv. On Debian and Ubuntu: apt-get install python3-venv."
    "$dir/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$requirements" >&2 ||
      die "pip could not install the packages of $requirements. Is the package index reachable?"
    cp "$requirements" "$stamp"
  fi
  printf '%s\n' "$dir"
}

# npm_modules FOLDER: installs the packages of FOLDER/package-lock.json into FOLDER/node_modules. No package may run a
# script of its own.
npm_modules() {
  local modules=$1/node_modules pins=$1/package-lock.json
  need node "Install Node.js 18 or newer: https://nodejs.org"
  if ! cmp -s "$pins" "$modules/.pins"; then
    need npm "It comes with Node.js: https://nodejs.org"
    # Two terminals may run this at the same time: the second waits for the first.
    local lock=$tools/npm.lock waited=0
    mkdir -p "$tools"
    until mkdir "$lock" 2>/dev/null; do
      waited=$((waited + 1))
      [ "$waited" -le 120 ] || die "Another install by npm has not ended after two minutes. If there is none, remove $lock."
      sleep 1
    done
    # Expanded now: the trap outlives this function's variables.
    # shellcheck disable=SC2064
    trap "rmdir '$lock'" EXIT
    if ! cmp -s "$pins" "$modules/.pins"; then
      npm ci --prefix "$1" --silent --no-fund --no-audit --ignore-scripts >&2 ||
        die "npm could not install the packages of $pins. Is the npm registry reachable?"
      cp "$pins" "$modules/.pins"
    fi
    rmdir "$lock"
    trap - EXIT
  fi
}

# wscat_bin: installs the wscat of scripts/package-lock.json if it is not there, and prints its path.
wscat_bin() {
  npm_modules "$root/scripts"
  printf '%s\n' "$root/scripts/node_modules/.bin/wscat"
}
