#!/usr/bin/env bash
# Pins the Python packages that the scripts install. See --help.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
Usage: scripts/lock.sh

Run it after a change of a scripts/requirements/*.in. It writes the .txt beside each: the package and all that it depends
on, in fixed versions with hashes. pip installs nothing that has another hash.
TEXT
}

for argument in "$@"; do
  case $argument in
  -h | --help) usage && exit ;;
  *) die "unknown argument $argument. See scripts/lock.sh --help." ;;
  esac
done

cd "$root"
uv=$(venv lock scripts/requirements/lock.txt)/bin/uv
for file in scripts/requirements/*.in; do
  # The packages for a deployment must run on older systems than those for the tests.
  python=3.10
  [ "$file" != scripts/requirements/build.in ] || python=3.9
  "$uv" pip compile --quiet --universal --generate-hashes --no-annotate --custom-compile-command scripts/lock.sh \
    --python-version "$python" "$file" --output-file "${file%.in}.txt" || die "uv could not resolve $file; see above."
done
