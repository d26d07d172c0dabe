#!/usr/bin/env bash
# Fetches an image over a link that is made slow: `scripts/measure-link.sh [RATE_MBIT] [DELAY_MS] [LAYER_MB...]`, by default
# 50 Mbit/s, 80 ms there and back, and layers of 30, 15, 10 and 5 MB. Prints the time beside what the link alone needs for the bytes
# of the layers. Takes root, ip and tc (iproute2), docker-registry and skopeo; makes a network namespace and removes it.
set -euo pipefail
cd "$(dirname "$0")/.."
rate=${1:-50} delay=${2:-80}
[ $# -gt 2 ] && sizes=("${@:3}") || sizes=(30 15 10 5)
bash scripts/setup.sh docker-registry skopeo umoci
namespace=bhatti-link-$$ near=bh$$a far=bh$$b registry='' directory=$(mktemp -d)
cleanup() {
  [ -z "$registry" ] || { kill "$registry" && wait "$registry"; } 2>/dev/null || true
  ip netns del "$namespace" 2>/dev/null || true
  rm -rf "$directory"
}
trap cleanup EXIT
ip netns add "$namespace"
ip link add "$near" type veth peer name "$far" netns "$namespace"
ip addr add 10.211.7.1/30 dev "$near"
ip link set "$near" up
tc qdisc add dev "$near" root netem delay "${delay}ms" limit 2000 2>/dev/null || {
  echo 'this kernel has no netem (module sch_netem), so no link can be made slow here' >&2
  exit 1
}
ip -n "$namespace" addr add 10.211.7.2/30 dev "$far"
ip -n "$namespace" link set "$far" up
ip -n "$namespace" link set lo up

cat >"$directory/registry.yml" <<YAML
version: 0.1
log: { level: error, accesslog: { disabled: true } }
storage: { filesystem: { rootdirectory: $directory/blobs } }
http: { addr: "10.211.7.2:5000" }
YAML
ip netns exec "$namespace" docker-registry serve "$directory/registry.yml" >/dev/null 2>&1 &
registry=$!
until (exec 3<>/dev/tcp/10.211.7.2/5000) 2>/dev/null; do sleep 0.05; done
umoci init --layout "$directory/layout"
umoci new --image "$directory/layout:1"
for size in "${sizes[@]}"; do
  mkdir "$directory/layer"
  head -c "${size}M" /dev/urandom >"$directory/layer/random-$size"
  umoci insert --rootless --image "$directory/layout:1" "$directory/layer" "/layer-$size"
  rm -r "$directory/layer"
done
skopeo copy -q --dest-tls-verify=false "oci:$directory/layout:1" docker://10.211.7.2:5000/link/test:1

# A queue longer than what is under way at this rate and delay, as routers have; the delay stands on the way there.
tc -n "$namespace" qdisc add dev "$far" root netem rate "${rate}mbit" limit 2000
read -r seconds bytes < <(BHATTI_INSECURE_REGISTRIES=10.211.7.2:5000 npx tsx scripts/fetch-layers.ts 10.211.7.2:5000/link/test:1)
awk -v s="$seconds" -v b="$bytes" -v r="$rate" -v d="$delay" 'BEGIN {
  alone = b * 8 / (r * 1e6)
  printf "%.1f MB over %d Mbit/s, %d ms: %.2f s; the link alone %.2f s; ratio %.3f\n", b / 1e6, r, d, s, alone, s / alone
}'
