#!/bin/bash
# Training on several machines, begun again by itself until it is done: at the time limit Slurm's USR1 lets the run save
# and end with 130, and the job is queued again; a lost node does the same by --requeue. Submit: sbatch train.sh
#SBATCH --job-name=reward-train
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=32
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -u
MODEL=${MODEL:-model} DATA=${DATA:-train.jsonl} OUT=${OUT:-out}   # on storage that all nodes see
# --slices decides the result, the number of ranks does not: as many as the most ranks that this will ever run on
srun --mpi="${MPI:-pmix}" --kill-on-bad-exit=1 \
  reward train --model "$MODEL" --data "$DATA" --out "$OUT" --slices "${SLICES:-8}" --resume
status=$?
[ $status -ne 130 ] || scontrol requeue "$SLURM_JOB_ID"
exit $status
