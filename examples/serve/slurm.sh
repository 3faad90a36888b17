#!/usr/bin/env bash
#SBATCH --job-name=reward
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
# slurm.sh - several servers of one model as a Slurm job: a task each, on ports that are free.
#
# usage: MODEL=DIR URLS=FILE sbatch slurm.sh [option of reward serve...]
#
# URLS (reward-urls.txt) gets a line "http://HOST:PORT" for each server once it answers; it is whole when it has
# SLURM_NTASKS lines. OpenRLHF takes them joined: --reward.remote_url "$(sed 's|$|/get_reward|' FILE | paste -sd,)"
# The servers listen on all of a node's addresses: give them a key (export REWARD_KEY=...; --api-key-env REWARD_KEY).
set -eu
: "${MODEL:?the folder of the reward model}"
export MODEL URLS=${URLS:-$PWD/reward-urls.txt}
if [ "${1:-}" != --task ]; then
  : >"$URLS"
  exec srun --kill-on-bad-exit=1 bash "$0" --task "$@"
fi
shift
# Port 0: one that is free; the first line says which. The pipe stays open as long as the server runs.
reward serve --model "$MODEL" --listen 0.0.0.0:0 --threads "${SLURM_CPUS_PER_TASK:-1}" "$@" | while read -r url; do
  echo "http://${SLURMD_NODENAME:-$(hostname)}:${url##*:}" >>"$URLS"
done
