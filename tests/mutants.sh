#!/usr/bin/env bash
# Mutation testing: changes the code one place at a time and tells which changes no test finds.
#
#   tests/mutants.sh policies [FILE…]     all of the crate, or these files, such as policies/src/descend/sums.rs
#   tests/mutants.sh engine [FILE…]       the same of src/engine, such as src/engine/matching.rs
#
# Needs `cargo install cargo-mutants`. All of policies/ takes two to four hours on one core. What was missed stands in
# target/mutants/mutants.out/missed.txt afterwards; docs/mutants.md explains those that nothing can find. More
# arguments of cargo-mutants come by MUTANTS_ARGS, such as '--shard 1/4' or '--iterate'.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
part=$1
shift
[ "$part" != engine ] || exec tests/mutants-engine.sh "$@"
files=()
for file in "$@"; do files+=(--file "$file"); done
case $part in
policies) tests=(--package apportion-policies -- --lib --tests) ;;
*) echo "no such part: $part" >&2; exit 2 ;;
esac
mkdir -p target/mutants
read -ra more <<<"${MUTANTS_ARGS:-}"
exec cargo mutants --output target/mutants --jobs 1 "${more[@]}" "${files[@]}" "${tests[@]}"
