#!/bin/bash
# Scoring by independent jobs, without MPI: each scores the parts of ROWS that are its own, in OUT.parts; the last one
# scores what is missing, whatever became of the others, and joins them. Submit both:
#   jobs=$(sbatch --parsable score_array.sh) && sbatch --dependency=afterany:$jobs --array=0 score_array.sh
# The same array submitted again does what is missing, as does the last job alone.
#SBATCH --job-name=reward-score
#SBATCH --array=1-8
#SBATCH --cpus-per-task=32
#SBATCH --mem=64G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -u
MODEL=${MODEL:-model} ROWS=${ROWS:-rows.jsonl} OUT=${OUT:-scored.jsonl} JOBS=${JOBS:-8} # JOBS: as many as the array has
if [ "$SLURM_ARRAY_TASK_ID" -eq 0 ]; then share=(--resume); else share=(--task "$SLURM_ARRAY_TASK_ID/$JOBS"); fi
exec reward score --model "$MODEL" "$ROWS" -o "$OUT" "${share[@]}"
