#!/usr/bin/env bash
# Coverage-guided fuzzing with libFuzzer on stable Rust: tools/fuzz.sh SECONDS [TARGET…]
# The coverage hooks come from LLVM's own pass; nothing of them is in the core that users get.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
seconds=${1:?usage: tools/fuzz.sh SECONDS [TARGET…]}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(message file pieces flows frames)
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
RUSTFLAGS=$(echo $RUSTFLAGS)
# A target of its own: build scripts and macros are not instrumented.
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --quiet --release --target "$host"
for target in "${targets[@]}"; do
    mkdir -p "work/$target" "corpus/$target"
    echo "unflux: fuzzing $target for $seconds s" >&2
    if ! "target/$host/release/$target" "work/$target" "corpus/$target" \
        -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -max_len=65536 \
        -artifact_prefix="work/" -print_final_stats=1 >"work/$target.log" 2>&1; then
        tail -n 40 "work/$target.log" >&2
        exit 1
    fi
    grep -E "stat::(number_of_executed_units|peak_rss_mb)|^Done" "work/$target.log" >&2 || true
done
