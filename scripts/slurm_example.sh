#!/bin/sh
# A training run on two machines with four GPUs each; adapt the lines below, then
#   sbatch scripts/slurm_example.sh [stage3_depth] [configs/nyu/stage3.yaml] [key=value ...]
# from the repository root. A stage's folder may come first (default stage3_depth), what follows is
# for its train.sh. The run saves when its time is up; submit it again to go on.
#SBATCH --job-name=langdepth
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --output=slurm-%j.log
set -eu
if [ -z "${SLURM_JOB_ID:-}" ]; then
    echo "error: no Slurm job; submit it: sbatch scripts/slurm_example.sh" >&2
    exit 2
fi
root=$PWD # not where this file is: Slurm runs a copy of it
stage=stage3_depth
case ${1:-} in
    *.yaml | *.yml | *=* | "") ;;
    *)
        stage=${1%/}
        shift
        ;;
esac
if [ ! -f "$root/$stage/train.sh" ]; then
    echo "error: no $root/$stage/train.sh; submit from the repository root, and name a stage's" \
        "folder (stage3_depth) or nothing before the config" >&2
    exit 2
fi
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
export MASTER_ADDR MASTER_PORT NNODES="$SLURM_NNODES"
export NPROC="${SLURM_GPUS_ON_NODE:-1}"
# One launcher on each machine; it starts one process for each GPU.
srun sh -c 'NODE_RANK=$SLURM_NODEID exec sh "$0" "$@"' "$root/$stage/train.sh" "$@"
