#!/bin/sh
# sh stage1_vae/train.sh [CONFIG.yaml] [key=value ...]      from any folder; NPROC=2 for two processes
exec sh "$(dirname "$0")/../scripts/launch.sh" stage1_vae/train.py "$@"
