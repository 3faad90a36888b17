#!/usr/bin/env bash
# Training over two hosts, which are network namespaces with a line between them: the bits of one process; a line that is
# cut in mid-run ends the run, leaves nothing behind, and the run goes on. Skipped without root.
set -eu
. "$(dirname "$0")/lib.sh"
. tests/ranks/lib.sh
need_mpi
a=rwa$$ b=rwb$$
command -v ip >/dev/null && [ "$(id -u)" = 0 ] && ip netns add $a 2>/dev/null || { echo "two hosts need root, iproute2 and network namespaces"; exit 77; }
trap 'ip netns del $a; ip netns del $b 2>/dev/null; rm -rf "$tmp"' EXIT
ip netns add $b
ip link add va$$ netns $a type veth peer name vb$$ netns $b || { echo "there are no veth pairs here"; exit 77; }
ip -n $a addr add 10.77.0.1/24 dev va$$
ip -n $b addr add 10.77.0.2/24 dev vb$$
for h in "$a va$$" "$b vb$$"; do ip -n ${h% *} link set lo up; ip -n ${h% *} link set ${h#* } up; done

# stands for ssh: OPTION… HOST COMMAND…
cat >"$tmp/agent" <<E2
#!/bin/sh
while [ "\${1#-}" != "\$1" ]; do shift; done
host=\$1; shift
case \$host in 10.77.0.1) ns=$a ;; *) ns=$b ;; esac
exec ip netns exec \$ns unshare -u sh -c "hostname \$ns; exec \$*"
E2
chmod +x "$tmp/agent"
cat >"$tmp/hosts" <<E2
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0
exec ip netns exec $a unshare -u sh -c 'hostname $a; exec "\$@"' x mpirun -x ASAN_OPTIONS --mca plm_rsh_agent $tmp/agent --mca plm_rsh_no_tree_spawn 1 \\
  --mca oob_tcp_if_include 10.77.0.0/24 --mca btl tcp,self --mca btl_tcp_if_include 10.77.0.0/24 \\
  --mca oob_tcp_keepalive_time 2 --mca oob_tcp_keepalive_intvl 1 --mca oob_tcp_keepalive_probes 3 \\
  --bind-to none --oversubscribe --host 10.77.0.1:4,10.77.0.2:4 --map-by node "\$@"
E2
two_hosts() { bash "$tmp/hosts" "$@"; }

python3 tests/ranks/make.py "$tmp"
train=("$reward" train --quiet --model "$PWD/tests/data/model/llama" --data "$tmp/pairs.jsonl" --batch-size 8 --lr 1e-3 --threads 1 --tensorboard no --slices 4)
"${train[@]}" --steps 6 --save-every 2 --keep 2 --out "$tmp/one"
two_hosts -n 3 "${train[@]}" --steps 6 --save-every 2 --keep 2 --out "$tmp/two" >"$tmp/said" 2>&1 || fail "two hosts: $(cat "$tmp/said")"
cmp "$tmp/one/model.safetensors" "$tmp/two/model.safetensors"
same_metrics "$tmp/one" "$tmp/two"
for c in "$tmp"/one/checkpoint-*; do cmp "$c/state/model.safetensors" "$tmp/two/${c##*/}/state/model.safetensors"; done

"${train[@]}" --steps 400 --out "$tmp/long"
two_hosts -n 2 "${train[@]}" --steps 400 --save-every 1 --out "$tmp/cut" >"$tmp/said" 2>&1 &
launcher=$!
for i in $(seq 300); do [ ! -s "$tmp/cut/metrics.jsonl" ] || break; sleep 0.1; done
[ -s "$tmp/cut/metrics.jsonl" ] || fail "nothing was trained: $(cat "$tmp/said")"
ip -n $a link set va$$ down
cut=$SECONDS
wait $launcher && fail "a cut line ended well: $(cat "$tmp/said")"
[ $((SECONDS - cut)) -le 30 ] || fail "a cut line was noticed after $((SECONDS - cut)) s" # 15 on a machine of its own
for i in $(seq 300); do pgrep -f "$tmp/cut" >/dev/null || break; sleep 0.1; done
! pgrep -fa "$tmp/cut" || fail "processes are left"
ip -n $a link set va$$ up
two_hosts -n 3 "${train[@]}" --steps 400 --resume --out "$tmp/cut" >"$tmp/said" 2>&1 || fail "going on: $(cat "$tmp/said")"
cmp "$tmp/long/model.safetensors" "$tmp/cut/model.safetensors"
