#!/usr/bin/env bash
# Builds the functions and deploys them with everything they need.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=terraform.sh
. "$root/scripts/terraform.sh"

usage() {
  cat <<'USAGE'
Usage: scripts/deploy.sh [--arch x86_64|arm64] [ARGUMENT OF terraform apply...]

Builds the functions, shows what would change in your AWS account, and changes it once you have said yes.
It uses the AWS credentials that the aws command would use.

  --arch  the functions' processor (default x86_64)

Everything else goes to `terraform apply`:

  scripts/deploy.sh -var stage=dev       another setting: terraform/variables.tf lists them
  scripts/deploy.sh -var-file=dev.tfvars settings from the file terraform/dev.tfvars
  scripts/deploy.sh -auto-approve        without the question

docs/deploy.md tells more.
USAGE
}

arch=x86_64
arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --arch)
      [ $# -ge 2 ] || die "--arch wants x86_64 or arm64."
      # Not said when it is not asked for: a tfvars file may say it, and then Terraform tells what does not fit.
      arch=$2 arguments+=(-var "architecture=$2") && shift 2
      ;;
    -h | --help) usage && exit ;;
    *) arguments+=("$1") && shift ;;
  esac
done
case $arch in x86_64 | arm64) ;; *) die "--arch wants x86_64 or arm64, not \"$arch\"." ;; esac

# All that can be missing is looked for before minutes go into a build.
terraform_ready
aws_credentials_ready
"$root/scripts/build.sh" --arch "$arch"
terraform -chdir="$root/terraform" init -input=false >&2 || die "terraform init failed: see above."
terraform -chdir="$root/terraform" apply ${arguments[@]+"${arguments[@]}"} ||
  die "terraform apply failed: see above. What it had made stays; run this again when the cause is gone."

url=$(terraform -chdir="$root/terraform" output -raw websocket_url)
cat <<NEXT

Deployed at $url. Chat with it, here and in a second terminal:

  scripts/chat.sh lobby
NEXT
