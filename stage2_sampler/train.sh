#!/bin/sh
# sh stage2_sampler/train.sh [CONFIG.yaml] [key=value ...]      from any folder; NPROC=2 for two processes
exec sh "$(dirname "$0")/../scripts/launch.sh" stage2_sampler/train.py "$@"
