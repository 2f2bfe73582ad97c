#!/bin/sh
# The main job in separate processes on loopback: one master, two nodes, one
# artist. Renders a scene of `scenes/` to EXR and PNG and verifies the picture:
# the same scene rendered by a single node must have the same bits.
#
# usage: demo.sh BIN_FOLDER OUT_FOLDER [SCENE]
set -eu

bin=$1
out=$2
scene=${3:-scenes/cornell-box.glb}
options='--size 256x256 --spp 32'

mkdir -p "$out"
work=$(mktemp -d)
master=
nodes=
cleanup() {
    # shellcheck disable=SC2086
    kill $nodes $master 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

step() { printf '\n== %s\n' "$*" >&2; }
show_logs() {
    for log in "$work"/*.log; do
        printf -- '--- %s\n' "$(basename "$log")" >&2
        tail -n 20 "$log" >&2
    done
}

step 'starting a master on loopback'
"$bin/farm-master" serve --data "$work/master" --listen 127.0.0.1:0 >"$work/tickets" 2>"$work/master.log" &
master=$!
tries=0
until grep -q '^farm login ' "$work/tickets"; do
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ] || ! kill -0 "$master" 2>/dev/null; then
        printf 'error: the master did not start\n' >&2
        show_logs
        exit 1
    fi
    sleep 0.1
done
node_ticket=$(sed -n 's/^farm-node join //p' "$work/tickets")
artist_ticket=$(sed -n 's/^farm login tessera-/tessera-/p' "$work/tickets")

step 'two nodes join, each with one ticket'
for n in 1 2; do
    "$bin/farm-node" join "$node_ticket" --name "demo-$n" --data "$work/node-$n" --cache "$work/cache-$n" \
        2>"$work/node-$n.log" &
    nodes="$nodes $!"
done

step "an artist submits $scene"
export TESSERA_CREDENTIALS="$work/artist"
"$bin/farm" login "$artist_ticket"
# shellcheck disable=SC2086
"$bin/farm" submit "$scene" $options --wait --out "$out" || { show_logs; exit 1; }
"$bin/farm" nodes

step 'verifying: one node alone must render the same bits'
# shellcheck disable=SC2086
"$bin/farm" render "$scene" $options -o "$work/alone.exr" --quiet
picture=$(ls -t "$out"/*.exr | head -n 1)
"$bin/farm" diff "$picture" "$work/alone.exr" --require-equal

step "done: $(ls "$out" | tr '\n' ' ')in $out"
