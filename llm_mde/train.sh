#!/bin/sh
# sh llm_mde/train.sh [CONFIG.yaml] [key=value ...]      from any folder; NPROC=2 for two processes
exec sh "$(dirname "$0")/../scripts/launch.sh" llm_mde/train.py "$@"
