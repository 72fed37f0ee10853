#!/usr/bin/env bash
# Mutation testing of the engine, for tests/mutants.sh: of these files, or of all, which takes hours.
#
# The engine and its tests are copied into a package of their own, where a mutant costs seconds instead of minutes.
# What is found: target/mutants/FILE/mutants.out. docs/mutants.md says what is known of the survivors.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
alone=$root/target/mutants/engine-alone

mkdir -p "$alone/src"
rm -rf "$alone/policies" "$alone/src/engine"
cp -r policies "$alone/policies"
cp -r src/engine "$alone/src/engine"
cp Cargo.lock "$alone/Cargo.lock"
cat >"$alone/src/lib.rs" <<'RUST'
//! The engine alone.
pub use apportion_policies as policies;
pub mod engine;
RUST
{
  # The workspace's own tables, with the engine as the only other member.
  sed -n '/^\[workspace\]/,/^\[package\]/p' Cargo.toml | sed '/^exclude/d;/^\[package\]/d'
  cat <<'TOML'
[package]
name = "apportion"
version = "0.1.0"
edition = "2024"

[dependencies]
apportion-policies = { path = "policies" }
blake3 = "1.8"
rustc-hash = "2"
serde.workspace = true
serde_json = { version = "1", features = ["raw_value"] }
strsim = "0.11"
thiserror.workspace = true
tracing = "0.1"

[dev-dependencies]
insta = { version = "1", features = ["json"] }
proptest.workspace = true

[profile.dev]
debug = false

[profile.dev.package."*"]
opt-level = 1
TOML
} >"$alone/Cargo.toml"

files=("$@")
if [ ${#files[@]} -eq 0 ]; then
  mapfile -t files < <(find src/engine -name '*.rs' -not -path '*/tests/*' | sort)
fi
# A few cases of each property do: whatever a mutant breaks, it mostly breaks everywhere.
export PROPTEST_CASES=4 INSTA_UPDATE=no
cd "$alone"
for file in "${files[@]}"; do
  found=$root/target/mutants/${file//\//_}
  mkdir -p "$found"
  echo "== $file"
  # Survivors are what is asked for, so they are no failure of this script.
  cargo mutants --colors=never --in-place --baseline=skip --timeout 120 \
    --file "$file" --output "$found" --cargo-test-arg=--lib || true
done
