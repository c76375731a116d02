#!/bin/sh
# A training run on two machines with four GPUs each, which queues itself again until it is done;
# adapt the lines below, then
#   sbatch scripts/slurm_example.sh [stage3_depth] [configs/nyu/stage3.yaml] [key=value ...]
# from the repository root. A stage's folder may come first (default stage3_depth), what follows is
# for its train.sh. Five minutes before its time is up, or when it is preempted, the run saves and
# leaves with exit code 130; the job is then queued again and goes on. A run that is done or has failed
# is not, nor is a job that was cancelled.
#SBATCH --job-name=langdepth
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
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

# One launcher on each machine; it starts one process for each GPU. In the background, as a shell
# that waits for a program in the foreground hears no signal before that ends.
srun sh -c 'NODE_RANK=$SLURM_NODEID exec sh "$0" "$@"' "$root/$stage/train.sh" "$@" &
step=$!
trap 'kill -TERM "$step" 2>/dev/null || true' USR1 TERM # srun hands it on to the machines
while :; do
    code=0
    wait "$step" || code=$?
    kill -0 "$step" 2>/dev/null || break # else a signal has ended the wait, and not the run
done

# 130: saved, the same command goes on. 143: ended before it began.
case $code in
    130 | 143) ;;
    *) exit "$code" ;;
esac
if scontrol show job "$SLURM_JOB_ID" | grep -q "JobState=CANCELLED"; then
    echo "the job was cancelled, and is not queued again; submit it to go on"
elif scontrol requeue "$SLURM_JOB_ID"; then
    echo "job $SLURM_JOB_ID is queued again, and goes on from here"
else
    echo "job $SLURM_JOB_ID could not be queued again (see above); submit it to go on" >&2
fi
exit "$code"
