#!/usr/bin/env bash
# Tests the deployment without an AWS account, from the format of the files to a conversation.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=terraform.sh
. "$root/scripts/terraform.sh"

usage() {
  cat <<'USAGE'
Usage: scripts/terraform-test.sh [--static]

Builds the functions and tests in this order: the package, format, validation, style, tests against a mocked provider,
checkov. Then in parallel: the life of a stack on the emulator moto, the deploying role without single rights, and a
conversation and each right on the emulator ministack. ministack runs the functions and needs Linux on x86_64.

  --static  without the emulators
USAGE
}

static=
for argument in "$@"; do
  case $argument in
    --static) static=yes ;;
    -h | --help) usage && exit ;;
    *) die "unknown argument $argument. See scripts/terraform-test.sh --help." ;;
  esac
done

started=$SECONDS
rung() { printf '\n==> %s (%s s)\n' "$1" "$((SECONDS - started))"; }

# Ends what hangs, where the command `timeout` exists. On macOS it comes with coreutils. It is generous: a machine under
# load may take ten times as long.
limit=(env)
if command -v timeout >/dev/null 2>&1; then limit=(timeout --foreground -k 30 3600); fi

emulated=()
scratch=$(mktemp -d)
clean_up() {
  # At SIGTERM pytest ends its emulator first.
  for process in ${emulated[@]+"${emulated[@]}"}; do kill "$process" 2>/dev/null && wait "$process" || true; done
  rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# The caller may be logged in to AWS and have settings of their own. No test may see them.
config=${TF_CLI_CONFIG_FILE:-}
for variable in "${!AWS_@}" "${!TF_@}"; do unset "$variable"; done
if [ -n "$config" ]; then export TF_CLI_CONFIG_FILE=$config; fi
terraform_ready
cd "$root"

rung "packages"
export QUICK=yes PACKAGES=$root/target/lambda-quick
scripts/build.sh --quick --out "$PACKAGES"
tests=$(venv test scripts/requirements/test.txt)
pytest=("${limit[@]}" "$tests/bin/python" -B -m pytest -p no:cacheprovider -q --tb=short)
"${pytest[@]}" terraform/tests/test_packages.py

# A copy of the configuration, beside the package: the checkout stays unchanged.
mkdir -p "$scratch/target"
cp -R terraform "$scratch/terraform"
rm -rf "$scratch"/terraform/.terraform "$scratch"/terraform/*.tfstate* "$scratch"/terraform/*.tfvars
cp -R "$PACKAGES" "$scratch/target/lambda"

rung "terraform fmt"
terraform -chdir=terraform fmt -check -recursive -diff -no-color

rung "terraform init and validate"
"${limit[@]}" terraform -chdir="$scratch/terraform" init -backend=false -lockfile=readonly -input=false -no-color >"$scratch/init" 2>&1 ||
  { cat "$scratch/init" && die "terraform init failed. Without network, name a provider mirror in ROOMCHAT_TF_MIRROR."; }
"${limit[@]}" terraform -chdir="$scratch/terraform" validate -no-color

rung "style and scripts"
"${pytest[@]}" terraform/tests/test_style.py terraform/tests/test_scripts.py

rung "terraform test"
"${limit[@]}" terraform -chdir="$scratch/terraform" test -no-color

rung "checkov"
checkov=$(venv checkov scripts/requirements/checkov.txt)
# Without the skips of its configuration: the findings must be exactly those that have a reason there.
rm "$scratch/terraform/.checkov.yaml"
"${limit[@]}" "$checkov/bin/checkov" --directory "$scratch/terraform" --skip-path examples --framework terraform --skip-download --compact \
  --output json --soft-fail >"$scratch/checkov.json"
"$checkov/bin/python" - terraform/.checkov.yaml "$scratch/checkov.json" <<'PYTHON'
import json
import re
import sys

reasons, report = (open(path).read() for path in sys.argv[1:])
expected = set(re.findall(r"^  - (CKV\w+)$", reasons, re.M))
results = json.loads(report)["results"]
# checkov leaves out a file that it cannot parse.
unread = results["parsing_errors"]
found = {(check["check_id"], check["resource"]) for check in results["failed_checks"]}
unexplained = sorted(one for one in found if one[0] not in expected)
stale = sorted(expected - {check for check, _ in found})
for file in unread:
    print(f"checkov cannot read {file}: write it more simply")
for check, resource in unexplained:
    print(f"{check} fails for {resource}: correct it, or give a reason in terraform/.checkov.yaml")
for check in stale:
    print(f"{check} fails nowhere: take it out of terraform/.checkov.yaml")
print(f"{len(found)} findings, each with a reason; {len(results['skipped_checks'])} skipped at its resource")
sys.exit(bool(unread or unexplained or stale))
PYTHON

if [ -n "$static" ]; then
  printf '\nThe emulators were left out, because of --static.\n'
  exit
fi

rung "in parallel: a stack's life on moto, the deploying role without single rights, and the stack at work on ministack"
MOTO_VENV=$(venv moto scripts/requirements/moto.txt)
MINISTACK_VENV=$(venv ministack scripts/requirements/ministack.txt)
WSCAT=$(wscat_bin)
export MOTO_VENV MINISTACK_VENV WSCAT
# These two wait most of the time: the provider pauses between its calls.
for suite in moto deployer; do
  "${pytest[@]}" -x --durations=3 "terraform/tests/emulators/test_$suite.py" >"$scratch/$suite" 2>&1 &
  emulated+=("$!")
done
"${pytest[@]}" --maxfail=3 --durations=3 terraform/tests/emulators/test_ministack.py &
emulated+=("$!")
failed=()
wait "${emulated[2]}" || failed+=(ministack)
wait "${emulated[0]}" || failed+=(moto)
wait "${emulated[1]}" || failed+=(deployer)
cat "$scratch/moto" "$scratch/deployer"
emulated=()
[ ${#failed[@]} = 0 ] || die "a test on an emulator (${failed[*]}) failed: see above."

printf '\nThe deployment passed all tests, in %s s.\n' "$((SECONDS - started))"
