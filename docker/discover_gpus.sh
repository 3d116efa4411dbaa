#!/bin/sh
# Spark asks every worker or executor with this which GPUs it has; the answer is one line of JSON.
set -eu
indices=$(nvidia-smi --query-gpu=index --format=csv,noheader) # on a line of its own, so that its failure is ours
addresses=$(echo "$indices" | sed '/^$/d; s/.*/"&"/' | paste -sd, -)
echo "{\"name\": \"gpu\", \"addresses\": [$addresses]}"
