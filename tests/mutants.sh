#!/usr/bin/env bash
# Mutation testing: changes the policies and the engine one place at a time and tells which changes no test finds.
#
#   tests/mutants.sh [FILE…]      all mutants at once, or those of these files, such as src/engine/claims.rs
#   tests/mutants.sh again        then those that were missed, with 100 cases of each property
#   tests/mutants.sh each         then one by one those that can't be built with all others (others.txt), by cargo-mutants
#
# Needs `cargo install cargo-mutants`. What was missed stands in target/mutants/found/missed.txt and each/mutants.out/missed.txt
# afterwards; docs/mutants.md explains those that nothing can find.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
alone=$root/target/mutants/alone
found=$root/target/mutants/found
# All tests but one, which takes longer than all others together.
tests='(?!.*deep_trees_show_what_each_clause_is_for)'
# A few cases of each property do, and no search for the simplest one: what a mutant breaks, it mostly breaks everywhere.
export PROPTEST_CASES=${PROPTEST_CASES:-5} PROPTEST_MAX_SHRINK_ITERS=0 INSTA_UPDATE=no

# A workspace of the policies and the engine alone, with all their tests in one program each: the policies' integration
# tests become a module of their unit tests.
prepare() {
  mkdir -p "$alone/src" "$alone/.cargo" "$found"
  rm -rf "$alone/policies" "$alone/src/engine"
  cp -r policies "$alone/policies"
  cp -r src/engine "$alone/src/engine"
  cp Cargo.lock "$alone/"
  { echo 'profile = "mutants"'; cat .cargo/mutants.toml; } >"$alone/.cargo/mutants.toml"
  # What the tests call themselves and the crate, from inside of it.
  sed -i 's/\bcrate::/crate::integration::/g' "$alone"/policies/tests/*.rs
  cat >>"$alone/policies/src/lib.rs" <<'RUST'
#[cfg(test)]
#[path = "../tests/main.rs"]
mod integration;
extern crate self as apportion_policies;
RUST
  # A switch can't stand in what makes a constant: it is made at its first use, by functions like others.
  sed -i -E '/const fn (count|share)\b/!s/\bconst fn /fn /' "$alone"/policies/src/*.rs
  sed -i -E 's/^static POWERS: (.*) = powers\(\);/static POWERS: std::sync::LazyLock<\1> = std::sync::LazyLock::new(powers);/' \
    "$alone/policies/src/decay.rs"
  # That a changed number overflows is for the tests to find.
  sed -i '1i #![allow(arithmetic_overflow, unconditional_panic)]' "$alone/policies/src/lib.rs"
  sed -i '/^criterion/d; /^\[\[test\]\]/,$d' "$alone/policies/Cargo.toml"
  cat >"$alone/src/lib.rs" <<'RUST'
//! The engine alone.
#![allow(arithmetic_overflow, unconditional_panic)]
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
TOML
    # What the engine and its tests use, as the root has it.
    local crates='blake3|fastrand|insta|proptest|rustc-hash|serde|serde_json|strsim|thiserror|tracing'
    sed -n '/^\[dependencies\]/,$p' Cargo.toml | grep -E "^($crates)[ .]"
    cat <<'TOML'

[profile.mutants]
inherits = "test"
debug = false
opt-level = 1
TOML
  } >"$alone/Cargo.toml"
}

at_once() {
  local python=target/mutants/python
  [ -x $python/bin/python ] || python3 -m venv $python
  $python/bin/python -m pip install --quiet --disable-pip-version-check tree-sitter==0.26.1 tree-sitter-rust==0.24.2
  prepare
  $python/bin/python tests/mutants.py --tests="$tests" "$alone" "$found" "$@"
}

again() {
  PROPTEST_CASES=100 target/mutants/python/bin/python tests/mutants.py --again "$alone" "$found" --tests="$tests"
}

one_by_one() {
  [ -e "$found/others.txt" ] || { echo 'run tests/mutants.sh first: it says which others there are' >&2; exit 2; }
  prepare
  # Names are given as expressions that match nothing else.
  mapfile -t names < <(sed 's/[][(){}.*+?^$|\\]/\\&/g; s/^/--re=^/; s/$/$/' "$found/others.txt")
  cd "$alone"
  # Survivors are what is asked for, so they are no failure of this script.
  cargo mutants --colors=never --in-place --baseline=skip --timeout 120 --output "$root/target/mutants/each" "${names[@]}" \
    --workspace --test-workspace=true -- --lib -- --skip deep_trees_show_what_each_clause_is_for || true
}

case ${1:-} in
-*) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
again) again ;;
each) one_by_one ;;
*) at_once "$@" ;;
esac
