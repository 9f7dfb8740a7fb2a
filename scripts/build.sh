#!/usr/bin/env bash
# Builds each function of lambdas/ into target/lambda/<name>/bootstrap and target/lambda/<name>.zip, ready for
# `terraform apply`. The binaries run on provided.al2023 (glibc 2.34) whatever the glibc of this machine: zig links them.
# The same source gives the same zips, from whichever folder it is built.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<USAGE
Usage: scripts/build.sh [--arch x86_64|arm64] [--quick] [--out FOLDER] [NAME...]

Builds the functions of lambdas/ (or only those named) into target/lambda/, where Terraform looks for them.

  --arch   the functions' processor (default x86_64); Terraform's variable "architecture" must say the same
  --quick  without link-time optimisation: larger and slower functions, built in a fraction of the time
  --out    another folder than target/lambda
USAGE
}

arch=x86_64
profile=deploy
folder=target/lambda
names=()
while [ $# -gt 0 ]; do
  case $1 in
    --arch)
      [ $# -ge 2 ] || die "--arch wants x86_64 or arm64."
      arch=$2 && shift 2
      ;;
    --quick) profile=release && shift ;;
    --out)
      [ $# -ge 2 ] || die "--out wants a folder."
      folder=$2 && shift 2
      ;;
    -h | --help) usage && exit ;;
    -*) die "there is no option $1. See scripts/build.sh --help." ;;
    *) names+=("$1") && shift ;;
  esac
done

# What provided.al2023 has. A binary that asks for more dies at its start with "version `GLIBC_…' not found".
glibc=2.34
case $arch in
  x86_64) target=x86_64-unknown-linux-gnu ;;
  arm64) target=aarch64-unknown-linux-gnu ;;
  *) die "--arch wants x86_64 or arm64, not \"$arch\"." ;;
esac

cd "$root"
if [ ${#names[@]} -eq 0 ]; then
  for name in $(functions); do names+=("$name"); done
fi
for name in "${names[@]}"; do
  [ -f "lambdas/$name/src/main.rs" ] || die "there is no function \"$name\": lambdas/$name/src/main.rs does not exist."
done

need cargo "Install Rust: https://rustup.rs"
# Asked of rustc, not of rustup, which need not be there.
[ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ] ||
  die "Rust's standard library for $arch is not installed. Run: rustup target add $target"
zig=$(venv build scripts/requirements/build.txt)

# Paths land in panic messages; each is cut to the same for everybody, or the same source would give another hash in
# another folder.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export CARGO_ENCODED_RUSTFLAGS=--remap-path-prefix=$root=.$'\x1f'--remap-path-prefix=$cargo_home=cargo
export CARGO_TARGET_DIR=$root/target/zig
# -p and not --workspace: features that the local gateway asks of a shared crate would reach the functions.
packages=()
for name in "${names[@]}"; do packages+=(-p "$name"); done
PATH=$zig/bin:$PATH cargo zigbuild --locked --profile "$profile" --target "$target.$glibc" "${packages[@]}" >&2 ||
  die "the build failed: see above."

# Terraform compares this with its variable: a function for another processor would fail at its first invocation.
mkdir -p "$folder"
if [ -e "$folder/architecture" ] && [ "$(cat "$folder/architecture")" != "$arch" ]; then rm -f "$folder"/*.zip; fi
printf '%s\n' "$arch" >"$folder/architecture"

for name in "${names[@]}"; do
  out=$folder/$name
  mkdir -p "$out"
  # By rename: a function that is just running from this path keeps its file.
  cp "$CARGO_TARGET_DIR/$target/$profile/$name" "$out/bootstrap.new"
  chmod 755 "$out/bootstrap.new"
  mv -f "$out/bootstrap.new" "$out/bootstrap"
  "$zig/bin/python" - "$out/bootstrap" "$out.zip" <<'PYTHON'
import os
import sys
import zipfile

binary, package = sys.argv[1:]
entry = zipfile.ZipInfo("bootstrap", (1980, 1, 1, 0, 0, 0))
entry.create_system = 3
entry.external_attr = 0o100755 << 16
entry.compress_type = zipfile.ZIP_DEFLATED
with open(binary, "rb") as file, zipfile.ZipFile(package + ".new", "w") as archive:
    archive.writestr(entry, file.read(), compresslevel=9)
os.replace(package + ".new", package)
PYTHON
  printf '%s %s bytes\n' "$out.zip" "$(wc -c <"$out.zip" | tr -d ' ')"
done
