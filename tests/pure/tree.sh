#!/usr/bin/env bash
# The pure part of the operator and its fence as a crate of its own, for `make mutants` and `make fuzz`: built in a part of the time
# of the whole, and changed without the checkout being touched. Its dependencies are those of the repository, with the same features
# and profile, so that they are built once.
#   tests/pure/tree.sh DIRECTORY [fuzz]
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
tree=$1 what=${2:-mutants}
mkdir -p "$tree/src/cluster" "$tree/.cargo"
{
    printf '[package]\nname = "guards"\nversion = "0.0.0"\nedition = "2024"\npublish = false\n\n[lib]\ndoctest = false\n\n'
    # From [dependencies] to the first table that is none of dependencies; for fuzzing, what these modules use of them.
    if [ "$what" = fuzz ]; then
        printf '[[bin]]\nname = "fuzz"\npath = "src/fuzz.rs"\ntest = false\n\n[dependencies]\nlibfuzzer-sys = "0.4"\n'
        printf 'kube = { version = "5", default-features = false, features = ["derive"] }\n'
        printf 'tokio = { version = "1", features = ["rt", "sync"] }\n'
        grep -E '^(base64|bytes|cel|chrono|http|jiff|k8s-openapi|schemars|serde|serde_json|sha2|thiserror|zeroize) = ' "$root/Cargo.toml"
    else
        awk '/^\[/ {inside = /^\[(dev-)?dependencies\]/} inside' "$root/Cargo.toml" | sed "s|path = \"tests/|path = \"$root/tests/|"
    fi
    # Fuzzing goes through many documents; mutants are built more than they are run.
    printf '\n[profile.dev]\ndebug = "line-tables-only"\nopt-level = %s\n\n[profile.dev.package."*"]\nopt-level = 0\n\n[workspace]\n' "$([ "$what" = fuzz ] && echo 1 || echo 0)"
} > "$tree/Cargo.toml.new"
cat > "$tree/src/lib.rs.new" <<'RUST'
//! What decides, without what carries out.
#![allow(dead_code, unused_imports, unexpected_cfgs)]

pub mod api;
pub mod cluster {
    pub mod fence;
}
pub mod domain;
RUST
# What is as it was keeps its time: it is not built again.
same() { cmp -s "$1" "$2" || { mkdir -p "$(dirname "$2")" && cp "$1" "$2"; }; }
for file in Cargo.toml src/lib.rs; do
    same "$tree/$file.new" "$tree/$file"
    rm "$tree/$file.new"
done
if [ "$what" = fuzz ]; then same "$root/tests/pure/fuzz.rs" "$tree/src/fuzz.rs"; fi
[ -e "$tree/Cargo.lock" ] || cp "$root/Cargo.lock" "$tree/"
same "$root/.cargo/mutants.toml" "$tree/.cargo/mutants.toml"
mkdir -p "$tree/config"
(cd "$tree" && find src config -type f ! -path src/lib.rs ! -path src/fuzz.rs) | while read -r file; do
    [ -e "$root/$file" ] || rm "$tree/$file"
done
# What answers of other systems go through; fuzz.rs says which of it.
more=()
if [ "$what" = fuzz ]; then more=(src/systems src/cluster/render.rs src/runtime/evaluator.rs); fi
(cd "$root" && find src/api src/domain src/cluster/fence.rs "${more[@]}" config -type f) | while read -r file; do same "$root/$file" "$tree/$file"; done
