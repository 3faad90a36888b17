#!/bin/bash
# Scoring as one job of several ranks, which share the parts and end together. Submit: sbatch score_ranks.sh
#SBATCH --job-name=reward-score
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=32
#SBATCH --mem=0
#SBATCH --time=12:00:00
#SBATCH --signal=USR1@60
#SBATCH --requeue
#SBATCH --open-mode=append
set -u
srun --mpi="${MPI:-pmix}" --kill-on-bad-exit=1 \
  reward score --model "${MODEL:-model}" "${ROWS:-rows.jsonl}" -o "${OUT:-scored.jsonl}" --resume
status=$?
[ $status -ne 130 ] || scontrol requeue "$SLURM_JOB_ID"
exit $status
