#!/usr/bin/env bash
# Mutation testing of the policies, for tests/mutants.sh: of these files, or of all, which takes hours.
#
# The crate is copied into a package of its own, without its benchmarks. There its integration tests are a module of the
# library's unit tests, so a mutant is compiled and linked once, and not three times. What is found:
# target/mutants/FILE/mutants.out. docs/mutants.md says what is known of the survivors.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
alone=$root/target/mutants/policies-alone

mkdir -p "$alone/.cargo"
rm -rf "$alone/policies"
cp -r policies "$alone/policies"
cp Cargo.lock .cargo/mutants.toml "$alone/" && mv "$alone/mutants.toml" "$alone/.cargo/"
# What the tests call themselves and the crate, from inside of it.
sed -i 's/\bcrate::/crate::integration::/g' "$alone"/policies/tests/*.rs
cat >>"$alone/policies/src/lib.rs" <<'RUST'
#[cfg(test)]
extern crate self as apportion_policies;
#[cfg(test)]
#[path = "../tests/main.rs"]
mod integration;
RUST
{
  echo '[workspace]'
  echo 'members = ["policies"]'
  echo 'resolver = "3"'
  # The workspace's own tables, and its profile of mutants.
  sed -n '/^\[workspace\.package\]/,/^\[package\]/p; /^\[profile\.mutants\]/,$p' Cargo.toml | sed '/^\[package\]/d; /apportion-policies/d'
} >"$alone/Cargo.toml"
sed -i '/^criterion/d; /^\[\[test\]\]/,$d' "$alone/policies/Cargo.toml"

files=("$@")
if [ ${#files[@]} -eq 0 ]; then
  mapfile -t files < <(find policies/src -name '*.rs' | sort)
fi
# A few cases of each property, no search for the simplest one, and not the one test that is slow: that finds most. What
# it doesn't find is tried again with MUTANTS_ARGS=--iterate PROPTEST_CASES=20.
export PROPTEST_CASES=${PROPTEST_CASES:-5} PROPTEST_MAX_SHRINK_ITERS=0
read -ra more <<<"${MUTANTS_ARGS:-}"
cd "$alone"
for file in "${files[@]}"; do
  found=$root/target/mutants/${file//\//_}
  mkdir -p "$found"
  echo "== $file"
  # Survivors are what is asked for, so they are no failure of this script.
  cargo mutants --colors=never --in-place --baseline=skip --timeout 60 --file "$file" --output "$found" "${more[@]}" \
    --package apportion-policies -- --lib -- --skip deep_trees_show_what_each_clause_is_for || true
done
