#!/bin/sh
# A training run on two machines with four GPUs each; adapt the lines below, then
#   sbatch scripts/slurm_example.sh [stage3_depth] [configs/nyu/stage3.yaml] [key=value ...]
# from the repository root. The run saves when its time is up; submit it again to go on.
#SBATCH --job-name=langdepth
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --output=slurm-%j.log
set -eu
stage=${1:-stage3_depth}
[ $# -gt 0 ] && shift
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
export MASTER_ADDR MASTER_PORT NNODES="$SLURM_NNODES"
export NPROC="${SLURM_GPUS_ON_NODE:-1}"
# One launcher on each machine; it starts one process for each GPU.
srun sh -c 'NODE_RANK=$SLURM_NODEID exec sh "$0" "$@"' "$PWD/$stage/train.sh" "$@"
