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
