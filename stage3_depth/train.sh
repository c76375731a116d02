#!/bin/sh
# sh stage3_depth/train.sh [CONFIG.yaml] [key=value ...]      from any folder; NPROC=2 for two processes
exec sh "$(dirname "$0")/../scripts/launch.sh" stage3_depth/train.py "$@"
