#!/bin/sh
# Work pool, GPU limit and deployments on the server at PREFECT_API_URL. May be run again, after every upgrade.
# Usage: setup.sh [process|docker|kubernetes], in the folder of prefect.yaml.
set -eu
kind=${1:-process}
prefect work-pool create landweave --type "$kind" --base-job-template "deploy/work-pools/$kind.json" --overwrite
# Task runs tagged gpu queue for the cards of this server's machines.
prefect concurrency-limit create gpu "${LANDWEAVE_GPUS:-1}"
prefect --no-prompt deploy --all --prefect-file prefect.yaml
