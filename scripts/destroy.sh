#!/usr/bin/env bash
# Destroys everything that scripts/deploy.sh made, messages included.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=terraform.sh
. "$root/scripts/terraform.sh"

usage() {
  cat <<'USAGE'
Usage: scripts/destroy.sh [ARGUMENT OF terraform destroy...]

Shows what would be deleted in your AWS account, tables and messages included, and deletes it after you have typed "yes".
Pass the same arguments as to scripts/deploy.sh, without --arch. AWS_REGION must be the same too.
USAGE
}

case ${1:-} in -h | --help) usage && exit ;; esac

terraform_ready
aws_credentials_ready
aws_region_ready
terraform_init "$@"
terraform -chdir="$root/terraform" destroy ${rest[@]+"${rest[@]}"} ||
  die "terraform destroy failed: see above. If a table is protected, deploy with -var deletion_protection=false first."
