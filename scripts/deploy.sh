#!/usr/bin/env bash
# Builds the functions and deploys them with all their resources.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=terraform.sh
. "$root/scripts/terraform.sh"

usage() {
  cat <<'USAGE'
Usage: scripts/deploy.sh [--arch x86_64|arm64] [ARGUMENT OF terraform apply...]

Builds the functions, shows the changes in your AWS account, and makes them after you have typed "yes".
It uses the AWS credentials that the aws command would use.

  --arch  the functions' processor (default x86_64)

It deploys to the region of AWS_REGION or of your profile. Arguments of `terraform init` that say where the state is kept
go there, and all others to `terraform apply`:

  scripts/deploy.sh -var stage=dev       another setting: terraform/variables.tf lists them
  scripts/deploy.sh -var-file=dev.tfvars settings from the file terraform/dev.tfvars
  scripts/deploy.sh -auto-approve        without the question
  scripts/deploy.sh -backend-config=bucket=B -backend-config=key=K   with the state in an S3 bucket

docs/deploy.md describes all of it.
USAGE
}

arch=x86_64
arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --arch)
      [ $# -ge 2 ] || die "--arch needs a value: x86_64 or arm64."
      # Without --arch the variable is not passed: a tfvars file may set it, and Terraform compares it with the package.
      arch=$2 arguments+=(-var "architecture=$2") && shift 2
      ;;
    -h | --help) usage && exit ;;
    *) arguments+=("$1") && shift ;;
  esac
done
case $arch in x86_64 | arm64) ;; *) die "--arch must be x86_64 or arm64, not \"$arch\"." ;; esac

# Checks everything that can be missing before the build, which takes minutes.
terraform_ready
aws_credentials_ready
aws_region_ready
"$root/scripts/build.sh" --arch "$arch"
terraform_init ${arguments[@]+"${arguments[@]}"}
terraform -chdir="$root/terraform" apply ${rest[@]+"${rest[@]}"} ||
  die "terraform apply failed: see above. What it has made stays. Run this again after you have removed the cause."

url=$(terraform -chdir="$root/terraform" output -raw websocket_url)
cat <<NEXT

Deployed at $url. Chat with it, here and in a second terminal:

  scripts/chat.sh lobby
NEXT
