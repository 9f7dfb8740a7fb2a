#!/usr/bin/env bash
# Builds the functions of lambdas/, which are one program, and packs it for `terraform apply`. Each function of the stack
# gets the same package, so the build takes as long for one function as for twenty.
# The program runs on provided.al2023 (glibc 2.34) whatever the glibc of this machine is: zig links it.
# The same source gives the same package, from whichever folder it is built.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<USAGE
Usage: scripts/build.sh [--arch x86_64|arm64] [--quick] [--out FOLDER]

Builds the functions of lambdas/ into target/lambda/roomchat-functions.zip, where Terraform looks for them.

  --arch   the functions' processor (default x86_64); Terraform's variable "architecture" must be the same
  --quick  without link-time optimisation: larger and slower functions, built in a fraction of the time
  --out    another folder than target/lambda
USAGE
}

arch=x86_64
profile=deploy
folder=target/lambda
while [ $# -gt 0 ]; do
  case $1 in
    --arch)
      [ $# -ge 2 ] || die "--arch needs a value: x86_64 or arm64."
      arch=$2 && shift 2
      ;;
    --quick) profile=release && shift ;;
    --out)
      [ $# -ge 2 ] || die "--out needs a folder."
      folder=$2 && shift 2
      ;;
    -h | --help) usage && exit ;;
    *) die "unknown argument $1. See scripts/build.sh --help." ;;
  esac
done

# The version that provided.al2023 has. A binary that needs a newer one ends at its start with "version `GLIBC_…' not
# found".
glibc=2.34
case $arch in
  x86_64) target=x86_64-unknown-linux-gnu ;;
  arm64) target=aarch64-unknown-linux-gnu ;;
  *) die "--arch must be x86_64 or arm64, not \"$arch\"." ;;
esac

need cargo "Install Rust: https://rustup.rs"
# rustc knows it also where there is no rustup.
[ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ] ||
  die "Rust's standard library for $arch is not installed. Run: rustup target add $target"
cd "$root"
zig=$(venv build scripts/requirements/build.txt)

# Panic messages hold paths. They are shortened to the same for everybody: otherwise the same source gives another
# package in another folder.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export CARGO_ENCODED_RUSTFLAGS=--remap-path-prefix=$root=.$'\x1f'--remap-path-prefix=$cargo_home=cargo
export CARGO_TARGET_DIR=$root/target/zig
# -p and not --workspace: the features that the local gateway needs of a shared crate stay out of the functions.
PATH=$zig/bin:$PATH cargo zigbuild --locked --profile "$profile" --target "$target.$glibc" -p roomchat-functions >&2 ||
  die "the build failed: see above."

# Terraform compares this file with its variable: a function for the other processor would fail at its first invocation.
mkdir -p "$folder"
if [ -e "$folder/architecture" ] && [ "$(cat "$folder/architecture")" != "$arch" ]; then rm -f "$folder"/*.zip; fi
printf '%s\n' "$arch" >"$folder/architecture"

# By rename: a function that is just running from this path keeps its file.
package=$folder/roomchat-functions
mkdir -p "$package"
cp "$CARGO_TARGET_DIR/$target/$profile/roomchat-functions" "$package/bootstrap.new"
chmod 755 "$package/bootstrap.new"
mv -f "$package/bootstrap.new" "$package/bootstrap"
"$zig/bin/python" - "$package/bootstrap" "$package.zip" <<'PYTHON'
import os
import sys
import zipfile

program, package = sys.argv[1:]
entry = zipfile.ZipInfo("bootstrap", (1980, 1, 1, 0, 0, 0))
entry.create_system = 3
entry.external_attr = 0o100755 << 16
entry.compress_type = zipfile.ZIP_DEFLATED
with open(program, "rb") as file, zipfile.ZipFile(package + ".new", "w") as archive:
    archive.writestr(entry, file.read(), compresslevel=9)
os.replace(package + ".new", package)
PYTHON
printf '%s %s bytes\n' "$package.zip" "$(wc -c <"$package.zip" | tr -d ' ')"
