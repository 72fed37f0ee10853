#!/usr/bin/env bash
# Mutation testing: changes the code one place at a time and tells which changes no test finds.
#
#   tests/mutants.sh policies [FILE…]     all of the crate, or these files, such as policies/src/descend/sums.rs
#   tests/mutants.sh engine [FILE…]       the same of src/engine, such as src/engine/matching.rs
#
# Needs `cargo install cargo-mutants`. What was missed stands in target/mutants/FILE/mutants.out/missed.txt afterwards;
# docs/mutants.md explains those that nothing can find.
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in
policies | engine) exec "tests/mutants-$1.sh" "${@:2}" ;;
*) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
