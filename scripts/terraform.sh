# Sourced after lib.sh by the scripts that run Terraform.
# shellcheck shell=bash

# terraform_ready: ends with an error if Terraform is not installed. Makes `terraform init` take the provider from the mirror
# that ROOMCHAT_TF_MIRROR names, from a mirror of this machine, or from the registry.
terraform_ready() {
  need terraform "Install Terraform 1.9 or newer: https://developer.hashicorp.com/terraform/install"
  local mirror=${ROOMCHAT_TF_MIRROR:-}
  if [ -z "$mirror" ] && [ -d /opt/tf-plugins ]; then mirror=/opt/tf-plugins; fi
  if [ -n "$mirror" ]; then
    [ -d "$mirror" ] || die "ROOMCHAT_TF_MIRROR names $mirror, which is not a folder."
    mkdir -p "$tools"
    printf 'provider_installation {\n  filesystem_mirror {\n    path = "%s"\n  }\n}\n' "$mirror" >"$tools/terraform.rc"
    export TF_CLI_CONFIG_FILE=$tools/terraform.rc
  elif [ -n "${TF_CLI_CONFIG_FILE:-}" ] && [ ! -e "$TF_CLI_CONFIG_FILE" ]; then
    # Otherwise every command of Terraform prints a warning.
    unset TF_CLI_CONFIG_FILE
  fi
  export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1
}

# aws_credentials_ready: ends with an error if there is no source of AWS credentials. Only AWS knows whether they are valid.
aws_credentials_ready() {
  local aws=$HOME/.aws tag=/sys/class/dmi/id/board_asset_tag
  if [ -n "${AWS_ACCESS_KEY_ID:-}${AWS_PROFILE:-}${AWS_WEB_IDENTITY_TOKEN_FILE:-}" ]; then return; fi
  if [ -n "${AWS_CONTAINER_CREDENTIALS_RELATIVE_URI:-}${AWS_CONTAINER_CREDENTIALS_FULL_URI:-}" ]; then return; fi
  if [ -s "${AWS_SHARED_CREDENTIALS_FILE:-$aws/credentials}" ] || [ -s "${AWS_CONFIG_FILE:-$aws/config}" ]; then return; fi
  # An EC2 instance has a role of its own.
  if [ -r "$tag" ] && grep -q '^i-' "$tag"; then return; fi
  die "there are no AWS credentials. Run \"aws configure\", or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
}

# aws_region_ready: ends with an error if nothing names a region. terraform/ has no provider block that could.
aws_region_ready() {
  if [ -n "${AWS_REGION:-}${AWS_DEFAULT_REGION:-}" ]; then return; fi
  if grep -qs '^ *region *=' "${AWS_CONFIG_FILE:-$HOME/.aws/config}"; then return; fi
  die "no AWS region is set. Run \"aws configure\", or set AWS_REGION, for example to us-east-1."
}

# terraform_init ARGUMENT…: runs `terraform init` in terraform/ with those of the arguments that it takes. Leaves the
# others in the array `rest`. The arguments of a backend need a block that says which one: it is written into
# terraform/backend.tf, which git ignores, unless that file exists.
terraform_init() {
  local initial=() argument
  rest=()
  for argument in "$@"; do
    case $argument in
      -backend-config) die "write -backend-config=KEY=VALUE or -backend-config=FILE, in one word." ;;
      -backend-config=*)
        [ -e "$root/terraform/backend.tf" ] || printf 'terraform {\n  backend "s3" {}\n}\n' >"$root/terraform/backend.tf"
        initial+=("$argument")
        ;;
      -migrate-state | -force-copy | -reconfigure) initial+=("$argument") ;;
      *) rest+=("$argument") ;;
    esac
  done
  terraform -chdir="$root/terraform" init -input=false ${initial[@]+"${initial[@]}"} >&2 || die "terraform init failed: see above."
}
