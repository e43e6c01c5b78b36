#!/bin/sh
# Train on two machines that are two network namespaces of this one (Linux, as root): sh studies/two_machines.sh
# Each has a network of its own, with one cable between them; the file system is shared.
set -eu
place=$(mktemp -d)
end() { kill "${!:-}" 2>/dev/null || true; ip netns del hilum1 || true; ip netns del hilum2 || true; rm -r "$place"; }
trap end EXIT
ip netns add hilum1
ip netns add hilum2
ip link add cable1 netns hilum1 type veth peer name cable2 netns hilum2
for n in 1 2; do
    ip -n hilum$n addr add 10.9.0.$n/24 dev cable$n
    ip -n hilum$n link set cable$n up
    ip -n hilum$n link set lo up
done
.venv/bin/hilum phantoms "$place/data" --patients 40 --size 64
machine() { # number, whether it is the one that the other asks; in a namespace no name stands for its address
    GLOO_SOCKET_IFNAME=cable$1 ip netns exec hilum$1 .venv/bin/torchrun --nnodes 2 --nproc-per-node 1 \
        --rdzv-endpoint 10.9.0.1:29400 --rdzv-backend c10d --rdzv-conf is_host=$2 --local-addr 10.9.0.$1 \
        -m hilum train "$place/data" --nodes 2 --out "$place/run" --set max_steps=10 --set preprocessing.size=32
}
machine 2 false &
machine 1 true
wait $!
grep world_size "$place/run/environment.json"
