#!/bin/sh
# Work pool, GPU limit, deployments and the eye on dead runs, on the server at PREFECT_API_URL. May be run again, after
# every upgrade. Usage: setup.sh [process|docker|kubernetes], in the folder of prefect.yaml.
set -eu
kind=${1:-process}
prefect work-pool create landweave --type "$kind" --base-job-template "deploy/work-pools/$kind.json" --overwrite
# Task runs tagged gpu queue for the cards of this server's machines.
prefect concurrency-limit create gpu "${LANDWEAVE_GPUS:-1}"
prefect --no-prompt deploy --all --prefect-file prefect.yaml
prefect automation inspect "A run whose machine died is told so" >/dev/null 2>&1 ||
  prefect automation create --from-file deploy/dead-runs.yaml
