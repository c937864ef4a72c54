#!/bin/sh
# Runs a command with each file of /run/secrets as an environment variable, so that neither the image nor
# `docker inspect` shows a secret.
set -eu
for file in /run/secrets/*; do
    [ -f "$file" ] || continue
    export "$(basename "$file")=$(cat "$file")"
done
exec "$@"
