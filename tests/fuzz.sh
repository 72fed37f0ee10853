#!/usr/bin/env bash
# Coverage-guided fuzzing of all that comes from outside. `cargo test` tries the same entries with inputs that are almost
# right; this looks for inputs that reach code which none has reached yet.
#
#   tests/fuzz.sh SECONDS [TARGET…]     each of these targets for so long, or all of them
#   tests/fuzz.sh 600 config http       for example
#
# Needs a nightly compiler (`rustup toolchain install nightly`), `cargo install cargo-fuzz` and a C++ compiler. Targets are in
# fuzz/fuzz_targets, what each does with an input in fuzz/entries, and what they begin with in fuzz/seeds.rs. What they
# learn stays in fuzz/corpus/TARGET, so the next run goes on from there. An input that fails is in fuzz/artifacts/TARGET: make
# it smaller with `cargo +nightly fuzz tmin -s none TARGET FILE`, and put it into tests/fuzz/found/TARGET, where `cargo test`
# tries it from then on; for keeper and scheduler, write a test beside the code.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2; }
seconds=$1
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(basename -s .rs fuzz/fuzz_targets/*.rs)
folder=$PWD/fuzz
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
programs=$folder/target/$host/release
# The versions that the project is tested with.
cp Cargo.lock fuzz/Cargo.lock
# All code here is safe Rust, so the sanitizers of memory would only slow it down.
cargo +nightly fuzz build --fuzz-dir fuzz --sanitizer none
APPORTION_SEEDS=$folder/target/seeds cargo test --quiet --test integration fuzz::entries::each_target_has_seeds
# Databases are made by the thousand: in memory, where that can be.
if [ -w /dev/shm ]; then export TMPDIR=/dev/shm; fi
TMPDIR=$(mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
failed=()
for target in "${targets[@]}"; do
  echo "== $target"
  mkdir -p "$folder/corpus/$target" "$folder/artifacts/$target"
  "$programs/$target" "$folder/corpus/$target" "$folder/target/seeds/$target" \
    -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=16384 \
    -artifact_prefix="$folder/artifacts/$target/" -print_final_stats=1 || failed+=("$target")
done
[ ${#failed[@]} -eq 0 ] || { echo "found something: ${failed[*]}" >&2; exit 1; }
