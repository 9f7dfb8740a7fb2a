# Sourced after lib.sh by the scripts that run Terraform.
# shellcheck shell=bash

# terraform_ready: Terraform is here, and `terraform init` will find the provider: in the mirror that ROOMCHAT_TF_MIRROR
# names, in one that the machine brings along, or by download.
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
    # Terraform would warn of it at every command.
    unset TF_CLI_CONFIG_FILE
  fi
  export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1
}

# aws_credentials_ready: there is some source of AWS credentials. Whether they are valid, only AWS can tell.
aws_credentials_ready() {
  local aws=$HOME/.aws tag=/sys/class/dmi/id/board_asset_tag
  if [ -n "${AWS_ACCESS_KEY_ID:-}${AWS_PROFILE:-}${AWS_WEB_IDENTITY_TOKEN_FILE:-}" ]; then return; fi
  if [ -n "${AWS_CONTAINER_CREDENTIALS_RELATIVE_URI:-}${AWS_CONTAINER_CREDENTIALS_FULL_URI:-}" ]; then return; fi
  if [ -s "${AWS_SHARED_CREDENTIALS_FILE:-$aws/credentials}" ] || [ -s "${AWS_CONFIG_FILE:-$aws/config}" ]; then return; fi
  # An EC2 instance, whose role is asked of the instance itself.
  if [ -r "$tag" ] && grep -q '^i-' "$tag"; then return; fi
  die "there are no AWS credentials. Run \"aws configure\", or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
}
